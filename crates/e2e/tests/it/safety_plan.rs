//! The safety plan that a person makes with the companion: there for them afterwards, in every face.

use serde_json::{Value, json};
use testkit::peer::Peer;

use crate::person::Person;
use crate::town::Plan;

/// What a person answers to the companion's questions, in their order.
pub(crate) const ANSWERS: [&str; 6] = [
    "no duermo y me encierro",
    "música fuerte, ducharme",
    "la plaza, la casa de Caro",
    "mi hermana Lucía",
    "la psicóloga del hospital",
    "que mi hermana guarde las llaves",
];
/// Brings the conversation to the plan while the danger is imminent.
pub(crate) const OPENING: [&str; 2] =
    ["me voy a matar esta noche, ya tengo todo listo", "quiero hacer el plan de seguridad"];
const HEADINGS: [&str; 6] = [
    "Señales de que se acerca un mal momento",
    "Lo que puedo hacer por mi cuenta",
    "Personas y lugares que me distraen",
    "Personas a las que puedo pedir ayuda",
    "Profesionales y líneas de ayuda",
    "Cómo hago más seguro el lugar donde estoy",
];

async fn plan<P: Peer>(person: &mut Person<P>) -> Value {
    person.send(json!({"type": "request", "id": "plan", "method": "safety_plan", "params": {}})).await;
    person.frame_of("response").await["result"]["plan"].take()
}

/// Says `text`; returns `done`.
async fn tell<P: Peer>(person: &mut Person<P>, id: &str, text: &str) -> Value {
    person.say(id, text).await;
    let done = person.frame_of("done").await;
    assert_eq!((&done["id"], &done["source"]), (&json!(id), &json!("companion")), "{done}");
    done
}

#[tokio::test]
async fn a_plan_made_at_imminent_risk_outlives_the_core_and_is_told_in_every_face() {
    let mut town = Plan::default().core("RATE_MAX_MESSAGES", 100).start().await;
    let mut person = town.at_core().await;
    let welcome = person.hello().await;
    assert_eq!(plan(&mut person).await, Value::Null);
    person.say("o0", OPENING[0]).await;
    assert_eq!(person.frame().await["level"], "imminent");
    person.frame_of("done").await;
    assert_eq!(tell(&mut person, "o1", OPENING[1]).await["exercise"], "safety_plan");
    assert_eq!(plan(&mut person).await, Value::Null, "nothing was answered yet");
    for (number, answer) in ANSWERS.into_iter().enumerate() {
        let done = tell(&mut person, &format!("a{number}"), answer).await;
        assert_eq!(done["exercise"], "safety_plan", "{done}");
    }
    let steps = HEADINGS.into_iter().zip(ANSWERS);
    let wire: Vec<_> = steps.clone().map(|(heading, text)| json!({"heading": heading, "text": text})).collect();
    let told = plan(&mut person).await;
    assert_eq!((&told["title"], &told["steps"]), (&json!("Mi plan de seguridad"), &json!(wire)), "{told}");
    // What comes after it does not take it away.
    tell(&mut person, "after", "gracias").await;
    assert_eq!((plan(&mut person).await, town.standin.total()), (told.clone(), 0));

    town.core.kill().await;
    town.core.restart().await;
    let mut again = town.at_core().await;
    again.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"]})).await;
    assert_eq!(again.first_frame().await.unwrap()["resumed"], true);
    assert_eq!(plan(&mut again).await, told);

    let mut plain = town.at_core().await;
    plain.lines(3).await;
    plain.write(&format!("/reanudar {}", welcome["resume"].as_str().unwrap())).await;
    plain.line().await;
    plain.write("/plan").await;
    let mut want = vec!["Mi plan de seguridad".to_owned()];
    want.extend((1..).zip(steps).map(|(number, (heading, text))| format!("{number}. {heading}: {text}")));
    want.push(told["footer"].as_str().unwrap().to_owned());
    let lines = plain.lines(want.len() + 1).await;
    assert_eq!(lines[..want.len()], want);
    assert!(lines[want.len()].starts_with("/crisis: "), "{lines:?}");

    // Erased with the conversation.
    let confirm = json!({"confirm": welcome["session"]});
    again.send(json!({"type": "request", "id": "e", "method": "erase", "params": confirm})).await;
    again.frame_of("response").await;
    again.hello().await;
    assert_eq!(plan(&mut again).await, Value::Null);
}
