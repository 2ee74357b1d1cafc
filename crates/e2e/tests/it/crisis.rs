//! Complete crisis dialogue: first sign, direct question, plan and means, emergency, safety plan and good-bye. In both
//! languages, with and without a model, in frames and in the plain face.

use protocol::Face;
use serde_json::{Value, json};
use testkit::llm::Answer;
use testkit::peer::Peer;

use crate::safety_plan::ANSWERS;
use crate::single_node::Plan;
use crate::test_client::TestClient;

/// Frames of one turn.
#[derive(Debug)]
struct Turn {
    /// Level of the help that preceded the answer.
    level: Option<String>,
    text: String,
    done: Value,
}

impl Turn {
    fn source(&self) -> &str {
        self.done["source"].as_str().unwrap()
    }

    /// Asserts one line with one question if `asks`, else none.
    fn is_well_formed(&self, asks: bool) {
        let questions = self.text.matches('?').count();
        assert_eq!(questions, usize::from(asks), "{}", self.text);
        assert!(!self.text.contains('\n') && self.text.chars().count() <= 240, "{}", self.text);
    }
}

async fn say<P: Peer>(person: &mut TestClient<P>, id: &str, text: &str) -> Turn {
    person.say(id, text).await;
    let (mut level, mut text) = (None, String::new());
    loop {
        let frame = person.frame().await;
        match frame["type"].as_str() {
            Some("support") if frame["id"] == id => {
                assert!(text.is_empty(), "help comes first: {frame}");
                assert!(!frame["resources"].as_array().unwrap().is_empty(), "{frame}");
                level = Some(frame["level"].as_str().unwrap().to_owned());
            }
            Some("delta") => {
                let offset = usize::try_from(frame["offset"].as_u64().unwrap()).unwrap();
                text = text.chars().take(offset).collect();
                text.push_str(frame["text"].as_str().unwrap());
            }
            Some("done") if frame["id"] == id => return Turn { level, text, done: frame },
            Some("error") => panic!("{frame}"),
            _ => {}
        }
    }
}

/// Dialogue with a model, in one language.
struct Way {
    locale: &'static str,
    /// No sign of risk.
    first: &'static str,
    /// The model's own question about safety, and a yes to it.
    asks: &'static str,
    yes: &'static str,
    /// The model's question about the means.
    asks_means: &'static str,
    wants_plan: &'static str,
    bye: &'static str,
    no_risk_bye: &'static str,
}

const WAYS: [Way; 2] = [
    Way {
        locale: "es-AR",
        first: "hoy fue un día horrible en el trabajo",
        asks: "Lamento que haya sido así. ¿Estás pensando en matarte?",
        yes: "sí",
        asks_means: "Gracias por decírmelo. ¿Tenés pastillas cerca?",
        wants_plan: "quiero hacer el plan de seguridad",
        bye: "chau, me voy a dormir",
        no_risk_bye: "buenas noches, me voy a dormir",
    },
    Way {
        locale: "en-US",
        first: "today was a horrible day at work",
        asks: "I'm sorry it was like that. Are you thinking about killing yourself?",
        yes: "yes",
        asks_means: "Thank you for telling me. Do you have pills nearby?",
        wants_plan: "I want to make a safety plan",
        bye: "good night, gotta go",
        no_risk_bye: "gotta go, bye",
    },
];

#[tokio::test]
async fn a_yes_to_a_models_question_leads_to_help_a_plan_and_lines_at_the_good_bye() {
    for way in WAYS {
        let mut node = Plan::with_gateway().core("RATE_MAX_MESSAGES", 1_000).core("LLM_SUMMARY", "off").start().await;
        let hello = json!({"type": "hello", "v": 1, "locale": way.locale});
        let mut person = node.at_gateway(Face::Frames).await;
        person.send(hello).await;
        let welcome = person.first_frame().await.unwrap();

        node.standin.push(Answer::text(way.asks));
        let turn = say(&mut person, "a", way.first).await;
        assert_eq!((turn.level.as_deref(), turn.text.as_str()), (None, way.asks));

        node.standin.push(Answer::text(way.asks_means));
        let turn = say(&mut person, "b", way.yes).await;
        assert_eq!((turn.level.as_deref(), turn.text.as_str()), (Some("high"), way.asks_means));

        // The question is read from the stored conversation too.
        node.core.kill().await;
        node.core.restart().await;
        let mut person = node.at_core().await;
        person.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"]})).await;
        assert_eq!(person.first_frame().await.unwrap()["resumed"], true);
        let calls = node.standin.total();
        let turn = say(&mut person, "c", way.yes).await;
        assert_eq!((turn.level.as_deref(), turn.source()), (Some("imminent"), "companion"), "{turn:?}");
        turn.is_well_formed(true);

        let turn = say(&mut person, "plan", way.wants_plan).await;
        assert_eq!(turn.done["exercise"], "safety_plan", "{turn:?}");
        for (number, answer) in ANSWERS.into_iter().enumerate() {
            let turn = say(&mut person, &format!("p{number}"), answer).await;
            assert_eq!((&turn.done["exercise"], turn.level), (&json!("safety_plan"), None), "{}", turn.text);
        }
        person.send(json!({"type": "request", "id": "x", "method": "safety_plan", "params": {}})).await;
        let plan = person.frame_of("response").await["result"]["plan"].take();
        let texts: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|step| step["text"].clone()).collect();
        assert_eq!(texts, ANSWERS.map(Value::from), "{plan}");

        let turn = say(&mut person, "bye", way.bye).await;
        assert_eq!((turn.level.is_some(), turn.source()), (true, "companion"), "{turn:?}");
        turn.is_well_formed(true);
        assert_eq!(node.standin.total(), calls, "at imminent risk the companion answers");
    }
}

#[tokio::test]
async fn without_a_level_the_model_answers_a_good_bye() {
    let node = Plan::default().start().await;
    for way in WAYS {
        let mut person = node.at_core().await;
        person.send(json!({"type": "hello", "v": 1, "locale": way.locale})).await;
        person.first_frame().await.unwrap();
        let turn = say(&mut person, "a", way.no_risk_bye).await;
        assert_eq!((turn.level.as_deref(), turn.source()), (None, "llm"), "{turn:?}");
    }
}

/// In a terminal, without a model.
struct Terminal {
    language: &'static str,
    help: &'static str,
    risk: &'static str,
    yes: &'static str,
    company: &'static str,
    wants_plan: &'static str,
    steps: [&'static str; 6],
    bye: &'static str,
    here: &'static str,
    leave: &'static str,
}

const TERMINALS: [Terminal; 2] = [
    Terminal {
        language: "es",
        help: "Ayuda: ",
        risk: "a veces pienso en matarme",
        yes: "sí",
        company: "mi hermana está en casa",
        wants_plan: "quiero hacer el plan de seguridad",
        steps: ANSWERS,
        bye: "me voy a dormir",
        here: "sí, estoy con mi hermana",
        leave: "salir",
    },
    Terminal {
        language: "en",
        help: "Help: ",
        risk: "I want to kill myself",
        yes: "yes",
        company: "my sister is at home",
        wants_plan: "I want to make a safety plan",
        steps: [
            "I stop sleeping and stay in bed",
            "music, taking a shower",
            "the park, my aunt's place",
            "my sister Ana",
            "Dr. Lee at the clinic",
            "Ana keeps the pills",
        ],
        bye: "gotta go, good night",
        here: "yes, with my sister",
        leave: "exit",
    },
];

async fn send_line<P: Peer>(person: &mut TestClient<P>, text: &str) -> String {
    person.write(text).await;
    person.line().await
}

#[tokio::test]
async fn in_a_terminal_the_companion_leads_from_the_first_word_to_the_plan_and_the_lines() {
    let node = Plan::default().core("LLM_URL", "").core("RATE_MAX_MESSAGES", 1_000).start().await;
    for Terminal { language, help, risk, yes, company, wants_plan, steps, bye, here, leave } in TERMINALS {
        let mut person = node.at_core().await;
        person.lines(3).await;
        send_line(&mut person, &format!("/idioma {language}")).await;

        // The direct question, and a yes to it: lines both times, before the answer.
        for says in [risk, yes] {
            let line = send_line(&mut person, says).await;
            assert!(line.starts_with(help), "{says}: {line}");
            let answer = person.line().await;
            assert_eq!(answer.matches('?').count(), 1, "{says}: {answer}");
        }
        // No lines again while they are in sight.
        let answer = send_line(&mut person, company).await;
        assert!(!answer.starts_with(help) && answer.contains('?'), "{answer}");

        let mut answers = vec![send_line(&mut person, wants_plan).await];
        for step in steps {
            answers.push(send_line(&mut person, step).await);
        }
        assert!(answers.iter().all(|answer| answer.matches('?').count() == 1), "{answers:#?}");
        person.write("/plan").await;
        let plan = person.lines(9).await;
        for (number, (line, step)) in (1..).zip(plan.iter().skip(1).zip(steps)) {
            assert!(line.starts_with(&format!("{number}. ")) && line.ends_with(step), "{plan:#?}");
        }

        let line = send_line(&mut person, bye).await;
        assert!(line.starts_with(help), "{line}");
        let answer = person.line().await;
        assert!(answer.contains('?'), "{answer}");
        // The reply to it must not hold the person back with a question.
        let answer = send_line(&mut person, here).await;
        assert!(!answer.contains('?'), "{answer}");
        let line = send_line(&mut person, leave).await;
        assert!(line.starts_with(help), "{line}");
        person.line().await;
        assert_eq!(person.read().await, None);
    }
}
