//! Streams a model's answer: screened delta by delta, truncated at [`MAX_ANSWER_CHARS`].

use std::pin::pin;
use std::time::Duration;

use llm::{CompletionStream, TextDelta};
use protocol::UserText;
use protocol::limits::MAX_ANSWER_CHARS;
use protocol::server_frame::{Exercise, Finish, Source, Usage};
use safety::screen::{Screen, ScreenContext, Violation};
use tokio::time::{Instant, timeout};

use super::{AnswerSink, PendingTurn, SummaryJob};

/// Longest time for which the screen holds text back while a model pauses: a person must not wait for words that have
/// arrived. Released text breaks no rule, and the rest of a violation would still be stopped.
const MAX_HOLD: Duration = Duration::from_millis(250);

pub(super) struct Progress {
    pub(super) source: Source,
    /// The model was called, whatever came of it.
    pub(super) called: bool,
    pub(super) model: Option<String>,
    pub(super) chars: usize,
    pub(super) queue: Option<Instant>,
    pub(super) first: Option<Instant>,
    pub(super) usage: Option<Usage>,
    pub(super) exercise: Option<Exercise>,
    pub(super) summary_job: Option<SummaryJob>,
    shown: ShownEnd,
}

/// End of the text shown so far.
#[derive(Debug, Clone, Copy, Default)]
struct ShownEnd {
    /// Last character that is no white space.
    visible: Option<char>,
    /// White space follows it.
    is_spaced: bool,
}

impl Progress {
    /// Creates the progress of an answer without text. `source`: the expected one.
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            called: false,
            model: None,
            chars: 0,
            queue: None,
            first: None,
            usage: None,
            exercise: None,
            summary_job: None,
            shown: ShownEnd::default(),
        }
    }

    /// Shows the next text of the answer, up to [`MAX_ANSWER_CHARS`]. Returns true if all of it fits.
    pub(super) fn show(&mut self, piece: UserText, sink: &dyn AnswerSink) -> bool {
        let (room, chars) = (MAX_ANSWER_CHARS - self.chars, piece.chars());
        let fits = chars <= room;
        let (piece, chars) = if fits { (piece, chars) } else { (piece.first_chars(room), room) };
        // Empty after a screen has held all of it back: a delta must have text.
        if !piece.is_empty() {
            self.first.get_or_insert_with(Instant::now);
            self.chars += chars;
            self.shown.add(piece.expose());
            sink.delta(piece, self.exercise);
        }
        fits
    }

    /// Discards the text shown so far.
    fn restart(&mut self, sink: &dyn AnswerSink) {
        (self.chars, self.shown) = (0, ShownEnd::default());
        sink.restart();
    }

    /// Continues with the companion's replacement for the rest of an answer that violates a rule.
    fn replace(&mut self, violation: Violation, sink: &dyn AnswerSink) -> Finish {
        self.source = Source::Screened;
        let Violation { clean, replacement, .. } = violation;
        self.show(UserText::new(clean), sink);
        let joint = self.shown.joint();
        if MAX_ANSWER_CHARS < self.chars + joint.chars().count() + replacement.chars().count() {
            // No room after an answer of full length: the replacement must be complete, so it replaces all.
            self.restart(sink);
        }
        let text = if self.chars == 0 { replacement.to_owned() } else { format!("{joint}{replacement}") };
        self.show(UserText::new(text), sink);
        Finish::Stop
    }
}

impl ShownEnd {
    fn add(&mut self, text: &str) {
        let visible = text.trim_end();
        self.is_spaced = visible.len() < text.len();
        self.visible = visible.chars().next_back().or(self.visible);
    }

    /// Returns the separator between the text so far and a new sentence.
    fn joint(self) -> &'static str {
        let has_ended = matches!(self.visible, None | Some('.' | '!' | '?' | '…' | '»' | '”' | '"' | ')' | ':'));
        match (has_ended, self.is_spaced) {
            (true, true) => "",
            (true, false) => " ",
            (false, _) => "… ",
        }
    }
}

/// Streams `answer` to `sink`: only text released by the screen leaves this function. A violation ends the call, and
/// the companion's replacement follows.
pub(super) async fn stream(
    turn: &PendingTurn,
    mut answer: CompletionStream<'_>,
    sink: &dyn AnswerSink,
    progress: &mut Progress,
) -> Finish {
    let context = ScreenContext {
        level: turn.risk.level,
        kinds: turn.risk.kinds,
        language: turn.language,
        country: turn.country,
    };
    let mut screen = Screen::new(context);
    progress.model = Some(answer.model().to_owned());
    let finish = loop {
        let arrived = {
            let mut next = pin!(answer.next());
            let in_time = if screen.is_holding() { timeout(MAX_HOLD, &mut next).await.ok() } else { None };
            match in_time {
                Some(arrived) => arrived,
                None if !progress.show(UserText::new(screen.flush()), sink) => return Finish::Length,
                None => next.await,
            }
        };
        let TextDelta { text, restarts } = match arrived {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                tracing::error!(trace_id = %turn.trace.trace_id, message.label = %turn.label, %error, "model stream failed mid-answer");
                break Finish::Error;
            }
            None => {
                progress.usage = answer.usage();
                break answer.finish();
            }
        };
        if restarts {
            screen = Screen::new(context);
            progress.restart(sink);
        }
        match screen.push(text.expose()) {
            Ok(clean) => {
                if !progress.show(UserText::new(clean), sink) {
                    return Finish::Length;
                }
            }
            Err(violation) => {
                // Cancels the call first: its remaining tokens would cost, and are never shown.
                drop(answer);
                return progress.replace(violation, sink);
            }
        }
    };
    match screen.finish() {
        Ok(rest) => {
            if progress.show(UserText::new(rest), sink) {
                finish
            } else {
                Finish::Length
            }
        }
        Err(violation) => progress.replace(violation, sink),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::turn::Risk;

    /// Sink that collects the shown text.
    #[derive(Default)]
    struct Reader(Mutex<String>);

    impl Reader {
        fn text(&self) -> String {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl AnswerSink for Reader {
        fn queued(&self, _: usize) {}
        fn started(&self) {}
        fn delta(&self, piece: UserText, _: Option<Exercise>) {
            assert!(!piece.is_empty());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(piece.expose());
        }
        fn restart(&self) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        fn risk_raised(&self, _: Risk) {}
    }

    fn violation(clean: &str) -> Violation {
        Violation { rule: "rule", replacement: "Otra cosa.", clean: clean.to_owned() }
    }

    #[test]
    fn shows_held_clean_text_before_the_replacement() {
        let (reader, mut progress) = (Reader::default(), Progress::new(Source::Llm));
        progress.show(UserText::new("Te leo."), &reader);
        progress.replace(violation(" Podés llamar"), &reader);
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
            let (reader, mut progress) = (Reader::default(), Progress::new(Source::Llm));
            shown.iter().for_each(|piece| assert!(progress.show(UserText::new(*piece), &reader)));
            assert_eq!(progress.replace(violation(""), &reader), Finish::Stop);
            assert_eq!(reader.text(), want);
            assert_eq!((progress.source, progress.chars), (Source::Screened, want.chars().count()));
        }
    }

    #[test]
    fn replacement_is_complete_after_a_long_answer() {
        for before in [MAX_ANSWER_CHARS - 11, MAX_ANSWER_CHARS - 5, MAX_ANSWER_CHARS] {
            let (reader, mut progress) = (Reader::default(), Progress::new(Source::Llm));
            progress.show(UserText::new(".".repeat(before)), &reader);
            progress.replace(violation(""), &reader);
            let fits = before + 11 <= MAX_ANSWER_CHARS;
            assert_eq!(progress.chars, if fits { before + 11 } else { 10 }, "{before}");
            assert_eq!(reader.text().chars().count(), progress.chars);
            assert!(reader.text().ends_with("Otra cosa."));
        }
    }

    #[test]
    fn truncates_answer_at_max_chars() {
        let (reader, mut progress) = (Reader::default(), Progress::new(Source::Llm));
        assert!(progress.show(UserText::new("ñ".repeat(MAX_ANSWER_CHARS - 1)), &reader));
        assert!(progress.show(UserText::default(), &reader), "nothing always fits");
        assert!(!progress.show(UserText::new("ab"), &reader));
        assert_eq!((progress.chars, reader.text().chars().count()), (MAX_ANSWER_CHARS, MAX_ANSWER_CHARS));
        assert!(reader.text().ends_with('a'));
    }
}
