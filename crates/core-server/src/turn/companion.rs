//! Answers by the companion, from the end of the conversation.

use std::collections::{HashMap, HashSet};

use protocol::server_frame::{Entry, Finish, Role, SafetyPlan, Source};
use protocol::{Language, UserLabel, UserText};
use safety::Level;
use safety::companion::{self, PlanReader, Reply, Utterance};
use session::{Failure, Turn};
use store::{Page, ReadableEntries, StoreError};

use super::answer::Answer;
use super::generate::Generation;
use super::{TurnService, now};

/// Entries read for an answer, with the message: ten exchanges, help for each, and some reserve.
const HISTORY_ENTRIES: usize = 41;
/// Entries per store read of a safety plan.
const PLAN_PAGE_ENTRIES: usize = 200;

impl TurnService {
    /// Reads the safety plan from the stored conversation of `user`, with headings in `language`.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn safety_plan(&self, user: UserLabel, language: Language) -> Result<Option<SafetyPlan>, StoreError> {
        let mut plan = WindowedPlan::default();
        let mut seq = 0;
        loop {
            let page = Page::After { seq, limit: PLAN_PAGE_ENTRIES };
            let page = self.store.readable_entries(user, page).await?;
            match page.last_seq().filter(|_| PLAN_PAGE_ENTRIES <= page.rows()) {
                Some(last) => seq = last,
                None => return Ok(plan.finish(page, language)),
            }
            plan.read(page);
        }
    }
}

impl Generation<'_> {
    /// Answers by the companion.
    ///
    /// # Errors
    ///
    /// The session is gone. An unavailable store is no error: the message is answered without its history.
    pub(super) async fn answer_by_companion(self, answer: &mut Answer) -> Result<Finish, Failure> {
        (answer.source, answer.model) = (Source::Companion, None);
        let Reply { text, exercise } = self.companion_reply().await?;
        answer.exercise = exercise;
        answer.show(UserText::new(text), self.sink);
        Ok(Finish::Stop)
    }

    async fn companion_reply(self) -> Result<Reply, Failure> {
        let entries = match self.service.store.recent(self.turn.label.user, HISTORY_ENTRIES).await {
            Ok(recent) => recent.entries,
            Err(StoreError::NoSession { .. }) => return Err(Failure::NoSession),
            Err(error) => {
                // Outside the turn's span, whose ids would reveal who may be at risk.
                tracing::warn!(parent: None, %error, "the companion answers without a history");
                Vec::new()
            }
        };
        let history = history(&entries, self.turn);
        let said = self.turn.message_risk;
        let input = companion::Turn {
            history: &history,
            level: self.turn.message.risk.level,
            now: said.level,
            // The message's own subject wins over the remembered one.
            subject: if said.level == Level::None { self.turn.message.risk.subject } else { said.subject },
            kinds: said.kinds,
            minor: self.turn.message.risk.minor,
            emergency: self.turn.emergency.as_deref(),
            language: self.turn.language,
            seed: self.turn.label.user.0,
        };
        Ok(companion::reply(&input))
    }
}

/// Builds the conversation up to the message of `turn`.
fn history<'a>(entries: &'a [Entry], turn: &'a Turn) -> Vec<Utterance<'a>> {
    let placed = placed(entries).into_iter().filter(|placed| placed.message < turn.seq);
    let at = entries.iter().find(|entry| entry.seq == turn.seq).map_or_else(now, |entry| entry.at);
    let message = Utterance { by_person: true, text: turn.message.text.expose(), at };
    placed.map(|placed| placed.said()).chain([message]).collect()
}

/// An entry at its place in the conversation as the person read it.
#[derive(Clone, Copy)]
struct Placed<'a> {
    /// `seq` of the message that it is or answers.
    message: u64,
    entry: &'a Entry,
}

impl<'a> Placed<'a> {
    fn said(self) -> Utterance<'a> {
        let Entry { role, text, at, .. } = self.entry;
        Utterance { by_person: *role == Role::User, text: text.expose(), at: *at }
    }
}

/// Orders messages, each followed by its answer. Omits an answer whose message is not among `entries`.
fn placed<'a>(entries: &'a [Entry]) -> Vec<Placed<'a>> {
    let messages = entries.iter().filter(|entry| entry.role == Role::User);
    let messages: HashMap<_, _> = messages.map(|entry| (&entry.id, entry.seq)).collect();
    let place = |entry: &'a Entry| {
        let Entry { role, id, seq, .. } = entry;
        let message = match role {
            Role::User => *seq,
            Role::Assistant => *messages.get(id)?,
            Role::Support => return None,
        };
        Some(Placed { message, entry })
    };
    let mut placed: Vec<_> = entries.iter().filter_map(place).collect();
    placed.sort_by_key(|placed| (placed.message, placed.entry.role == Role::Assistant));
    placed
}

/// Reads a safety plan from pages of a conversation, with at most two in memory.
#[derive(Default)]
struct WindowedPlan {
    reader: PlanReader,
    window: Vec<Entry>,
}

impl WindowedPlan {
    /// Reads a page that is not the last. Its messages wait for the next page, which may have their answers.
    fn read(&mut self, page: ReadableEntries) {
        let Some(first) = page.first_seq() else { return };
        self.read_before(first, page.entries);
    }

    /// Reads the last page.
    fn finish(mut self, page: ReadableEntries, language: Language) -> Option<SafetyPlan> {
        self.read_before(u64::MAX, page.entries);
        self.reader.plan(language)
    }

    /// Adds entries, and reads the messages before `seq` with their answers.
    fn read_before(&mut self, seq: u64, entries: Vec<Entry>) {
        self.window.extend(entries);
        let placed = placed(&self.window);
        let (read, kept) = placed.split_at(placed.partition_point(|placed| placed.message < seq));
        read.iter().for_each(|placed| self.reader.read(&placed.said()));
        let kept: HashSet<_> = kept.iter().map(|placed| placed.entry.seq).collect();
        self.window.retain(|entry| kept.contains(&entry.seq));
    }
}

#[cfg(test)]
mod tests {
    use protocol::server_frame::Exercise;
    use protocol::{Language, Timestamp};

    use super::*;
    use crate::turn::tests::sample_turn;

    fn entry(seq: u64, id: &str, role: Role) -> Entry {
        let text = UserText::new(format!("{seq}"));
        let at = Timestamp::from_unix_ms(i64::try_from(seq).unwrap());
        Entry { seq, id: id.parse().unwrap(), role, text, at, finish: None, source: None, help: None }
    }

    #[test]
    fn history_pairs_answers_and_ends_with_the_message() {
        use Role::{Assistant, Support, User};
        let entries = [
            entry(3, "gone", Assistant),
            entry(4, "a", User),
            entry(5, "a", Support),
            entry(6, "b", User),
            entry(7, "a", Assistant),
            entry(8, "now", User),
            entry(9, "later", User),
            entry(10, "b", Assistant),
            entry(11, "later", Assistant),
        ];
        let turn = sample_turn(8, 1);
        let history = history(&entries, &turn);
        let said: Vec<_> = history.iter().map(|said| (said.by_person, said.text)).collect();
        assert_eq!(said, [(true, "4"), (false, "7"), (true, "6"), (false, "10"), (true, "now")]);
        assert_eq!(history.last().map(|said| said.at), Some(Timestamp::from_unix_ms(8)), "when it was written");
    }

    /// Returns the companion's answer to a wish for a plan: the question of its first step.
    fn first_step() -> Reply {
        let said = Utterance { by_person: true, text: "quiero hacer el plan de seguridad", at: now() };
        let input = companion::Turn {
            history: &[said],
            level: Level::Imminent,
            now: Level::High,
            ..companion::Turn::new(Language::Spanish)
        };
        companion::reply(&input)
    }

    fn page(entries: &[Entry]) -> ReadableEntries {
        ReadableEntries { entries: entries.to_vec(), ..ReadableEntries::default() }
    }

    #[test]
    fn plan_is_independent_of_page_boundaries() {
        use Role::{Assistant, Support, User};
        let Reply { text, exercise } = first_step();
        assert_eq!(exercise, Some(Exercise::SafetyPlan), "{text}");
        let said = |seq, id, role, text: &str| Entry { text: UserText::new(text), ..entry(seq, id, role) };
        // Message "b" was written before the question was stored.
        let entries = [
            said(1, "a", User, "quiero hacer el plan de seguridad"),
            said(2, "a", Support, "ayuda"),
            said(3, "b", User, "cuando no duermo"),
            said(4, "a", Assistant, &text),
            said(6, "b", Assistant, "Te leo."),
            said(7, "c", User, "otra cosa"),
        ];
        let steps = |pages: &[&[Entry]]| {
            let mut plan = WindowedPlan::default();
            let (last, others) = pages.split_last().unwrap();
            others.iter().for_each(|entries| plan.read(page(entries)));
            let plan = plan.finish(page(last), Language::English)?;
            assert_eq!(plan.title, "My safety plan");
            Some(plan.steps.into_iter().map(|step| step.text.expose().to_owned()).collect::<Vec<_>>())
        };
        let want = Some(vec!["cuando no duermo".to_owned()]);
        assert_eq!(steps(&[&entries]), want);
        for end in 0..=entries.len() {
            let (first, second) = entries.split_at(end);
            assert_eq!(steps(&[first, second]), want, "{end}");
            assert_eq!(steps(&[first, second, &[]]), want, "{end}");
        }
        assert_eq!(steps(&[&entries[..3]]), None);
    }

    #[test]
    fn history_without_a_store_is_the_message() {
        let turn = sample_turn(1, 1);
        let history = history(&[], &turn);
        assert_eq!(history.iter().map(|said| said.text).collect::<Vec<_>>(), ["now"]);
    }
}
