//! What the model gets to read: instructions, then as much of the conversation as fits.

use protocol::server_frame::{Entry, Role};
use protocol::{Language, UserText};

use super::Job;
use super::calibration::Calibration;
use crate::llm::{ChatMessage, ChatRole};
use crate::store::{Page, Store, StoreError};

/// Tokens a chat template spends around each message, besides its text.
const TOKENS_PER_MESSAGE: f64 = 4.0;

/// Bounds on what the model gets to read.
#[derive(Debug, Clone)]
pub struct ContextSettings {
    /// Earlier entries at most.
    pub max_entries: usize,
    /// Estimated tokens of instructions and conversation together.
    pub token_budget: f64,
    /// Characters to a token, for the estimate.
    pub chars_per_token: f64,
    /// Instructions in place of the built-in ones, for both languages.
    pub system_prompt: Option<String>,
}

/// Makes what the model gets to read.
#[derive(Debug)]
pub struct Context {
    settings: ContextSettings,
    calibration: Calibration,
}

/// What the model gets to read, and how long that is.
pub(super) struct Prompt {
    pub(super) messages: Vec<ChatMessage>,
    /// Tokens by the plain estimate, before it is corrected.
    estimated: f64,
}

/// A message and what answered it.
#[derive(Default)]
struct Exchange {
    question: Option<UserText>,
    answer: Option<UserText>,
}

impl Context {
    /// Within the bounds of `settings`.
    pub fn new(settings: ContextSettings) -> Self {
        Self { settings, calibration: Calibration::default() }
    }

    /// `model` counted `counted` tokens in `prompt`: the next estimates are better.
    pub(super) fn learn(&self, model: &str, prompt: &Prompt, counted: u64) {
        self.calibration.learn(model, prompt.estimated, counted);
    }

    /// The conversation up to `job`'s message. Whole exchanges are left out, the oldest
    /// first, when they do not fit; the message itself always stands.
    pub(super) async fn build(&self, store: &dyn Store, job: &Job) -> Result<Prompt, StoreError> {
        let page = Page::Before { seq: u64::MAX, limit: self.settings.max_entries + 1 };
        let entries = store.entries(job.label.user, page).await?;
        Ok(self.select(exchanges(entries, job.seq), job))
    }

    fn select(&self, earlier: Vec<Exchange>, job: &Job) -> Prompt {
        let system = self.instructions(job.language);
        let budget = self.settings.token_budget / self.calibration.factor();
        let mut estimated = self.tokens(system) + self.tokens(job.text.expose());
        let mut fits: Vec<Exchange> = Vec::new();
        for exchange in earlier.into_iter().rev() {
            let texts = [&exchange.question, &exchange.answer].into_iter().flatten();
            let longer = estimated + texts.map(|text| self.tokens(text.expose())).sum::<f64>();
            if budget < longer {
                break;
            }
            estimated = longer;
            fits.push(exchange);
        }
        let message = |role, content| ChatMessage { role, content };
        let mut messages = vec![message(ChatRole::System, UserText::new(system))];
        for Exchange { question, answer } in fits.into_iter().rev() {
            messages.extend(question.map(|text| message(ChatRole::User, text)));
            messages.extend(answer.map(|text| message(ChatRole::Assistant, text)));
        }
        messages.push(message(ChatRole::User, job.text.clone()));
        Prompt { messages, estimated }
    }

    fn instructions(&self, language: Language) -> &str {
        match (&self.settings.system_prompt, language) {
            (Some(own), _) => own,
            (None, Language::Spanish) => include_str!("prompts/es.txt").trim_end(),
            (None, Language::English) => include_str!("prompts/en.txt").trim_end(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "texts have far fewer than 2^52 characters")]
    fn tokens(&self, text: &str) -> f64 {
        text.chars().count() as f64 / self.settings.chars_per_token + TOKENS_PER_MESSAGE
    }
}

/// Pairs every answer with its message, in the order of the messages before `seq`. A message
/// without an answer stands alone; an answer whose message is not among `entries` is left out.
fn exchanges(entries: Vec<Entry>, seq: u64) -> Vec<Exchange> {
    let mut ids = Vec::new();
    let mut exchanges: Vec<Exchange> = Vec::new();
    for entry in entries {
        match entry.role {
            Role::User if entry.seq < seq => {
                ids.push(entry.id);
                exchanges.push(Exchange { question: Some(entry.text), answer: None });
            }
            Role::Assistant => {
                if let Some(at) = ids.iter().position(|id| *id == entry.id) {
                    exchanges[at].answer = Some(entry.text);
                }
            }
            Role::User | Role::Support => {}
        }
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use protocol::trace::Traceparent;
    use protocol::{MessageLabel, Timestamp, UserLabel};
    use tokio::time::Instant;

    use super::*;

    fn entry(seq: u64, id: &str, role: Role, text: &str) -> Entry {
        Entry {
            seq,
            id: id.parse().unwrap(),
            role,
            text: UserText::new(text),
            at: Timestamp::from_unix_ms(0),
            finish: None,
            source: None,
        }
    }

    /// The texts the model gets for message `seq`, instructions left out.
    fn texts(entries: Vec<Entry>, seq: u64, token_budget: f64) -> Vec<String> {
        let settings = ContextSettings {
            max_entries: 20,
            token_budget,
            chars_per_token: 1.0,
            system_prompt: Some("0123456789".into()),
        };
        let job = Job {
            id: "now".parse().unwrap(),
            label: MessageLabel { user: UserLabel(1), number: 1 },
            seq,
            text: UserText::new("now"),
            language: Language::Spanish,
            trace: Traceparent::random(),
            accepted_at: Instant::now(),
        };
        let messages = Context::new(settings).select(exchanges(entries, seq), &job).messages;
        assert_eq!(messages[0].role, ChatRole::System);
        messages[1..].iter().map(|message| message.content.expose().to_owned()).collect()
    }

    #[test]
    fn answers_stand_behind_their_messages_and_later_messages_do_not_show() {
        let entries = || {
            vec![
                entry(1, "a", Role::User, "q1"),
                entry(2, "b", Role::User, "q2"),
                entry(3, "a", Role::Assistant, "a1"),
                entry(4, "now", Role::User, "now"),
                entry(5, "c", Role::User, "later"),
                entry(6, "b", Role::Assistant, "a2"),
            ]
        };
        assert_eq!(texts(entries(), 4, 1_000.0), ["q1", "a1", "q2", "a2", "now"]);
        // 10 + 4 for the instructions, 3 + 4 for the message, 2 × (2 + 4) for an exchange.
        assert_eq!(texts(entries(), 4, 33.0), ["q2", "a2", "now"]);
        assert_eq!(texts(entries(), 4, 32.9), ["now"]);
        assert_eq!(texts(entries(), 4, 0.0), ["now"]);
    }

    #[test]
    fn what_providers_count_moves_the_budget() {
        let settings = ContextSettings {
            max_entries: 20,
            token_budget: 40.0,
            chars_per_token: 1.0,
            system_prompt: Some("s".into()),
        };
        let context = Context::new(settings);
        let job = Job {
            id: "now".parse().unwrap(),
            label: MessageLabel { user: UserLabel(1), number: 1 },
            seq: 3,
            text: UserText::new("now"),
            language: Language::Spanish,
            trace: Traceparent::random(),
            accepted_at: Instant::now(),
        };
        let prompt = || context.select(exchanges(vec![entry(1, "a", Role::User, "0123456789")], 3), &job);
        let first = prompt();
        assert_eq!((first.messages.len(), first.estimated), (3, 26.0));
        context.learn("m", &first, 52);
        assert_eq!(prompt().messages.len(), 2, "26 estimated tokens are 52");
    }
}
