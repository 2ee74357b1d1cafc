use std::path::Path;

use toml::Value;

use super::Question::{Done, Means, Past, Plan, Safe, StaySafe, Thoughts, Time, Today, Wish};
use super::*;

/// A rule of `data/questions`.
struct Rule {
    atom: String,
    examples: Vec<String>,
    counter: Vec<String>,
}

fn rules() -> Vec<Rule> {
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        let texts = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rules = Vec::new();
    for language in ["es", "en"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/questions/rules.{language}.toml"));
        let file: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        rules.extend(file["rule"].as_array().unwrap().iter().map(|rule| Rule {
            atom: rule["atom"].as_str().unwrap().to_owned(),
            examples: texts(rule, "examples"),
            counter: texts(rule, "counter"),
        }));
    }
    rules
}

#[test]
fn rules_match_examples_and_not_counter_examples() {
    let mut wrong = Vec::new();
    for Rule { atom, examples, counter } in rules() {
        let finds = |text: &str| questions::atoms(text).contains(&atom.as_str());
        wrong.extend(examples.iter().filter(|text| !finds(text)).map(|text| format!("{atom} does not find: {text}")));
        wrong.extend(counter.iter().filter(|text| finds(text)).map(|text| format!("{atom} finds: {text}")));
        // A counter-example of one atom is none of another's examples, except for questions about somebody else.
        let plain = counter.iter().filter(|_| !matches!(atom.as_str(), "other" | "asks"));
        let found = plain.filter_map(|text| in_own_words(text, false).map(|asked| (text, asked.question)));
        wrong.extend(found.map(|(text, question)| format!("{question:?}: {text}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_atom_has_a_question() {
    let known = |atom: &str| RULES.iter().any(|(name, ..)| *name == atom) || matches!(atom, "other" | "asks");
    let unknown: Vec<_> = rules().into_iter().map(|rule| rule.atom).filter(|atom| !known(atom)).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

/// Answers of models, with the question about safety that they ask while a level is remembered.
const OF_MODELS: &[(&str, Question)] = &[
    ("Siento mucho que estés pasando por esto. ¿Estás pensando en matarte?", Thoughts),
    ("Gracias por confiar en mí. ¿Has tenido ideas de quitarte la vida últimamente?", Thoughts),
    ("Quiero entenderte bien: cuando decís que no podés más, ¿pensás en morir?", Thoughts),
    ("Te lo pregunto con cuidado: ¿estás teniendo pensamientos de suicidio?", Thoughts),
    ("¿Te referís a que querés terminar con tu vida?", Thoughts),
    ("Suena durísimo. ¿Se te ha pasado por la cabeza hacerte daño?", Thoughts),
    ("¿Sentís ganas de lastimarte?", Thoughts),
    ("Necesito preguntarte directamente si estás pensando en suicidarte.", Thoughts),
    ("Decime, ¿pensaste en el suicidio? Estoy acá para escucharte.", Thoughts),
    ("¿Está usted pensando en hacerse daño?", Thoughts),
    ("¿Tienes pensamientos de hacerte daño o de no querer seguir viviendo?", Thoughts),
    ("¿Has considerado el suicidio?", Thoughts),
    ("I'm really sorry you feel this way. Are you thinking about ending your life?", Thoughts),
    ("Thank you for telling me. Are you having any thoughts of harming yourself?", Thoughts),
    ("I want to make sure I understand. Are you considering suicide?", Thoughts),
    ("Do you feel like you might hurt yourself?", Thoughts),
    ("Can I ask: are you having suicidal thoughts?", Thoughts),
    ("Have you been having thoughts about taking your own life?", Thoughts),
    ("I need to ask you directly if you are thinking of killing yourself.", Thoughts),
    ("Are you thinking of suicide? I'm here with you.", Thoughts),
    ("¿A veces pensás que preferirías no despertar?", Wish),
    ("¿Te gustaría dejar de existir?", Wish),
    ("Do you sometimes wish you could just not exist?", Wish),
    ("Do you wish you wouldn't wake up in the morning?", Wish),
    ("¿Estás pensando en hacerlo esta noche?", Today),
    ("¿Sentís que podrías matarte hoy?", Today),
    ("¿Estás en riesgo de hacerte daño en este momento?", Today),
    ("Are you planning to kill yourself tonight?", Today),
    ("Do you think you will act on these thoughts today?", Today),
    ("Are you in immediate danger right now?", Today),
    ("¿Has pensado en cómo lo harías?", Plan),
    ("¿Tenés un plan concreto para suicidarte?", Plan),
    ("¿Tienes algún plan?", Plan),
    ("Do you have a plan for how you would end your life?", Plan),
    ("Have you thought about how you might do it?", Plan),
    ("Do you have a specific plan?", Plan),
    ("¿Tenés pastillas cerca?", Means),
    ("¿Hay en tu casa pastillas, un arma o algo con lo que puedas hacerte daño?", Means),
    ("¿Tienes acceso a algo con lo que podrías lastimarte?", Means),
    ("¿Tenés a mano esas pastillas ahora?", Means),
    ("Do you have access to any weapons or pills right now?", Means),
    ("Is there anything nearby that you could use to hurt yourself?", Means),
    ("Are there pills or a gun near you?", Means),
    ("¿Pensaste en cuándo?", Time),
    ("¿Estás a salvo ahora mismo?", Safe),
    ("¿Te encontrás en un lugar seguro en este momento?", Safe),
    ("Are you safe right now?", Safe),
    ("First of all, are you somewhere safe at the moment?", Safe),
    ("¿Creés que podés mantenerte a salvo hasta mañana?", StaySafe),
    ("Do you feel able to keep yourself safe tonight?", StaySafe),
    ("¿Ya tomaste las pastillas?", Done),
    ("¿Te hiciste daño?", Done),
    ("Have you already taken something?", Done),
    ("Have you hurt yourself today?", Done),
    ("¿Intentaste suicidarte alguna vez?", Past),
    ("Have you ever attempted suicide?", Past),
];

#[test]
fn reads_questions_of_models() {
    let mut wrong = Vec::new();
    for (text, want) in OF_MODELS {
        let found = question(text, true).map(|asked| asked.question);
        if found != Some(*want) {
            wrong.push(format!("{found:?} in place of {want:?}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ignores_other_questions() {
    let mut wrong = Vec::new();
    for text in [
        "¿Querés que lo pensemos juntos?",
        "¿Querés contarme qué pasó hoy?",
        "¿Qué es lo que más te pesa?",
        "¿Hay alguien con vos ahora?",
        "¿Querés que armemos un plan para la semana?",
        "¿Tenés a alguien cerca con quien hablar?",
        "¿Qué te ayudaría esta noche?",
        "¿Probamos respirar juntos un minuto?",
        "¿Estás segura de que fue por eso?",
        "¿Estás bien?",
        "¿Te gustaría llamar a alguien de confianza?",
        "¿Cómo te hace sentir eso?",
        "¿Querés morirte de risa con una historia?",
        "¿Pensás que tu mamá te entendería?",
        "¿Tu amigo está pensando en matarse?",
        "¿Ella te dijo que quería suicidarse?",
        "¿Desde cuándo te sentís así?",
        "¿Podés darte un rato para descansar?",
        "Entiendo que pienses en matarte. ¿Qué pasó hoy?",
        "No estás pensando en matarte, entiendo.",
        "¿Tomaste agua?",
        "¿Qué cosas te dan ganas de seguir?",
        "¿Querés terminar la conversación acá?",
        "Do you want to talk about it?",
        "What happened today?",
        "Is someone with you right now?",
        "Would you like to try a breathing exercise?",
        "Do you want us to think about it together?",
        "What would make tonight a little easier?",
        "Is there someone you could call?",
        "Are you okay?",
        "Are you sure about that?",
        "Do you have plans for the weekend?",
        "Did the meeting kill your mood?",
        "Is your brother thinking about suicide?",
        "Does she have pills at home?",
        "How long have you felt this way?",
        "Have you taken a walk today?",
        "Do you want to end the day with something kind?",
        "It makes sense that you think about dying. What hurts the most?",
        "What are you thinking about?",
        "Could you take five minutes for yourself?",
        "Would it help to make a plan for tomorrow?",
    ] {
        if let Some(asked) = question(text, true).filter(|asked| asked.is_last) {
            wrong.push(format!("{:?}: {text}", asked.question));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn meaning_of_yes_and_no_depends_on_the_question() {
    use Level::{Concern, High, Imminent};
    use Meaning::{Denied, Risk};
    let mut wrong = Vec::new();
    for (asked, text, want) in [
        ("¿Estás pensando en matarte?", "sí", Some(Risk(High))),
        ("¿Estás pensando en matarte?", "si", Some(Risk(High))),
        ("¿Estás pensando en matarte?", "a veces", Some(Risk(High))),
        ("¿Estás pensando en matarte?", "todo el tiempo", Some(Risk(High))),
        ("¿Estás pensando en matarte?", "no", Some(Denied)),
        ("¿Estás pensando en matarte?", "no, para nada", Some(Denied)),
        ("¿Estás pensando en matarte?", "ok", None),
        ("¿Estás pensando en matarte?", "no quiero hablar de eso", None),
        ("¿Estás pensando en matarte?", "mi jefe me gritó", None),
        ("¿Estás pensando en matarte? ¿Querés hablar de eso?", "sí", Some(Risk(High))),
        ("¿Estás pensando en matarte? ¿Querés hablar de eso?", "no", None),
        ("¿Querés contarme? ¿Estás pensando en matarte?", "sí", Some(Risk(High))),
        ("Are you thinking about killing yourself?", "yes", Some(Risk(High))),
        ("Are you thinking about killing yourself?", "yeah", Some(Risk(High))),
        ("Are you thinking about killing yourself?", "sometimes", Some(Risk(High))),
        ("Are you thinking about killing yourself?", "no", Some(Denied)),
        ("Are you thinking about killing yourself?", "not really", Some(Denied)),
        ("Do you wish you were dead?", "yes", Some(Risk(Concern))),
        ("Are you planning to kill yourself tonight?", "yes", Some(Risk(Imminent))),
        ("¿Tenés pastillas cerca?", "sí", Some(Risk(Imminent))),
        ("¿Tenés pastillas cerca?", "no", None),
        ("¿Tenés pastillas cerca? ¿Hay alguien con vos?", "sí", Some(Risk(High))),
        ("¿Tenés un plan para matarte?", "si", Some(Risk(Imminent))),
        ("Are you safe right now?", "yes", Some(Denied)),
        ("Are you safe right now?", "no", Some(Risk(High))),
        ("Are you safe right now?", "no worries", None),
        ("Are you safe right now? What happened?", "no", None),
        ("¿Estás a salvo?", "no", Some(Risk(High))),
        ("¿Estás a salvo?", "sí", Some(Denied)),
        ("¿Estás a salvo?", "no pasa nada", None),
        ("¿Podés mantenerte a salvo esta noche?", "no sé", Some(Risk(High))),
        ("¿Me prometés que no te vas a lastimar?", "sí", Some(Denied)),
        ("¿Me prometés que no te vas a lastimar?", "no", Some(Risk(High))),
        ("Have you taken any pills?", "yes", Some(Risk(Imminent))),
        ("Have you ever tried to kill yourself?", "yes", Some(Risk(Concern))),
    ] {
        let found = question(asked, false).and_then(|asked| meaning(asked, text));
        if found != want {
            wrong.push(format!("{found:?} in place of {want:?}: {asked} {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn vague_words_ask_about_safety_only_in_risk() {
    for text in ["¿Tenés un plan?", "Do you have a plan?", "¿Tenés pastillas?", "¿Es para hoy?", "¿Tomaste algo?"]
    {
        assert!(question(text, true).is_some() && question(text, false).is_none(), "{text}");
    }
}
