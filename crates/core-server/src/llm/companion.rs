//! The built-in companion: answers by word groups when there is no model.
//!
//! It follows what is asked of every answer: short, warm, without judgement, one piece of
//! advice at a time, one open question at the end. It is rules, not a model, and the
//! client is told so (`source: "companion"`).

mod groups;

use protocol::{Language, UserText};

use groups::{GROUPS, Group, OTHER};

/// An answer to `text`, in `language`. `turn` counts the person's messages: the same words
/// get another answer the next time.
pub fn reply(text: &UserText, language: Language, turn: u64) -> UserText {
    let words = normalize(text.expose());
    let group = GROUPS.iter().find(|group| group.is_in(&words)).unwrap_or(&OTHER);
    let replies = match language {
        Language::Spanish => group.spanish,
        Language::English => group.english,
    };
    let count = u64::try_from(replies.len()).unwrap_or(1).max(1);
    let at = usize::try_from(turn % count).unwrap_or_default();
    UserText::new(*replies.get(at).unwrap_or(&""))
}

impl Group {
    /// Whether one of its words or phrases stands in `words` (normalized, spaces around).
    fn is_in(&self, words: &str) -> bool {
        self.words.iter().any(|word| {
            // A trailing `*` stands for any ending: tristeza, triste, tristes.
            match word.strip_suffix('*') {
                Some(stem) => words.contains(&format!(" {stem}")),
                None => words.contains(&format!(" {word} ")),
            }
        })
    }
}

/// Lower case, accents removed, everything but letters and digits turned into one space.
fn normalize(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 2);
    words.push(' ');
    for letter in text.chars().flat_map(char::to_lowercase) {
        let plain = match letter {
            // Accents that stand apart, as texts from some systems have them: ñ is a letter of its own.
            '\u{303}' if words.ends_with('n') => {
                words.pop();
                'ñ'
            }
            '\u{300}'..='\u{36f}' => continue,
            'á' | 'à' => 'a',
            'é' | 'è' => 'e',
            'í' | 'ì' => 'i',
            'ó' | 'ò' => 'o',
            'ú' | 'ù' | 'ü' => 'u',
            '’' => '\'',
            letter if letter.is_alphanumeric() || letter == '\'' => letter,
            _ => ' ',
        };
        if plain != ' ' || !words.ends_with(' ') {
            words.push(plain);
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of [`GROUPS`] in their order, then of [`OTHER`].
    const NAMES: [&str; 8] = ["alarm", "anxiety", "sadness", "motivation", "support", "hope", "greeting", "other"];

    fn group_of(text: &str) -> &'static str {
        let words = normalize(text);
        NAMES[GROUPS.iter().position(|group| group.is_in(&words)).unwrap_or(GROUPS.len())]
    }

    #[test]
    fn word_groups() {
        for (text, want) in [
            ("No aguanto más", "alarm"),
            ("No aguanto ma\u{301}s", "alarm"),
            ("ESTOY SIN\u{301} GANAS", "sadness"),
            ("a veces pienso en el SUICIDIO", "alarm"),
            ("I want to end it all", "alarm"),
            ("tengo ansiedad y no puedo respirar", "anxiety"),
            ("Estoy re nerviosa por el examen", "anxiety"),
            ("so stressed at work", "anxiety"),
            ("me siento vacío", "sadness"),
            ("estoy sin ganas de nada", "sadness"),
            ("I feel lonely and can't stop crying", "sadness"),
            ("no tengo motivación", "motivation"),
            ("quiero hablar con mi familia", "support"),
            ("hoy estoy mejor, con más calma", "hope"),
            ("hola!", "greeting"),
            ("¿qué hora es?", "other"),
            ("", "other"),
            ("solamente una pregunta", "other"),
        ] {
            assert_eq!(group_of(text), want, "{text}");
        }
    }

    #[test]
    fn accents_that_stand_apart_are_read_as_one_letter() {
        for (apart, whole) in [("sen\u{303}or", "señor"), ("vaci\u{301}o", "vacío"), ("pingu\u{308}ino", "pingüino")]
        {
            assert_eq!(normalize(apart), normalize(whole));
        }
    }

    #[test]
    fn answers_vary_and_keep_to_one_short_line() {
        for (group, name) in GROUPS.iter().chain([&OTHER]).zip(NAMES) {
            for replies in [group.spanish, group.english] {
                assert!(3 <= replies.len(), "{name}");
                for reply in replies {
                    assert!(reply.chars().count() <= 320 && !reply.contains('\n'), "{reply}");
                    assert_eq!(reply.matches('?').count(), 1, "one open question: {reply}");
                    assert!(reply.ends_with('?'), "{reply}");
                }
            }
        }
        let text = UserText::new("estoy triste");
        let (one, two) = (reply(&text, Language::Spanish, 1), reply(&text, Language::Spanish, 2));
        assert_ne!(one, two);
    }
}
