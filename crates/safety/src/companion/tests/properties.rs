//! Properties of any conversation.

use proptest::prelude::*;

use super::*;

fn levels() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::None), Just(Level::Concern), Just(Level::High), Just(Level::Imminent)]
}

/// Messages that people send, and anything else.
fn messages() -> impl Strategy<Value = String> {
    let known = vec![
        "",
        "sí",
        "no",
        "no sé",
        "hola",
        "chau",
        "gracias",
        "estoy triste",
        "me quiero matar",
        "my mom hates me",
        "dale",
        "basta",
        "no quiero hablar de eso",
        "mi hermana",
        "nadie",
        "llamé",
        "ataque de pánico",
        "¿sos una persona?",
        "what should i do?",
        "plan de seguridad",
        "5",
        "no puedo pagar",
        "me tomé todas las pastillas",
        "usted",
        "eres",
        "solo quiero desahogarme",
        "tengo ansiedad por el examen de mi hijo y la deuda",
    ];
    prop_oneof![4 => prop::sample::select(known).prop_map(str::to_owned), 1 => ".{0,60}", 1 => "\\PC{0,400}"]
}

#[derive(Debug, Clone)]
struct Step {
    text: String,
    level: Level,
    now: Level,
    kinds: Vec<usize>,
    other: bool,
    /// A model's answer stands in place of the companion's.
    model: bool,
}

fn steps() -> impl Strategy<Value = Step> {
    let kinds = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0..Kind::ALL.len(), 1..3)];
    let risk = prop_oneof![3 => Just((Level::None, Level::None)), 2 => (levels(), levels())];
    (messages(), risk, kinds, prop::bool::weighted(0.1), prop::bool::weighted(0.1))
        .prop_map(|(text, (level, now), kinds, other, model)| Step { text, level, now, kinds, other, model })
}

fn talks() -> impl Strategy<Value = (Conversation, Vec<Step>)> {
    let start =
        (any::<bool>(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(|(spanish, seed, minor, known)| {
            let language = if spanish { Language::Spanish } else { Language::English };
            Conversation { seed, minor, emergency: known.then_some("112"), ..Conversation::new(language) }
        });
    (start, prop::collection::vec(steps(), 1..30))
}

fn check(reply: &Reply, conversation: &Conversation) {
    let text = &reply.text;
    let length = text.chars().count();
    assert!(0 < length && length <= MAX_REPLY_CHARS, "{length} characters: {text}");
    assert!(!text.chars().any(char::is_control), "more than one line: {text}");
    assert!(text.matches('?').count() <= 1, "two questions: {text}");
    assert!(!text.contains(['{', '}', '|']), "an open slot: {text}");
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    assert!(digits.is_empty() || conversation.emergency == Some(digits.as_str()), "a number of its own: {text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replies_are_short_single_and_unrepeated((mut conversation, steps) in talks()) {
        for step in steps {
            conversation.level = step.level.max(step.now);
            conversation.now = step.now;
            conversation.kinds = step.kinds.iter().filter_map(|kind| Kind::ALL.get(*kind)).copied().collect();
            conversation.subject = if step.other { Subject::Other } else { Subject::Own };
            let mut again = conversation.clone();
            let reply = conversation.say(&step.text);
            prop_assert_eq!(&reply, &again.say(&step.text), "not deterministic");
            check(&reply, &conversation);
            let mut before = conversation.said.iter().rev().filter(|(by_person, _)| !by_person).skip(1).take(10);
            prop_assert!(before.all(|(_, text)| *text != reply.text), "repeated: {}", reply.text);
            if step.model {
                conversation.said.pop();
                conversation.said.push((false, "Entiendo. ¿Querés contarme más?".to_owned()));
            }
        }
    }

    #[test]
    fn any_history_gets_a_reply(entries in prop::collection::vec((any::<bool>(), messages()), 0..60), level in levels()) {
        let conversation = Conversation { said: entries, ..Conversation::new(Language::Spanish) };
        let reply = Conversation { level, ..conversation.clone() }.with_turn(reply);
        check(&reply, &conversation);
    }

    #[test]
    fn offers_follow_two_turns_and_are_four_apart(seed in any::<u64>(), texts in prop::collection::vec(messages(), 1..30)) {
        let mut conversation = Conversation { seed, ..Conversation::new(Language::English) };
        let mut last: Option<usize> = None;
        for (number, text) in texts.iter().enumerate() {
            let act = conversation.act(text);
            if matches!(act, Act::OfferBreath | Act::OfferGrounding | Act::OfferSmallStep | Act::OfferReachOut) {
                prop_assert!(2 <= number, "an offer in turn {}", number + 1);
                prop_assert!(last.is_none_or(|last| 4 < number - last), "offers in turns {:?} and {}", last, number);
                last = Some(number);
            }
        }
    }
}
