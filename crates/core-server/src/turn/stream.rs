//! A model's answer on its way to the people who read it: screened piece by piece, cut to its greatest length.

use std::pin::pin;
use std::time::Duration;

use protocol::UserText;
use protocol::limits::MAX_ANSWER_CHARS;
use protocol::server_frame::{Exercise, Finish, Source, Usage};
use safety::screen::{Screen, ScreenContext, Violation};
use tokio::time::{Instant, timeout};

use super::{AnswerSink, PendingTurn, SummaryJob};
use crate::llm::{CompletionStream, TextDelta};

/// Longest time for which the screen holds text back while a model pauses: a person must not wait for words that
/// are there. What was shown by then breaks no rule, and what would complete a violation still does not come.
const MAX_HOLD: Duration = Duration::from_millis(250);

/// What is known of an answer while it comes.
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

/// How the text that was shown ends.
#[derive(Debug, Clone, Copy, Default)]
struct ShownEnd {
    /// Last character that is no white space.
    visible: Option<char>,
    /// White space follows it.
    is_spaced: bool,
}

impl Progress {
    /// Nothing was said yet; `source`: where the answer is expected from.
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

    /// Shows the next piece of the answer, as far as there is room for it. Returns whether all of it was.
    pub(super) fn show(&mut self, piece: UserText, sink: &dyn AnswerSink) -> bool {
        let (room, chars) = (MAX_ANSWER_CHARS - self.chars, piece.chars());
        let fits = chars <= room;
        let (piece, chars) = if fits { (piece, chars) } else { (piece.first_chars(room), room) };
        // Thinking that is taken back, or what a screen holds back, is all that some pieces say; a delta has text.
        if !piece.is_empty() {
            self.first.get_or_insert_with(Instant::now);
            self.chars += chars;
            self.shown.add(piece.expose());
            sink.delta(piece, self.exercise);
        }
        fits
    }

    /// Takes back what was shown: it is no part of the answer.
    fn restart(&mut self, sink: &dyn AnswerSink) {
        (self.chars, self.shown) = (0, ShownEnd::default());
        sink.restart();
    }

    /// Goes on with what the companion says where the rest of the answer may not be shown.
    fn replace(&mut self, violation: Violation, sink: &dyn AnswerSink) -> Finish {
        self.source = Source::Screened;
        let Violation { clean, replacement, .. } = violation;
        self.show(UserText::new(clean), sink);
        let joint = self.shown.joint();
        if MAX_ANSWER_CHARS < self.chars + joint.chars().count() + replacement.chars().count() {
            // No room is left behind an answer of full length: it gives way.
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

    /// What stands between the text so far and a sentence that does not belong to it.
    fn joint(self) -> &'static str {
        let has_ended = matches!(self.visible, None | Some('.' | '!' | '?' | '…' | '»' | '”' | '"' | ')' | ':'));
        match (has_ended, self.is_spaced) {
            (true, true) => "",
            (true, false) => " ",
            (false, _) => "… ",
        }
    }
}

/// Shows `answer` to `sink` as it comes: only what the screen has released leaves this function. Where it
/// finds a violation the call ends, and what the companion says in its place follows.
pub(super) async fn stream(
    turn: &PendingTurn,
    mut answer: CompletionStream<'_>,
    sink: &dyn AnswerSink,
    progress: &mut Progress,
) -> Finish {
    let context = ScreenContext { level: turn.risk.level, kinds: turn.risk.kinds, language: turn.language };
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
                // Ends the call before anything else: nobody needs the rest.
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

    /// What somebody reads who takes every piece in.
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
