//! Safety plan made with the companion, available afterwards in every face.

use serde_json::{Value, json};
use testkit::peer::Peer;

use crate::single_node::Plan;
use crate::test_client::TestClient;

/// Answers to the companion's questions, in order.
pub(crate) const ANSWERS: [&str; 6] = [
    "no duermo y me encierro",
    "música fuerte, ducharme",
    "la plaza, la casa de Caro",
    "mi hermana Lucía",
    "la psicóloga del hospital",
    "que mi hermana guarde las llaves",
];
/// Leads the conversation to the plan at imminent risk.
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

async fn plan<P: Peer>(person: &mut TestClient<P>) -> Value {
    person.send(json!({"type": "request", "id": "plan", "method": "safety_plan", "params": {}})).await;
    person.frame_of("response").await["result"]["plan"].take()
}

/// Sends `text` and returns `done`.
async fn send_text<P: Peer>(person: &mut TestClient<P>, id: &str, text: &str) -> Value {
    person.say(id, text).await;
    let done = person.frame_of("done").await;
    assert_eq!((&done["id"], &done["source"]), (&json!(id), &json!("companion")), "{done}");
    done
}

#[tokio::test]
async fn plan_made_at_imminent_risk_survives_restart_in_every_face() {
    let mut node = Plan::default().core("RATE_MAX_MESSAGES", 100).start().await;
    let mut person = node.at_core().await;
    let welcome = person.hello().await;
    assert_eq!(plan(&mut person).await, Value::Null);
    person.say("o0", OPENING[0]).await;
    assert_eq!(person.frame().await["level"], "imminent");
    person.frame_of("done").await;
    assert_eq!(send_text(&mut person, "o1", OPENING[1]).await["exercise"], "safety_plan");
    assert_eq!(plan(&mut person).await, Value::Null, "nothing was answered yet");
    for (number, answer) in ANSWERS.into_iter().enumerate() {
        let done = send_text(&mut person, &format!("a{number}"), answer).await;
        assert_eq!(done["exercise"], "safety_plan", "{done}");
    }
    let steps = HEADINGS.into_iter().zip(ANSWERS);
    let wire: Vec<_> = steps.clone().map(|(heading, text)| json!({"heading": heading, "text": text})).collect();
    let received = plan(&mut person).await;
    assert_eq!((&received["title"], &received["steps"]), (&json!("Mi plan de seguridad"), &json!(wire)), "{received}");
    // Later messages keep the plan.
    send_text(&mut person, "after", "gracias").await;
    assert_eq!((plan(&mut person).await, node.standin.total()), (received.clone(), 0));

    node.core.kill().await;
    node.core.restart().await;
    let mut again = node.at_core().await;
    again.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"]})).await;
    assert_eq!(again.first_frame().await.unwrap()["resumed"], true);
    assert_eq!(plan(&mut again).await, received);

    let mut plain = node.at_core().await;
    plain.lines(3).await;
    plain.write(&format!("/reanudar {}", welcome["resume"].as_str().unwrap())).await;
    plain.line().await;
    plain.write("/plan").await;
    let mut want = vec!["Mi plan de seguridad".to_owned()];
    want.extend((1..).zip(steps).map(|(number, (heading, text))| format!("{number}. {heading}: {text}")));
    want.push(received["footer"].as_str().unwrap().to_owned());
    let lines = plain.lines(want.len() + 1).await;
    assert_eq!(lines[..want.len()], want);
    assert!(lines[want.len()].starts_with("/crisis: "), "{lines:?}");

    // Erasing the conversation removes it.
    let confirm = json!({"confirm": welcome["session"]});
    again.send(json!({"type": "request", "id": "e", "method": "erase", "params": confirm})).await;
    again.frame_of("response").await;
    again.hello().await;
    assert_eq!(plan(&mut again).await, Value::Null);
}
