//! Levels remembered, and their end.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_790_000_000_000 + seconds * 1_000)
}

/// Returns the level remembered after `texts`, ten seconds apart.
fn after(texts: &[&str]) -> Level {
    let mut episode = Episode::default();
    let mut now = at(0);
    for (second, text) in (0..).zip(texts) {
        now = at(second * 10);
        episode.observe(now, text);
    }
    episode.level(now)
}

const ORDINARY: [&str; 22] = [
    "hola",
    "jaja",
    "lol",
    "ok",
    ",",
    "gracias",
    "de verdad",
    "no sé",
    "es por el examen de mañana",
    "de todo",
    "la tarea de matemáticas",
    "por mi perro",
    "estás ahí?",
    "because of school",
    "idk",
    "a veces",
    "haha",
    "mi mamá no entiende",
    "de mi casa no salgo",
    "from work",
    "of course",
    "cuando pienso en ella",
];

#[test]
fn ordinary_messages_keep_the_level() {
    let sets = concat!(env!("CARGO_MANIFEST_DIR"), "/sets/dev/");
    for name in ["es_high.txt", "en_high.txt", "es_imminent.txt", "en_imminent.txt"] {
        let sentences = std::fs::read_to_string(format!("{sets}{name}")).unwrap();
        let sentences = sentences.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '@']));
        for (sentence, number) in sentences.zip(0_usize..) {
            let before = after(&[sentence]);
            // Each sentence with some of the messages, every message with many sentences.
            for ordinary in ORDINARY.iter().skip(number % 7).step_by(7) {
                assert!(after(&[sentence, ordinary]) >= before, "{sentence} / {ordinary}");
            }
        }
    }
}

#[test]
fn only_a_completed_idiom_clears_the_level() {
    for (texts, want) in [
        (&["me quiero", "matar", "hola"][..], Level::High),
        (&["i want to", "die", "and nobody cares"], Level::High),
        (&["me quiero matar", "es por el examen de mañana"], Level::High),
        (&["quiero morirme", "lol"], Level::High),
        (&["i want to die", "lol"], Level::High),
        (&["me muero", "de risa"], Level::None),
        (&["me quiero matar", "de la vergüenza que pasé"], Level::None),
    ] {
        assert_eq!(after(texts), want, "{texts:?}");
    }
    assert!(after(&["no quiero despertar", "gracias"]) > Level::None);
}

#[test]
fn reads_answers_to_safety_questions() {
    const TODAY: &str = "Lamento que duela tanto como para querer morir. ¿Estás pensando en hacerlo hoy?";
    const MEANS: &str = "Entiendo. ¿Tenés a mano aquello con lo que lo harías?";
    const PLAN: &str = "Thank you for not dodging it. I don't need details: have you thought of a way of doing it?";
    const TIME: &str = "Gracias por decírmelo. ¿Pensaste en cuándo?";
    for (question, answer, want) in [
        (TODAY, "sí", Level::Imminent),
        (TODAY, "esta noche", Level::Imminent),
        (TODAY, "no", Level::High),
        (TODAY, "sí, pero no hoy", Level::High),
        (TODAY, "hola", Level::High),
        (TODAY, "no sé", Level::High),
        (MEANS, "sí, las tengo acá", Level::Imminent),
        (MEANS, "acá al lado", Level::Imminent),
        (MEANS, "no, no tengo nada", Level::High),
        (PLAN, "yes", Level::Imminent),
        (PLAN, "pills", Level::Imminent),
        (TIME, "mañana", Level::Imminent),
        ("¿Qué te gusta comer?", "sí", Level::High),
    ] {
        let mut episode = Episode::default();
        episode.observe(at(0), "quiero matarme");
        episode.asked(question);
        let assessment = episode.observe(at(20), answer);
        assert_eq!(episode.level(at(20)), want, "{question} {answer}");
        if want == Level::Imminent {
            assert!(assessment.kinds.contains(Kind::Suicide), "{question} {answer}");
            assert_eq!(assessment.subject, Subject::Own);
        }
    }
}

#[test]
fn denied_intent_answers_any_question() {
    const PLAN: &str = "Thank you for not dodging it. I don't need details: have you thought of a way of doing it?";
    for (answer, denied) in [
        ("no im not going to do it", true),
        ("no, I'm not going to do it, promise", true),
        ("no, no lo voy a hacer", true),
        ("no, I want to die", false),
        ("pills", false),
    ] {
        let mut episode = Episode::default();
        episode.observe(at(0), "quiero matarme");
        episode.asked(PLAN);
        assert_eq!(episode.observe(at(300), answer).denied, denied, "{answer}");
        assert!(episode.level(at(300)) >= Level::High, "{answer}");
    }
}

#[test]
fn act_after_despair_is_imminent() {
    for (texts, want) in [
        (&["no puedo más", "lo voy a hacer hoy"][..], Level::Imminent),
        (&["ya no aguanto más", "nadie me entiende", "lo hago esta noche"], Level::Imminent),
        (&["tengo que entregar la tesis", "lo voy a hacer hoy"], Level::None),
    ] {
        let mut episode = Episode::default();
        for (second, text) in (0..).step_by(400).zip(texts) {
            episode.observe(at(second), text);
        }
        assert_eq!(episode.level(at(1_200)), want, "{texts:?}");
    }
}

#[test]
fn abuse_is_no_topic_of_suicide() {
    for texts in [
        &["mi marido me pega", "tengo miedo que me mate", "lo voy a hacer hoy, lo denuncio"][..],
        &["my husband hits me", "I'm scared he'll kill me", "I'm going to do it today, I'm calling the police"],
        &["mi papá me viola", "tengo 13 años", "me dijo que si cuento algo me mata"],
    ] {
        let mut episode = Episode::default();
        for (second, text) in (0..).step_by(400).zip(texts) {
            let assessment = episode.observe(at(second), text);
            assert!(!assessment.kinds.contains(Kind::Suicide) && !assessment.on_topic, "{text}");
        }
        assert!(episode.level(at(1_200)) <= Level::Concern, "{texts:?}");
    }
}

#[test]
fn detects_risk_of_others_beside_own_risk() {
    let mut episode = Episode::default();
    episode.observe(at(0), "me voy a matar esta noche, tengo las pastillas");
    let assessment = episode.observe(at(20), "mi hermana también se quiere matar");
    assert_eq!((assessment.subject, assessment.level > Level::None), (Subject::Other, true));
    assert_eq!(episode.level(at(20)), Level::Imminent);
}

#[test]
fn reads_yes_to_a_models_question_from_stored_conversation() {
    for (asked, answer, want) in [
        ("Lamento que estés así. ¿Estás pensando en matarte?", "sí", Level::High),
        ("¿Querés que lo pensemos juntos?", "sí", Level::None),
        ("¿Tenés pastillas cerca?", "sí", Level::Imminent),
        ("Are you thinking about ending your life?", "yes", Level::High),
        ("Would you like to talk about it?", "yes", Level::None),
        // Without a word of suicide before, the danger may come from others.
        ("Are you safe right now?", "no", Level::Concern),
    ] {
        let mut episode = Episode::default();
        episode.observe(Timestamp::from_unix_ms(0), "estoy mal / i feel bad");
        episode.asked(asked);
        let assessment = episode.observe(Timestamp::from_unix_ms(60_000), answer);
        assert_eq!(assessment.level, want, "{asked} {answer}");
    }
}

#[test]
fn denial_and_two_calm_turns_end_imminent_risk() {
    let mut episode = Episode::default();
    let mut at = 0;
    let mut say = |episode: &mut Episode, text: &str| {
        at += 60_000;
        episode.observe(Timestamp::from_unix_ms(at), text);
        episode.level(Timestamp::from_unix_ms(at))
    };
    assert_eq!(say(&mut episode, "me voy a matar esta noche, tengo todo listo"), Level::Imminent);
    episode.asked("¿Seguís pensando en matarte?");
    assert_eq!(say(&mut episode, "no"), Level::Imminent);
    episode.asked("Me alegra que estés acá.");
    assert_eq!(say(&mut episode, "me hice un té"), Level::Imminent);
    assert_eq!(say(&mut episode, "vino mi hermana"), Level::High);
}

#[test]
fn denied_intent_is_no_emergency() {
    for (texts, want) in [
        (["no quiero seguir viviendo", "está bien, no, no lo voy a hacer"], Level::High),
        (["no quiero seguir viviendo", "no lo voy a hacer hoy"], Level::High),
        (["no quiero seguir viviendo", "tranquila, no voy a hacerlo"], Level::High),
        (["no quiero seguir viviendo", "lo voy a hacer hoy"], Level::Imminent),
        (["no quiero seguir viviendo", "no, lo voy a hacer hoy"], Level::Imminent),
    ] {
        assert_eq!(after(&texts), want, "{texts:?}");
    }
}
