//! Classes of characters, and the Latin letters that some stand for.

use std::iter::Peekable;
use std::str::CharIndices;

/// Skips a terminal escape sequence (`ESC [ 31 m`), so that it hides no letters.
pub(super) fn skip_sequence(first: char, chars: &mut Peekable<CharIndices<'_>>) {
    if first == '\u{1b}' && chars.next_if(|(_, char)| *char == '[').is_none() {
        return;
    }
    while chars.next_if(|(_, char)| matches!(char, '0'..='?')).is_some() {}
    chars.next_if(|(_, char)| matches!(char, '@'..='~'));
}

/// Returns the plain letter of one with marks in a Latin alphabet: the fast path.
pub(super) fn latin(char: char) -> Option<u8> {
    Some(match char {
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'Á' | 'À' | 'Â' | 'Ä' | 'Ã' | 'Å' | 'ª' => b'a',
        'é' | 'è' | 'ê' | 'ë' | 'É' | 'È' | 'Ê' | 'Ë' => b'e',
        'í' | 'ì' | 'î' | 'ï' | 'Í' | 'Ì' | 'Î' | 'Ï' => b'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' | 'Ó' | 'Ò' | 'Ô' | 'Ö' | 'Õ' | 'Ø' | 'º' => b'o',
        'ú' | 'ù' | 'û' | 'ü' | 'Ú' | 'Ù' | 'Û' | 'Ü' => b'u',
        'ñ' | 'Ñ' => b'n',
        'ç' | 'Ç' => b'c',
        'ý' | 'ÿ' | 'Ý' => b'y',
        _ => return None,
    })
}

pub(super) fn leet_letter(byte: u8, one: u8) -> u8 {
    match byte {
        b'0' => b'o',
        b'1' | b'!' | b'|' => one,
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'7' | b'+' => b't',
        b'8' => b'b',
        b'9' | b'6' => b'g',
        b'2' => b'z',
        other => other,
    }
}

/// Combining marks, zero-width, bidirectional and other controls, variation selectors, tags.
pub(super) fn is_invisible(char: char) -> bool {
    matches!(char,
        '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}'
        | '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{61c}' | '\u{64b}'..='\u{65f}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180e}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{20d0}'..='\u{20ff}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

pub(super) fn is_emoji(char: char) -> bool {
    matches!(char, '\u{2190}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1f0ff}' | '\u{1f1e6}'..='\u{1faff}')
}
