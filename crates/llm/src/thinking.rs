//! Filter that removes a model's thinking (reasoning) from the text of its answer.
//!
//! Reasoning models put their thinking between tags (`<think>…</think>`) at the start. A server that knows the model
//! strips it; others send it as text. Where the model's template writes the opening tag into the prompt, the text has
//! only the closing one.

/// Thinking tags, compared ASCII case-insensitively.
const TAGS: [(&str, &str); 12] = [
    ("<think>", "</think>"),
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
];
/// First characters of closing tags.
const CLOSERS: [char; 3] = ['<', '[', '◁'];

/// Streaming filter. Also drops white space before the answer: many models begin with a stray space or line break.
#[derive(Debug)]
pub(super) struct ThinkingFilter {
    at: At,
    /// The model is known for unopened thinking.
    suspected: bool,
    /// Undecided text: possibly a partial tag.
    held: String,
    /// Text held back as suspected thinking.
    withheld: String,
    /// Text has passed since the last restart.
    has_passed: bool,
    /// Thinking has ended: the answer follows.
    has_thought: bool,
    /// A closing tag without an opening one was found.
    is_unopened: bool,
}

/// Position in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before any text.
    Start,
    /// In thinking, up to this tag.
    Thinking(&'static str),
    /// Probably in unopened thinking.
    Suspected,
    /// In text that a closing tag may still reveal as thinking.
    Text,
    /// In the answer after thinking.
    CompletionStream,
}

/// Output for one delta.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filtered {
    /// All text passed before was thinking.
    pub(super) restarts: bool,
    /// Some of the input was removed.
    pub(super) has_hidden: bool,
    /// Text that passes.
    pub(super) text: String,
}

impl ThinkingFilter {
    /// Starts at the beginning of an answer. `suspected`: this model's thinking has no opening tag, so that nothing
    /// passes until a tag closes it or the answer ends.
    pub(super) fn new(suspected: bool) -> Self {
        Self {
            at: At::Start,
            suspected,
            held: String::new(),
            withheld: String::new(),
            has_passed: false,
            has_thought: false,
            is_unopened: false,
        }
    }

    /// Filters the next delta.
    pub(super) fn push(&mut self, piece: &str) -> Filtered {
        let mut filtered = Filtered::default();
        if piece.is_empty() {
            return filtered;
        }
        if self.at == At::CompletionStream {
            filtered.text = piece.to_owned();
            return filtered;
        }
        self.held.push_str(piece);
        while self.step(&mut filtered) {}
        self.has_passed |= !filtered.text.is_empty();
        filtered
    }

    /// Ends the answer and returns the rest of its text. `whole`: neither truncated nor at a limit.
    pub(super) fn finish(&mut self, whole: bool) -> String {
        match self.at {
            At::Start | At::Text | At::CompletionStream => std::mem::take(&mut self.held),
            // Complete without a tag: no thinking this time. Truncated, the tag may still have followed.
            At::Suspected if whole => [self.withheld.as_str(), &self.held].concat().trim_start().to_owned(),
            At::Suspected | At::Thinking(_) => String::new(),
        }
    }

    /// True if the answer began with unopened thinking; `None` if unknown.
    pub(super) fn is_unopened(&self, whole: bool) -> Option<bool> {
        match self.at {
            _ if self.is_unopened => Some(true),
            At::Suspected | At::Text if whole => Some(false),
            _ => None,
        }
    }

    /// Classifies a part of the held text; true if more may be classified.
    fn step(&mut self, filtered: &mut Filtered) -> bool {
        match self.at {
            At::Start => self.start(filtered),
            At::Thinking(close) => self.think(close, filtered),
            At::Suspected | At::Text => self.look_for_unopened(filtered),
            At::CompletionStream => {
                filtered.text.push_str(&std::mem::take(&mut self.held));
                false
            }
        }
    }

    fn start(&mut self, filtered: &mut Filtered) -> bool {
        let spaces = self.held.len() - self.held.trim_start().len();
        self.held.drain(..spaces);
        if let Some((open, close)) = TAGS.iter().find(|(open, _)| begins_with(&self.held, open)) {
            self.held.drain(..open.len());
            filtered.has_hidden = true;
            (self.at, self.has_thought) = (At::Thinking(close), true);
            return true;
        }
        if TAGS.iter().any(|(open, _)| begins_with(open, &self.held)) {
            return false;
        }
        // After a tagged block the model uses tags properly: a closing tag in the answer is part of it.
        self.at = match (self.has_thought, self.suspected) {
            (true, _) => At::CompletionStream,
            (false, true) => At::Suspected,
            (false, false) => At::Text,
        };
        true
    }

    fn think(&mut self, close: &'static str, filtered: &mut Filtered) -> bool {
        filtered.has_hidden = true;
        let Some(end) = find(&self.held, close) else {
            self.held.drain(..self.held.len() - overlap(&self.held, close));
            return false;
        };
        self.held.drain(..end + close.len());
        // The answer, or another thinking block, follows.
        self.at = At::Start;
        true
    }

    /// Passes the first `length` bytes of the held text, or withholds them while suspected.
    fn pass(&mut self, length: usize, filtered: &mut Filtered) {
        let decided = self.held.drain(..length);
        if self.at == At::Suspected {
            filtered.has_hidden = true;
            self.withheld.push_str(decided.as_str());
        } else {
            filtered.text.push_str(decided.as_str());
        }
    }

    fn look_for_unopened(&mut self, filtered: &mut Filtered) -> bool {
        // Fast path for nearly every delta: skips the search for each tag.
        if !self.held.contains(CLOSERS) {
            self.pass(self.held.len(), filtered);
            return false;
        }
        if let Some(end) = end_of_unopened(&self.held) {
            self.held.drain(..end);
            self.withheld = String::new();
            filtered.text.clear();
            filtered.has_hidden = true;
            filtered.restarts |= std::mem::take(&mut self.has_passed);
            (self.at, self.has_thought, self.is_unopened) = (At::Start, true, true);
            return true;
        }
        let undecided = TAGS.iter().map(|(_, close)| overlap(&self.held, close)).max().unwrap_or_default();
        self.pass(self.held.len() - undecided, filtered);
        false
    }
}

/// End of the first closing tag in `text`.
fn end_of_unopened(text: &str) -> Option<usize> {
    let found = TAGS.iter().filter_map(|(_, close)| Some((find(text, close)?, close.len())));
    found.min().map(|(at, length)| at + length)
}

/// True if `text` begins with `tag`.
fn begins_with(text: &str, tag: &str) -> bool {
    text.as_bytes().get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()))
}

/// Position of `tag` in `text`.
fn find(text: &str, tag: &str) -> Option<usize> {
    let first = tag.chars().next()?;
    text.match_indices(first).map(|(at, _)| at).find(|at| begins_with(text.get(*at..).unwrap_or_default(), tag))
}

/// Length of the longest suffix of `text` that is a proper prefix of `tag`.
fn overlap(text: &str, tag: &str) -> usize {
    let ends_with = |length: &usize| {
        let begin = text.len().checked_sub(*length).and_then(|at| text.as_bytes().get(at..));
        begin.is_some_and(|end| tag.as_bytes().get(..*length).is_some_and(|tag| end.eq_ignore_ascii_case(tag)))
    };
    (1..tag.len()).rev().find(ends_with).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Filters `pieces`; returns the visible text, and whether the thinking was unopened.
    fn shown<'a>(suspected: bool, whole: bool, pieces: impl IntoIterator<Item = &'a str>) -> (String, Option<bool>) {
        let (mut filter, mut shown) = (ThinkingFilter::new(suspected), String::new());
        for piece in pieces {
            let filtered = filter.push(piece);
            if filtered.restarts {
                shown.clear();
            }
            shown.push_str(&filtered.text);
        }
        shown.push_str(&filter.finish(whole));
        (shown, filter.is_unopened(whole))
    }

    const ANSWERS: [(&str, &str); 30] = [
        ("Hola", "Hola"),
        (" \n Hola\n", "Hola\n"),
        ("<think>x</think>Hola", "Hola"),
        ("\n<think>\nmm, 5 < 6 </thin\n</think>\n\nHola <b>", "Hola <b>"),
        ("<THINK>x</Think>Hola", "Hola"),
        ("<thought>x</thought> Hola", "Hola"),
        ("<thinking>x</think></thinking> Hola", "Hola"),
        ("<thoughts>a</thoughts><reasoning>b</reasoning>Hola", "Hola"),
        ("<seed:think>x</seed:think>Hola", "Hola"),
        ("[THINK]x[/THINK]Hola [1]", "Hola [1]"),
        ("◁think▷x◁/think▷Hola ◁", "Hola ◁"),
        ("<|channel|>analysis<|message|>x<|start|>assistant<|channel|>final<|message|>Hola", "Hola"),
        ("<|start|>assistant<|channel|>analysis<|message|>x<|end|><|channel|>final<|message|>Hola", "Hola"),
        ("<|channel|>final<|message|>Hola", "Hola"),
        ("<|START_THINKING|>x<|END_THINKING|> Hola", "Hola"),
        ("<|begin_of_thought|>x<|end_of_thought|>\nHola", "Hola"),
        ("<|starter|> Hola", "<|starter|> Hola"),
        ("<think></think>Hola", "Hola"),
        ("<think>a</think> <think>b</think> Hola", "Hola"),
        ("<think>a</think>Hola </think> y", "Hola </think> y"),
        ("</think>Hola", "Hola"),
        ("pienso\n</think>\n\nHola", "Hola"),
        ("pienso</think><think>más</think>Hola", "Hola"),
        ("pienso [a] ◁</thought>Hola", "Hola"),
        ("<think>nunca termina", ""),
        ("<think>nunca termina</thin", ""),
        ("<thin", "<thin"),
        ("<thinker> Hola", "<thinker> Hola"),
        ("Hola <think>x</thin", "Hola <think>x</thin"),
        ("Hola </", "Hola </"),
    ];

    #[test]
    fn closing_tags_begin_with_closers() {
        for (_, close) in TAGS {
            assert!(close.starts_with(CLOSERS), "{close}");
        }
    }

    #[test]
    fn removes_thinking_at_any_split() {
        for (text, want) in ANSWERS {
            for suspected in [false, true] {
                assert_eq!(shown(suspected, true, [text]).0, want, "{text:?}, {suspected}");
                let letters = text.split_inclusive(|_: char| true);
                assert_eq!(shown(suspected, true, letters).0, want, "{text:?}, {suspected}, by letters");
                for at in (1..text.len()).filter(|at| text.is_char_boundary(*at)) {
                    let (before, after) = text.split_at(at);
                    assert_eq!(shown(suspected, true, [before, after]).0, want, "{before:?} {after:?}, {suspected}");
                }
            }
        }
    }

    #[test]
    fn detects_unopened_thinking() {
        for (suspected, whole, text, want) in [
            (false, true, "pienso</think>Hola", ("Hola", Some(true))),
            (true, true, "pienso</think>Hola", ("Hola", Some(true))),
            (true, false, "pienso</think>Ho", ("Ho", Some(true))),
            (true, true, "Hola", ("Hola", Some(false))),
            // Truncated before the tag: thinking, or unknown.
            (true, false, "pienso", ("", None)),
            (false, true, "Hola", ("Hola", Some(false))),
            (false, false, "Hola", ("Hola", None)),
            (false, true, "<think>x</think>Hola", ("Hola", None)),
        ] {
            let (shown, unopened) = shown(suspected, whole, [text]);
            assert_eq!((shown.as_str(), unopened), want, "{text}, {suspected}, {whole}");
        }
    }

    #[test]
    fn restarts_only_after_passed_text() {
        let mut filter = ThinkingFilter::new(false);
        let filtered = |restarts, has_hidden, text: &str| Filtered { restarts, has_hidden, text: text.to_owned() };
        assert_eq!(filter.push("pienso</think>Hola"), filtered(false, true, "Hola"));
        let mut filter = ThinkingFilter::new(false);
        assert_eq!(filter.push("pienso"), filtered(false, false, "pienso"));
        assert_eq!(filter.push("</thi"), filtered(false, false, ""));
        assert_eq!(filter.push("nk> "), filtered(true, true, ""));
        assert_eq!(filter.push("Hola"), filtered(false, false, "Hola"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn splits_change_nothing(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "<think>", "</think>", "<thought>", "</thought>", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷",
                    "<", "</", "thin", "k>", "Hola", " ", "\n", "ñ💙", "",
                ]),
                0..12,
            ),
            cuts in prop::collection::vec(0..400_usize, 0..12),
            suspected: bool,
            whole: bool,
        ) {
            let text = parts.concat();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
            at.retain(|at| text.is_char_boundary(*at));
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces = at.windows(2).filter_map(|pair| text.get(pair[0]..pair[1]));
            let (in_pieces, at_once) = (shown(suspected, whole, pieces), shown(suspected, whole, [text.as_str()]));
            prop_assert_eq!(&in_pieces, &at_once);
            // Tagged thinking at the start must never be shown, whatever follows.
            if let Some(after) = text.trim_start().strip_prefix("<think>") {
                let answer = after.split_once("</think>").map_or("", |(_, answer)| answer);
                prop_assert!(answer.ends_with(in_pieces.0.as_str()), "{:?} of {:?}", in_pieces.0, text);
            }
        }
    }
}
