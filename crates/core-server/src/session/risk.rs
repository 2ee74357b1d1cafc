//! Help for a person at risk: sent at once, stored later, published to the other cores.
//!
//! A message is assessed when its bytes arrive, before any limit and without the store: sending help must not wait
//! for anything. It is stored as soon as the store is there.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::SessionEvent;
use protocol::server_frame::{Entry, Help, Role, Support};
use protocol::{Country, Language, MessageId, ServerFrame, UserText};
use safety::Level;
use safety::resources::{self, Need};
use store::{Appended, NewEntry, Page, ReadableEntries, StoreError};
use tokio::time::{sleep, sleep_until};

use super::Session;
use super::help::{Whereabouts, wire_resources};
use super::language::is_english;
use super::state::{Recipients, State};
use super::watch::{Watch, is_imminent_help, need_of, restore_after};
use crate::turn::{MessageRisk, Risk, now};

/// Page size of the reads that restore the memory of risk, and the most pages searched backwards for imminent risk:
/// about 100 messages a day for two months. A scan, because sealed entries have no index.
const RESTORE_PAGE_ENTRIES: usize = 500;
const MAX_RESTORE_PAGES: usize = 24;
/// Capacity for help that waits to be stored; the oldest is dropped first.
const MAX_UNSAVED: usize = 8;
/// Messages in risk that may wait for their answer beyond `PER_USER_MAX`.
const MAX_BEYOND_LIMITS: usize = 8;
/// Pause after a message that was answered beyond the limits: risk words must not buy a flood.
pub(super) const BEYOND_LIMITS_PAUSE: Duration = Duration::from_secs(1);
/// Pause and number of retries to store help: five minutes in all, longer than a failover. Later messages retry too.
const SAVE_RETRY_PAUSE: Duration = Duration::from_secs(1);
const SAVE_TRIES: usize = 300;

impl Session {
    /// Assesses message `id` as it arrives, and sends the help that it calls for to every connection. Idempotent per id
    /// and text. Returns true if help was sent.
    pub fn assess(&self, id: &MessageId, text: &UserText) -> bool {
        self.detect_language(text);
        let now = now();
        let need = self.watch_state().observe(id, text, now);
        let Some(need) = need.or_else(|| self.need_at_parting(id, text)) else { return false };
        let mut state = self.state();
        self.count_help(need, state.locale.language());
        let support = state.whereabouts.support(id.clone(), need, state.locale.language(), now);
        state.show(support);
        true
    }

    /// Returns the need for a good-bye: a person in risk must not leave without help lines.
    fn need_at_parting(&self, id: &MessageId, text: &UserText) -> Option<Need> {
        let now = now();
        let (risk, need, is_shown) = {
            let watch = self.watch_state();
            (watch.risk(now), watch.standing_need(now), watch.shown().is_some_and(|(shown, _)| shown == id))
        };
        if is_shown || risk.level == Level::None || !self.message_risk(id, text).takes_leave {
            return None;
        }
        let mut state = self.state();
        if state.partings.contains(id) {
            return None;
        }
        if state.partings.len() == MAX_UNSAVED {
            state.partings.pop_front();
        }
        state.partings.push_back(id.clone());
        Some(need)
    }

    /// Returns the line of help for a person who leaves while a level is remembered.
    pub fn parting_line(&self) -> Option<String> {
        let now = now();
        let need = {
            let watch = self.watch_state();
            (watch.risk(now).level != Level::None).then(|| watch.standing_need(now))?
        };
        let state = self.state();
        let language = state.locale.language();
        Some(resources::plain_line(&state.whereabouts.select(need, language, now), language))
    }

    /// Raises the risk of message `id` after a second opinion, and sends the help that it calls for.
    pub(super) fn raise(&self, id: &MessageId, risk: Risk) {
        let Some(need) = self.watch_state().raise(id, risk) else { return };
        let mut state = self.state();
        self.count_help(need, state.locale.language());
        let support = state.whereabouts.support(id.clone(), need, state.locale.language(), now());
        state.show(support);
    }

    /// Returns true if the session has no entries, none in progress, and no other connection.
    fn is_untouched(&self) -> bool {
        let state = self.state();
        state.published.seq() == 0
            && state.admitting == 0
            && state.unsaved_help.is_empty()
            && state.connections.len() <= 1
    }

    /// Takes over the assessment of a connection from before this new session was created.
    pub fn adopt(&self, watch: Watch, shown: VecDeque<Support>) {
        let is_minor = watch.is_minor();
        *self.watch_state() = watch;
        let mut state = self.state();
        for support in &shown {
            self.count_help(need_of(&support.help, is_minor), state.locale.language());
        }
        shown.into_iter().for_each(|support| state.keep_unsaved(support));
    }

    /// Takes over help that was shown on a connection before it resumed this session. Its messages are assessed again
    /// when they are submitted, in this session's context.
    fn adopt_shown(&self, shown: VecDeque<Support>) {
        for support in shown {
            self.watch_state().learn_shown(&support.id, &support.help);
            let need = need_of(&support.help, self.watch_state().is_minor());
            let mut state = self.state();
            self.count_help(need, state.locale.language());
            state.keep_unsaved(support);
        }
    }

    /// Counts shown help, in memory only.
    fn count_help(&self, need: Need, language: Language) {
        let turns = self.sessions.turns();
        turns.metrics.help_shown(need.level);
        turns.referrals.note(now(), need.kinds.most_urgent(), need.level.max(Level::Concern), language);
    }

    pub fn risk(&self) -> Risk {
        let (now, window) = (now(), self.sessions.turns().budget.rate().window);
        let watch = self.watch_state();
        Risk { follows_high: watch.follows_high(window, now), ..watch.risk(now) }
    }

    /// Builds help for the remembered level, to go with a rejection of message `id`; `None` without a level, and if the
    /// message itself has brought help.
    pub(super) fn help_with_rejection(&self, state: &State, id: &MessageId) -> Option<Support> {
        let now = now();
        let need = {
            let watch = self.watch_state();
            let is_shown = watch.shown().is_some_and(|(shown, _)| shown == id) || state.partings.contains(id);
            (!is_shown && watch.risk(now).level != Level::None).then(|| watch.standing_need(now))?
        };
        Some(state.whereabouts.support(id.clone(), need, state.locale.language(), now))
    }

    /// Restores the memory of risk from stored messages, once.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub(super) async fn restore_risk(&self, seq: u64) -> Result<(), StoreError> {
        if self.watch_state().is_restored() {
            return Ok(());
        }
        let newest = self.stored(Page::Before { seq: seq.saturating_add(1), limit: RESTORE_PAGE_ENTRIES }).await?;
        let mut after = restore_after(self.newest_imminent_help(&newest).await?, seq);
        let mut restored = Watch::of_new();
        let first = newest.first_seq().filter(|_| RESTORE_PAGE_ENTRIES <= newest.rows()).unwrap_or_default();
        // Page by page, which bounds the memory for a long conversation.
        while after.saturating_add(1) < first {
            let page = self.stored(Page::After { seq: after, limit: RESTORE_PAGE_ENTRIES }).await?;
            let Some(last) = page.last_seq() else { break };
            page.entries.iter().filter(|entry| entry.seq < first).for_each(|entry| restored.learn(entry));
            after = last.min(first.saturating_sub(1));
        }
        newest.entries.iter().filter(|entry| after < entry.seq).for_each(|entry| restored.learn(entry));
        self.watch_state().restore(restored);
        Ok(())
    }

    /// Returns the `seq` of the newest help for imminent risk, in the `newest` page of entries or before it.
    async fn newest_imminent_help(&self, newest: &ReadableEntries) -> Result<Option<u64>, StoreError> {
        let find = |page: &ReadableEntries| {
            page.entries.iter().rev().find(|entry| is_imminent_help(entry)).map(|help| help.seq)
        };
        let older = |page: &ReadableEntries| page.first_seq().filter(|_| RESTORE_PAGE_ENTRIES <= page.rows());
        let (mut found, mut before) = (find(newest), older(newest));
        for _ in 1..MAX_RESTORE_PAGES {
            let Some(seq) = before.filter(|_| found.is_none()) else { break };
            let page = self.stored(Page::Before { seq, limit: RESTORE_PAGE_ENTRIES }).await?;
            (found, before) = (find(&page), older(&page));
        }
        Ok(found)
    }

    async fn stored(&self, page: Page) -> Result<ReadableEntries, StoreError> {
        self.end_if_missing(self.sessions.turns().store.readable_entries(self.user, page).await)
    }

    /// Returns the risk of message `id` alone, as assessed on arrival.
    pub(super) fn message_risk(&self, id: &MessageId, text: &UserText) -> MessageRisk {
        let known = self.watch_state().message_risk(id, text);
        known.unwrap_or_else(|| MessageRisk::alone(text.expose()))
    }

    /// Returns all help lines for the remembered need, as lines of the plain face.
    pub fn crisis_lines(&self) -> Vec<String> {
        let need = self.watch_state().standing_need(now());
        let state = self.state();
        let language = state.locale.language();
        resources::plain_lines(&state.whereabouts.select(need, language, now()), language)
    }

    /// Returns the extra line of the plain face for `help`.
    pub fn help_line(&self, help: &Help) -> String {
        let need = need_of(help, self.watch_state().is_minor());
        let state = self.state();
        let language = state.locale.language();
        resources::plain_line(&state.whereabouts.select(need, language, now()), language)
    }

    /// Records the time zone of a client: a guess at the country.
    pub fn note_time_zone(&self, time_zone: &UserText) {
        self.state().whereabouts.time_zone = Some(time_zone.expose().into());
    }

    /// Uses the help lines of `country` from now on: the person chose or confirmed it. Recent help is sent again with
    /// these lines.
    ///
    /// # Errors
    ///
    /// The store failed; the country applies anyway, while this session is live.
    pub async fn set_country(&self, country: Country) -> Result<(), StoreError> {
        self.adopt_country(country);
        self.resend_help();
        let _commit = self.commit.lock().await;
        self.end_if_missing(self.sessions.turns().store.set_country(self.user, country).await)?;
        self.publish_to_cores(SessionEvent::Country { country });
        Ok(())
    }

    /// [`Session::set_country`], if it changes.
    pub(super) async fn apply_country(&self, country: Option<Country>) -> Result<(), StoreError> {
        match country {
            Some(country) if self.state().whereabouts.country != Some(country) => self.set_country(country).await,
            _ => Ok(()),
        }
    }

    pub(super) fn adopt_country(&self, country: Country) {
        self.state().whereabouts.country = Some(country);
    }

    /// Sends recent help again, with the lines of the country in force.
    pub(super) fn resend_help(&self) {
        let Some((id, need)) = self.watch_state().shown().map(|(id, need)| (id.clone(), need)) else { return };
        let state = self.state();
        let support = state.whereabouts.support(id, need, state.locale.language(), now());
        state.publish(Recipients::All, ServerFrame::Support(Box::new(support)));
    }

    /// Adds help lines to stored help: the current ones, because the data changes.
    pub(super) fn attach_resources(&self, entries: &mut [Entry]) {
        for entry in entries.iter_mut().filter(|entry| entry.role == Role::Support) {
            if let Some(help) = &mut entry.help {
                let need = need_of(help, self.watch_state().is_minor());
                let state = self.state();
                help.resources = wire_resources(state.whereabouts.select(need, state.locale.language(), now()));
            }
        }
    }

    /// Stores shown help in a task, for a message that was rejected before submission.
    pub fn save_help_later(self: &Arc<Self>) {
        if self.state().unsaved_help.is_empty() {
            return;
        }
        let session = Arc::clone(self);
        self.sessions.tasks().spawn(async move {
            let commit = session.commit.lock().await;
            session.save_help().await;
            drop(commit);
        });
    }

    /// Stores help that was shown after a second opinion.
    pub(super) async fn save_raised_help(self: &Arc<Self>) {
        let has_unsaved = !self.state().unsaved_help.is_empty();
        if has_unsaved {
            let _commit = self.commit.lock().await;
            self.save_help().await;
        }
    }

    /// Stores help that was shown, and publishes its entries. Call it under the commit lock. Retries in a task while the
    /// store is unavailable.
    pub(super) async fn save_help(self: &Arc<Self>) {
        if self.try_save_help().await.is_err() && !std::mem::replace(&mut self.state().is_saving_help, true) {
            let session = Arc::clone(self);
            self.sessions.tasks().spawn(session.retry_save_help());
        }
    }

    async fn retry_save_help(self: Arc<Self>) {
        for _ in 0..SAVE_TRIES {
            // A draining core retries at once, for the last time.
            let is_draining = self.sessions.draining().run_until_cancelled(sleep(SAVE_RETRY_PAUSE)).await.is_none();
            let _commit = self.commit.lock().await;
            if self.try_save_help().await.is_ok() || is_draining {
                break;
            }
        }
        self.state().is_saving_help = false;
    }

    async fn try_save_help(&self) -> Result<(), StoreError> {
        loop {
            let (after, entry) = {
                let state = self.state();
                match state.unsaved_help.front().filter(|_| !state.is_gone()) {
                    Some(support) => (state.published.seq(), entry_of(support)),
                    None => return Ok(()),
                }
            };
            let id = entry.id.clone();
            match self.end_if_missing(self.sessions.turns().append(self.user, after, entry).await) {
                Ok(Appended::New(entry)) => {
                    self.catch_up_before(entry.seq).await;
                    let mut published = [entry];
                    self.attach_resources(&mut published);
                    let [entry] = published;
                    let mut state = self.state();
                    state.forget_unsaved(&id);
                    if state.published.advance(entry.seq) {
                        state.publish(Recipients::All, ServerFrame::Turn(entry));
                    }
                }
                // Stored by an attempt whose reply was lost, or at an earlier showing.
                Ok(Appended::Existing { seq }) => {
                    self.catch_up_before(seq.saturating_add(1)).await;
                    self.state().forget_unsaved(&id);
                }
                Err(StoreError::NoSession { .. }) => return Ok(()),
                Err(error) => {
                    // Without the user's label: the line would reveal who is at risk.
                    tracing::warn!(%error, "help that was shown is not stored yet");
                    return Err(error);
                }
            }
        }
    }

    /// Waits until a message in risk may be admitted. It is never rejected for a limit; beyond the limits the session's
    /// messages wait here, one a second, which stops the reads behind them.
    pub(super) async fn admit_in_risk(&self) {
        let until = self.state().beyond_limits_until;
        if let Some(until) = until {
            sleep_until(until).await;
        }
        let most = self.sessions.limits().per_user_max + MAX_BEYOND_LIMITS;
        loop {
            // Registered before the check, so that a turn that ends in between is not missed.
            let turn_ended = self.turn_ended.notified();
            let waits = {
                let state = self.state();
                most <= state.in_flight() && !state.is_gone()
            };
            if !waits {
                return;
            }
            turn_ended.await;
        }
    }

    pub(super) fn watch_state(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends help to every connection, and queues it for the store.
    fn show(&mut self, support: Support) {
        self.publish(Recipients::All, ServerFrame::Support(Box::new(support.clone())));
        self.keep_unsaved(support);
    }

    fn keep_unsaved(&mut self, support: Support) {
        if self.unsaved_help.len() == MAX_UNSAVED {
            self.unsaved_help.pop_front();
        }
        self.unsaved_help.push_back(support);
    }

    fn forget_unsaved(&mut self, id: &MessageId) {
        self.unsaved_help.retain(|support| support.id != *id);
    }
}

/// Builds the entry of `support`, without its help lines.
fn entry_of(support: &Support) -> NewEntry {
    NewEntry {
        id: support.id.clone(),
        role: Role::Support,
        text: support.text.clone(),
        at: now(),
        finish: None,
        source: None,
        help: Some(Box::new(support.help.clone())),
    }
}

/// Assessment on a connection that has no session yet: the store may be slow, or unavailable.
#[derive(Debug, Default)]
pub struct PreSessionWatch {
    watch: Watch,
    /// The last help shown, to be stored by the session.
    shown: VecDeque<Support>,
    place: Whereabouts,
    /// Chosen, or detected from a first message.
    language: Option<Language>,
}

impl PreSessionWatch {
    /// Assesses message `id` as it arrives. Returns the help that it calls for, and the extra line of the plain face.
    /// `spoken`: the default language.
    pub fn observe(&mut self, id: &MessageId, text: &UserText, spoken: Language) -> Option<(Support, String)> {
        self.language = self.language.or_else(|| Some(if is_english(text)? { Language::English } else { spoken }));
        let language = self.language.unwrap_or(spoken);
        let need = self.watch.observe(id, text, now())?;
        let place = &self.place;
        let support = place.support(id.clone(), need, language, now());
        if self.shown.len() == MAX_UNSAVED {
            self.shown.pop_front();
        }
        self.shown.push_back(support.clone());
        Some((support, resources::plain_line(&place.select(need, language, now()), language)))
    }

    /// Applies the country, the time zone and the language of a client's `hello`, as far as it has them.
    pub fn learn(&mut self, country: Option<Country>, time_zone: Option<&UserText>, language: Option<Language>) {
        self.place = Whereabouts { country, time_zone: time_zone.map(|zone| zone.expose().into()) };
        self.language = language.or(self.language);
    }

    /// Hands over to the session that was opened meanwhile. A session with entries keeps its own memory.
    pub fn hand_over(self, session: &Session) {
        if self.shown.is_empty() {
            return;
        }
        if session.is_untouched() {
            session.adopt(self.watch.into_restored(), self.shown);
        } else {
            session.adopt_shown(self.shown);
        }
    }
}

/// Returns all help lines as lines of the plain face, without a session.
pub fn crisis_lines(language: Language) -> Vec<String> {
    let need = resources::Need { level: safety::Level::Concern, ..resources::Need::default() };
    resources::plain_lines(&Whereabouts::default().select(need, language, now()), language)
}
