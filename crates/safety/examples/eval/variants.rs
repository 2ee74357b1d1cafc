//! Variants of a sentence that must not change its level.

/// Names of the variants.
pub(crate) const NAMES: [&str; 8] = ["typo", "leet", "homoglyph", "register", "gender", "accents", "capitals", "split"];

/// Returns variant `name` of `text`, `None` where it changes nothing; a split has a line break where the message ends.
pub(crate) fn variant(name: &str, text: &str) -> Option<String> {
    let made = match name {
        "typo" => typo(text)?,
        "leet" => replaced(text, &[('a', '4'), ('e', '3'), ('i', '1'), ('o', '0')]),
        "homoglyph" => replaced(text, &[('a', 'а'), ('e', 'е'), ('o', 'о'), ('c', 'с'), ('p', 'р'), ('x', 'х')]),
        "register" => reworded(text, &REGISTER),
        "gender" => reworded(text, &GENDER),
        "accents" => replaced(text, &[('á', 'a'), ('é', 'e'), ('í', 'i'), ('ó', 'o'), ('ú', 'u'), ('ñ', 'n')]),
        "capitals" => text.to_uppercase(),
        "split" => {
            let middle = text.len() / 2;
            let (at, _) = text.char_indices().find(|(at, char)| *at >= middle && *char == ' ')?;
            let (first, second) = text.split_at_checked(at)?;
            format!("{first}\n{}", second.trim_start())
        }
        _ => return None,
    };
    (made != text).then_some(made)
}

fn replaced(text: &str, pairs: &[(char, char)]) -> String {
    let other = |char: char| pairs.iter().find(|(from, _)| *from == char).map_or(char, |(_, to)| *to);
    text.chars().map(other).collect()
}

const REGISTER: [(&str, &str); 16] = [
    ("vos", "tú"),
    ("querés", "quieres"),
    ("tenés", "tienes"),
    ("podés", "puedes"),
    ("sabés", "sabes"),
    ("sos", "eres"),
    ("decime", "dime"),
    ("ayudame", "ayúdame"),
    ("mirá", "mira"),
    ("acá", "aquí"),
    ("allá", "allí"),
    ("im", "i am"),
    ("i'm", "i am"),
    ("don't", "do not"),
    ("can't", "cannot"),
    ("mom", "mum"),
];

const GENDER: [(&str, &str); 14] = [
    ("cansado", "cansada"),
    ("muerto", "muerta"),
    ("solo", "sola"),
    ("decidido", "decidida"),
    ("vivo", "viva"),
    ("listo", "lista"),
    ("harto", "harta"),
    ("roto", "rota"),
    ("perdido", "perdida"),
    ("amigo", "amiga"),
    ("hermano", "hermana"),
    ("hijo", "hija"),
    ("solos", "solas"),
    ("boyfriend", "girlfriend"),
];

fn reworded(text: &str, pairs: &[(&str, &str)]) -> String {
    let other = |word: &str| {
        let bare = word.trim_matches(|char: char| !char.is_alphanumeric());
        let found = pairs.iter().find_map(|(a, b)| match bare {
            _ if bare == *a => Some(*b),
            _ if bare == *b => Some(*a),
            _ => None,
        });
        found.map_or_else(|| word.to_owned(), |found| word.replacen(bare, found, 1))
    };
    text.split(' ').map(other).collect::<Vec<_>>().join(" ")
}

/// One typo in a word of five letters or more, chosen by the text itself.
fn typo(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let long = |word: &&str| word.chars().count() >= 5 && word.chars().all(char::is_alphabetic);
    let candidates: Vec<usize> = words.iter().enumerate().filter(|(_, word)| long(word)).map(|(at, _)| at).collect();
    let seed = text.bytes().fold(7_usize, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let chosen = *candidates.get(seed.checked_rem(candidates.len())?)?;
    let mut chars: Vec<char> = words.get(chosen)?.chars().collect();
    let at = 1 + (seed / 7) % (chars.len() - 2);
    match seed % 3 {
        0 => chars.swap(at, at + 1),
        1 => chars.insert(at, *chars.get(at)?),
        _ => drop(chars.remove(at)),
    }
    let misspelt: String = chars.into_iter().collect();
    let word = |(at, word): (usize, &&str)| if at == chosen { misspelt.clone() } else { (*word).to_owned() };
    Some(words.iter().enumerate().map(word).collect::<Vec<_>>().join(" "))
}
