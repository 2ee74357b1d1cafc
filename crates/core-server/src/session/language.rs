//! Detects the language of a message, as far as a choice between Spanish and English needs it.
//!
//! Counts function words and the most common words of these conversations. A statistical model would be larger
//! than the rest of the program, and no better at three words.

use cluster::SessionEvent;
use protocol::{Language, UserText};
use store::StoreError;

use super::Session;

/// Messages of fewer words say nothing about a language: "ok", "hi there".
const MIN_WORDS: usize = 3;
/// Fewest English words of an English message.
const MIN_ENGLISH: usize = 2;
/// At least this many English words per word of another language, and at least one English word in this many words.
const SHARE: usize = 3;

/// English words that are none in Spanish or Portuguese; apostrophes left out.
const ENGLISH: &str = " about after again alone always am and angry anxious anymore anyone anything are arent at away \
    bad because been being boyfriend brother but by can cannot cant could cry crying day days dead depressed die didnt \
    doesnt doing dont down even every everyone everything exhausted family father feel feeling feels felt fine for from \
    girlfriend give going gonna good got had happy hard has hate have havent hello help her here hes hi him his home hopeless \
    how hurt hurts husband i id if ill im isnt it its ive turn just keep kill know lifecycle like live lonely long lost lot love \
    make maybe mom mother much must my myself need never night nobody nothing now of off okay one our out over pain panic \
    people please really right sad say scared school see she should shes sister sleep sleeping some someone something \
    sometimes still stop stressed stuck talk tell than thank thanks that thats the their them then there theres they \
    theyre thing things think this thought tired to today together tomorrow tonight too up us very wake want wanna \
    was wasnt way we week well went were what whats when where which who why wife will with without wont work world worried \
    would wouldnt wrong yesterday you your youre ";

/// Words of Spanish, Portuguese and other neighbours that English text has hardly ever.
const OTHER: &str = " ahora al algo alguien als aber amigo antes ao apenas aqui asi aux avec ayer bem bien bin bueno cada casa \
    che com como con contigo cosa cosas cuando dans dass das de del dem den der des desde dia die dias donde dos du e ein eine el ella \
    ella elle en entonces era eres es esa ese eso esta estaba estamos estar este esto estou estoy est et eu eux fue gracias gente ha \
    hace hacer han hasta hay heute hijo hoje hola hoy ich io ja je la las le les lo los lui ma mais mal mas mehr mejor mes mi mia mich \
    mim minha mio mir mis mit momento muito mucha mucho muy nada nadie nao nem ni nicht non nos nous nunca o os ou oui para parece pas pero pode \
    por porque pour pra puedo pues qual qualcuno quando que quem qui quiero quien quero re sein sento ser sei si siempre siento \
    sinto sobre solo sono sou soy su suis sur tambien tan te tem tener tengo tenho ter tiene todo todos tu tudo tuve um uma un una \
    und une uno va vez vida voce voy vos wenn y ya yo zu ";

impl Session {
    /// Adopts the language of the first message that is long enough, unless one was chosen before. Called before
    /// admission, so that an error about that message is in its language; [`Session::submit`] stores it.
    pub fn detect_language(&self, text: &UserText) {
        let mut state = self.state();
        if !state.is_language_open {
            return;
        }
        let Some(is_english) = is_english(text) else { return };
        state.is_language_open = false;
        if is_english && state.locale.language() != Language::English {
            state.locale = Language::English.into();
            state.is_locale_unsaved = true;
        }
    }

    /// Stores the language that was detected, and publishes it to the other cores. Call it under the commit lock, so
    /// that a later choice by the person is stored later.
    pub(super) async fn save_language(&self) {
        let locale = {
            let mut state = self.state();
            if !std::mem::take(&mut state.is_locale_unsaved) {
                return;
            }
            state.locale
        };
        match self.end_if_missing(self.sessions.turns().store.set_locale(self.user, locale).await) {
            Ok(()) => self.publish_to_cores(SessionEvent::Locale { locale }),
            Err(StoreError::NoSession { .. }) => {}
            Err(error) => {
                // The message is rejected for the same reason. The next one retries.
                tracing::warn!(user = %self.user, %error, "the language of the session is not stored yet");
                self.state().is_locale_unsaved = true;
            }
        }
    }
}

/// Returns true if `text` is clearly English; `None` if it is too short.
pub(super) fn is_english(text: &UserText) -> Option<bool> {
    let (mut words, mut english, mut other) = (0, 0, 0);
    let letters_only =
        |word: &str| word.chars().filter(|letter| letter.is_alphabetic()).collect::<String>().to_lowercase();
    let is_gap = |letter: char| !letter.is_alphabetic() && !matches!(letter, '\'' | '’');
    for word in text.expose().split(is_gap).map(letters_only).filter(|word| !word.is_empty()) {
        words += 1;
        english += usize::from(lists(ENGLISH, &word));
        other += usize::from(lists(OTHER, &word) || !word.is_ascii());
    }
    let is_clear = MIN_ENGLISH <= english && SHARE * other <= english && words <= SHARE * english;
    (MIN_WORDS <= words).then_some(is_clear)
}

/// Returns true if `word` is in a list separated by spaces.
fn lists(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_english() {
        for (text, want) in [
            ("I feel lonely today", Some(true)),
            ("i want to die", Some(true)),
            ("I don't know what to do anymore", Some(true)),
            ("I don’t know… it’s just too much", Some(true)),
            ("cant sleep again", Some(true)),
            ("need help now", Some(true)),
            ("please help me", Some(true)),
            ("My mother and I live in La Plata, and we fight every day", Some(true)),
            ("My friend José died yesterday and nobody told me", Some(true)),
            ("HELLO, HOW ARE YOU?", Some(true)),
            ("Everything hurts, nothing helps", Some(true)),
            ("work is killing me and my boss doesn't care", Some(true)),
            ("hola", None),
            ("hi there", None),
            ("ok", None),
            ("", None),
            ("123 456 789 !!", None),
            ("me siento solo", Some(false)),
            ("Hoy estoy triste", Some(false)),
            ("no sé qué hacer", Some(false)),
            ("no puedo mas con todo esto", Some(false)),
            ("Ayer vi The Last of Us con mi novia y lloré", Some(false)),
            ("mi jefe me dijo you are fired y me fui", Some(false)),
            ("estoy re down con el home office", Some(false)),
            ("tengo un burnout total", Some(false)),
            ("fui al shopping sola", Some(false)),
            ("sali a hacer running", Some(false)),
            ("he come sin ganas", Some(false)),
            ("Eu me sinto muito sozinho hoje", Some(false)),
            ("não sei o que fazer", Some(false)),
            ("estou triste e com medo", Some(false)),
            ("je me sens seul ce soir", Some(false)),
            ("mi sento molto solo oggi", Some(false)),
            ("ich fühle mich so allein", Some(false)),
            ("ich will nicht mehr", Some(false)),
            ("qwerty asdf zxcv", Some(false)),
            ("ok ok ok", Some(false)),
            ("да я не знаю", Some(false)),
        ] {
            assert_eq!(is_english(&UserText::new(text)), want, "{text:?}");
        }
    }

    #[test]
    fn word_lists_share_only_known_words() {
        // Words of both languages: alone they decide nothing, because both counts grow.
        let both: Vec<_> = ENGLISH.split_ascii_whitespace().filter(|word| lists(OTHER, word)).collect();
        assert_eq!(both, ["die"]);
    }
}
