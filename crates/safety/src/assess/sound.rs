//! Spelling by sound, as in chats: `kiero`, `suisidio`, `bida`, `boi`. Shared with `build.rs`.

/// Appends the sound of `word` (folded letters) to `out`.
pub(crate) fn sound(word: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let mut at = 0;
    while let Some(&letter) = word.get(at) {
        let next = word.get(at + 1).copied().unwrap_or(0);
        let (sounds, taken) = letter_sound(letter, next, word.get(at + 2).copied().unwrap_or(0));
        for &sound in sounds.iter().filter(|sound| **sound != 0) {
            // Squeezed: `morirrr`, `quierooo`.
            if out.len() == begin || out.last() != Some(&sound) {
                out.push(sound);
            }
        }
        at += taken;
    }
}

/// Returns the sound of `letter` before `next` and `later`, and how many letters it takes.
pub(crate) fn letter_sound(letter: u8, next: u8, later: u8) -> ([u8; 2], usize) {
    let soft = matches!(next, b'e' | b'i');
    match letter {
        b'c' if next == b'h' => ([b'C', 0], 2),
        b'c' if soft => ([b's', 0], 1),
        b'q' if next == b'u' && matches!(later, b'e' | b'i') => ([b'k', 0], 2),
        b'c' | b'q' => ([b'k', 0], 1),
        b'h' => ([0, 0], 1),
        b'z' => ([b's', 0], 1),
        b'v' => ([b'b', 0], 1),
        b'l' if next == b'l' => ([b'i', 0], 2),
        b'y' => ([b'i', 0], 1),
        b'g' if soft => ([b'j', 0], 1),
        b'g' if next == b'u' && matches!(later, b'e' | b'i') => ([b'g', 0], 2),
        b'n' if matches!(next, b'b' | b'v' | b'p') => ([b'm', 0], 1),
        other => ([other, 0], 1),
    }
}
