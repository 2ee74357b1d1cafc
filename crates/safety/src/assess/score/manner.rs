//! Manner of a text: a person about themselves, or people in general as in proverbs, quotations and news.

use crate::assess::normalise::Reading;

/// Least words of a text about people in general: shorter messages often leave the first person out ("can't go on").
const MIN_WORDS: usize = 7;

/// Words of the first person, folded, sorted. Spanish verbs name the person by their form: those of most messages.
const FIRST_PERSON: [&str; 90] = [
    "acabo", "aguanto", "amo", "ando", "busco", "compre", "conmigo", "creo", "debo", "decidi", "deje", "deseo", "dije",
    "duermo", "escribi", "escribo", "espero", "estare", "estoy", "estuve", "extrano", "fui", "hago", "hare", "he",
    "hice", "i", "id", "idk", "ill", "im", "ima", "imma", "ire", "ive", "junte", "kiero", "lets", "llevo", "lloro",
    "me", "mi", "mia", "mias", "mine", "mio", "mios", "mis", "muero", "my", "myself", "necesito", "nos", "nosotras",
    "nosotros", "nuestra", "nuestro", "odio", "our", "pense", "perdi", "pido", "pienso", "prefiero", "puedo", "puse",
    "quede", "queria", "quiero", "quise", "quisiera", "salgo", "siento", "sigo", "sirvo", "soy", "sueno", "tengo",
    "tenia", "tome", "tomo", "toy", "tuve", "us", "valgo", "vengo", "veo", "vivo", "voy", "we",
];

/// Returns `true` if `text`, read as `reading`, is about people in general: without a first person, or signed by an
/// author. Proverbs and quotations speak of life and death in general.
pub(crate) fn is_general(text: &str, reading: &Reading) -> bool {
    if is_signed(text) {
        return true;
    }
    reading.tokens.len() >= MIN_WORDS
        && !reading.tokens.iter().any(|token| {
            str::from_utf8(reading.word(token)).is_ok_and(|word| FIRST_PERSON.binary_search(&word).is_ok())
        })
}

/// Returns `true` if the text ends with a dash and a name in capitals, as a quotation does.
fn is_signed(text: &str) -> bool {
    let Some((before, author)) = ["--", "—", "―"].iter().find_map(|dash| text.rsplit_once(dash)) else {
        return false;
    };
    let ends_sentence = before.trim_end().ends_with(['.', '!', '?', '"', '»', '”', '…', '\'', ')']);
    ends_sentence && author.trim_start().starts_with(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::{TABLES, normalise};

    #[test]
    fn first_person_words_are_sorted() {
        assert!(FIRST_PERSON.is_sorted());
    }

    #[test]
    fn recognises_proverbs_and_quotations() {
        let cases = [
            ("A quien madruga la muerte no lo encuentra dormido.", true),
            ("Quisiera morir sin haber sufrido. -- Un poeta.", true),
            ("Those who have a why to live for can bear almost any how", true),
            ("ya no quiero vivir, todo me da igual desde marzo", false),
            ("can't go on", false),
            ("I have nothing left to live for after all of this", false),
            ("ya no aguanto - estoy en el puente", false),
        ];
        for (text, general) in cases {
            assert_eq!(is_general(text, &normalise::reading(&TABLES.lexicon, text)), general, "{text}");
        }
    }
}
