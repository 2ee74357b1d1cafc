//! Answer of a turn: its text, which the turn owns, its origin and its times. A model's text is screened delta by delta,
//! and truncated at [`MAX_ANSWER_CHARS`].

use std::pin::pin;
use std::time::Duration;

use llm::{CompletionStream, TextDelta};
use protocol::limits::MAX_ANSWER_CHARS;
use protocol::server_frame::{Exercise, Finish, Source, Usage};
use protocol::{MessageId, UserText};
use safety::screen::{Screen, ScreenContext, Violation};
use session::{Delta, Progress, Turn, TurnEvent};
use tokio::time::{Instant, timeout};

use super::{AnswerSink, SummaryJob};

/// Longest time for which the screen holds text back while a model pauses: a person must not wait for words that have
/// arrived. Released text breaks no rule, and the rest of a violation would still be stopped.
const MAX_HOLD: Duration = Duration::from_millis(250);

/// Answer of a turn, so far.
pub(super) struct Answer {
    id: MessageId,
    pub(super) text: UserText,
    /// Length of `text` in characters.
    pub(super) chars: usize,
    pub(super) source: Source,
    /// The model was called, whatever came of it.
    pub(super) is_called: bool,
    /// Name of the model, by the provider.
    pub(super) model: Option<String>,
    /// Time of the model slot.
    pub(super) queue: Option<Instant>,
    /// Time of the first text.
    pub(super) first: Option<Instant>,
    pub(super) usage: Option<Usage>,
    /// Exercise that it offers or continues.
    pub(super) exercise: Option<Exercise>,
    /// Summary to make after it.
    pub(super) summary_job: Option<SummaryJob>,
}

impl Answer {
    /// Creates the answer to message `id`, without text. `source`: the expected one.
    pub(super) fn new(id: MessageId, source: Source) -> Self {
        Self {
            id,
            text: UserText::default(),
            chars: 0,
            source,
            is_called: false,
            model: None,
            queue: None,
            first: None,
            usage: None,
            exercise: None,
            summary_job: None,
        }
    }

    /// Adds and shows the next text, up to [`MAX_ANSWER_CHARS`]. Returns true if all of it fits.
    pub(super) fn show(&mut self, text: UserText, sink: &dyn AnswerSink) -> bool {
        let (room, chars) = (MAX_ANSWER_CHARS - self.chars, text.chars());
        let fits = chars <= room;
        let (text, chars) = if fits { (text, chars) } else { (text.first_chars(room), room) };
        // Empty after a screen has held all of it back: a delta must have text.
        if !text.is_empty() {
            self.first.get_or_insert_with(Instant::now);
            let (id, offset, exercise) = (self.id.clone(), self.chars, self.exercise);
            self.chars += chars;
            self.text.push(&text);
            sink.on(TurnEvent::Progress(Progress::Delta(Delta { id, offset, chars, text, exercise })));
        }
        fits
    }

    /// Discards the text so far.
    fn restart(&mut self, sink: &dyn AnswerSink) {
        (self.text, self.chars) = (UserText::default(), 0);
        sink.on(TurnEvent::Progress(Progress::Restarted));
    }

    /// Continues with the companion's replacement for the rest of an answer that violates a rule.
    fn replace(&mut self, violation: Violation, sink: &dyn AnswerSink) -> Finish {
        self.source = Source::Screened;
        let Violation { clean, replacement, .. } = violation;
        self.show(UserText::new(clean), sink);
        let joint = joint(self.text.expose());
        if MAX_ANSWER_CHARS < self.chars + joint.chars().count() + replacement.chars().count() {
            // No room after an answer of full length: the replacement must be complete, so it replaces all.
            self.restart(sink);
        }
        let text = if self.chars == 0 { replacement.to_owned() } else { format!("{joint}{replacement}") };
        self.show(UserText::new(text), sink);
        Finish::Stop
    }
}

/// Returns the separator between `text` and a new sentence.
fn joint(text: &str) -> &'static str {
    let visible = text.trim_end();
    let has_ended = visible.is_empty() || visible.ends_with(['.', '!', '?', '…', '»', '”', '"', ')', ':']);
    match (has_ended, visible.len() < text.len()) {
        (true, true) => "",
        (true, false) => " ",
        (false, _) => "… ",
    }
}

/// Streams `completion` to `sink`: only text released by the screen leaves this function. A violation ends the call, and
/// the companion's replacement follows.
pub(super) async fn stream(
    turn: &Turn,
    mut completion: CompletionStream<'_>,
    sink: &dyn AnswerSink,
    answer: &mut Answer,
) -> Finish {
    let context = ScreenContext {
        level: turn.message.risk.level,
        kinds: turn.message.risk.kinds,
        language: turn.language,
        country: turn.country,
    };
    let mut screen = Screen::new(context);
    answer.model = Some(completion.model().to_owned());
    let finish = loop {
        let arrived = {
            let mut next = pin!(completion.next());
            let in_time = if screen.is_holding() { timeout(MAX_HOLD, &mut next).await.ok() } else { None };
            match in_time {
                Some(arrived) => arrived,
                None if !answer.show(UserText::new(screen.flush()), sink) => return Finish::Length,
                None => next.await,
            }
        };
        let TextDelta { text, restarts } = match arrived {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                tracing::error!(%error, "model stream failed mid-answer");
                break Finish::Error;
            }
            None => {
                answer.usage = completion.usage();
                break completion.finish();
            }
        };
        if restarts {
            screen = Screen::new(context);
            answer.restart(sink);
        }
        match screen.push(text.expose()) {
            Ok(clean) => {
                if !answer.show(UserText::new(clean), sink) {
                    return Finish::Length;
                }
            }
            Err(violation) => {
                // Cancels the call first: its remaining tokens would cost, and are never shown.
                drop(completion);
                return answer.replace(violation, sink);
            }
        }
    };
    match screen.finish() {
        Ok(rest) => {
            if answer.show(UserText::new(rest), sink) {
                finish
            } else {
                Finish::Length
            }
        }
        Err(violation) => answer.replace(violation, sink),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Sink that collects the shown text.
    #[derive(Default)]
    struct Reader(Mutex<String>);

    impl Reader {
        fn text(&self) -> String {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl AnswerSink for Reader {
        fn on(&self, event: TurnEvent) {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                TurnEvent::Progress(Progress::Delta(delta)) => {
                    assert!(!delta.text.is_empty());
                    assert_eq!((delta.offset, delta.chars), (text.chars().count(), delta.text.chars()));
                    text.push_str(delta.text.expose());
                }
                TurnEvent::Progress(Progress::Restarted) => text.clear(),
                event => panic!("{event:?}"),
            }
        }
    }

    fn answer() -> Answer {
        Answer::new("a".parse().unwrap(), Source::Llm)
    }

    fn violation(clean: &str) -> Violation {
        Violation { rule: "rule", replacement: "Otra cosa.", clean: clean.to_owned() }
    }

    #[test]
    fn shows_held_clean_text_before_the_replacement() {
        let (reader, mut answer) = (Reader::default(), answer());
        answer.show(UserText::new("Te leo."), &reader);
        answer.replace(violation(" Podés llamar"), &reader);
        assert_eq!(reader.text(), "Te leo. Podés llamar… Otra cosa.");
    }

    #[test]
    fn replacement_starts_a_sentence() {
        for (shown, want) in [
            (&[][..], "Otra cosa."),
            (&["Te leo."], "Te leo. Otra cosa."),
            (&["Te leo. "], "Te leo. Otra cosa."),
            (&["Te leo.", "  "], "Te leo.  Otra cosa."),
            (&["¿Querés", " contarme? "], "¿Querés contarme? Otra cosa."),
            (&["Podrías"], "Podrías… Otra cosa."),
            (&["Podrías "], "Podrías … Otra cosa."),
            (&["   "], "   Otra cosa."),
        ] {
            let (reader, mut answer) = (Reader::default(), answer());
            shown.iter().for_each(|piece| assert!(answer.show(UserText::new(*piece), &reader)));
            assert_eq!(answer.replace(violation(""), &reader), Finish::Stop);
            assert_eq!(reader.text(), want);
            assert_eq!((answer.source, answer.chars), (Source::Screened, want.chars().count()));
        }
    }

    #[test]
    fn replacement_is_complete_after_a_long_answer() {
        for before in [MAX_ANSWER_CHARS - 11, MAX_ANSWER_CHARS - 5, MAX_ANSWER_CHARS] {
            let (reader, mut answer) = (Reader::default(), answer());
            answer.show(UserText::new(".".repeat(before)), &reader);
            answer.replace(violation(""), &reader);
            let fits = before + 11 <= MAX_ANSWER_CHARS;
            assert_eq!(answer.chars, if fits { before + 11 } else { 10 }, "{before}");
            assert_eq!(reader.text().chars().count(), answer.chars);
            assert!(reader.text().ends_with("Otra cosa."));
        }
    }

    #[test]
    fn truncates_answer_at_max_chars() {
        let (reader, mut answer) = (Reader::default(), answer());
        assert!(answer.show(UserText::new("ñ".repeat(MAX_ANSWER_CHARS - 1)), &reader));
        assert!(answer.show(UserText::default(), &reader), "nothing always fits");
        assert!(!answer.show(UserText::new("ab"), &reader));
        assert_eq!((answer.chars, reader.text().chars().count()), (MAX_ANSWER_CHARS, MAX_ANSWER_CHARS));
        assert!(reader.text().ends_with('a'));
    }
}
