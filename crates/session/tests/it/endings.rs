//! Choices and the end of a session (SPEC §5): language, country, erasure, drain.

use std::time::Duration;

use protocol::{ResumeToken, ServerFrame, UserText};
use session::{Failure, Input, MessageRejection, SessionEvent};

use crate::scene::{ABANDONED_AFTER, Scene, WISH};

const NOTHING: [&str; 0] = [];

fn scene() -> Scene {
    let mut scene = Scene::in_cluster();
    scene.attach();
    scene.attach();
    scene.on(Input::NoSubscribers(0));
    scene
}

#[test]
fn chosen_language_is_stored_and_published() {
    let mut scene = scene();
    let (locale, ticket) = ("en-US".parse().unwrap(), scene.ticket());
    let effects = scene.on(Input::SetLocale(locale, ticket));
    assert_eq!(effects[0], "complete 1");
    assert!(effects[1].starts_with("publish locale { locale: locale { language: english"), "{effects:?}");
    assert_eq!((scene.session.locale(), scene.stored_locale), (locale, locale));
}

#[test]
fn language_of_the_first_message_is_stored_before_it() {
    let mut scene = scene();
    scene.is_held = true;
    assert_eq!(scene.say(0, "a", "I feel so lonely today"), ["store locale"]);
    let saved = scene.answer();
    assert_eq!(saved.last().unwrap(), "store admit a");
    assert_eq!(scene.session.locale().to_string(), "en");
}

#[test]
fn country_brings_help_with_its_lines_while_the_store_is_away() {
    let mut scene = scene();
    scene.say(0, "a", WISH);
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    let (country, ticket) = ("AR".parse().unwrap(), scene.ticket());
    assert_eq!(scene.on(Input::SetCountry(country, ticket)), ["fail 2"]);
    assert_eq!(scene.session.country(), Some(country));
    assert_eq!(scene.on(Input::ResendHelp), ["all support a"]);
}

#[test]
fn message_that_names_the_country_sets_it() {
    let mut scene = scene();
    scene.say(0, "a", WISH);
    assert_eq!(scene.say(0, "b", "estoy en argentina")[0], "all support a");
    assert_eq!(scene.session.country(), Some("AR".parse().unwrap()));
}

#[test]
fn yes_confirms_the_guessed_country_unless_something_else_was_asked() {
    for (answer, want) in [("Te leo.", Some("AR")), ("¿Estás pensando en matarte?", None)] {
        let mut scene = scene();
        scene.session.note_time_zone(&UserText::new("America/Argentina/Buenos_Aires"));
        scene.say(0, "a", WISH);
        scene.generate(answer);
        scene.finish();
        scene.say(0, "b", "Sí.");
        assert_eq!(scene.session.country(), want.map(|code| code.parse().unwrap()), "{answer}");
    }
}

#[test]
fn erasure_closes_all_connections_but_the_requester() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.finish();
    let asking = scene.connection(0);
    scene.session.await_erasure(asking);
    let ticket = scene.ticket();
    assert_eq!(scene.on(Input::Erase(ticket)), ["publish erased", "close 1 erased", "complete 2"]);
    assert_eq!(scene.session.end_erasure(asking), Some(2));
    // A second one, from this connection or another, has the same result.
    let ticket = scene.ticket();
    assert_eq!(scene.on(Input::Erase(ticket)), ["complete 3"]);
    assert_eq!(scene.submit(1, "b"), ["complete 4"]);
    assert_eq!(scene.attach(), ["gone"]);
}

#[test]
fn erasure_after_its_deadline_closes_the_requester_too() {
    let mut scene = scene();
    let asking = scene.connection(0);
    scene.session.await_erasure(asking);
    assert_eq!(scene.session.end_erasure(asking), None);
    let ticket = scene.ticket();
    assert_eq!(scene.on(Input::Erase(ticket)), ["publish erased", "close 0 erased", "close 1 erased", "complete 1"]);
}

#[test]
fn session_that_is_not_kept_ends_after_its_last_connection() {
    let mut scene = Scene::not_kept();
    scene.attach();
    assert_eq!(scene.wait(ABANDONED_AFTER * 2), NOTHING, "somebody listens");
    scene.submit(0, "a");
    scene.generate("ab");
    scene.finish();
    let first = scene.connection(0);
    scene.on(Input::Detach(first));
    assert_eq!(scene.wait(ABANDONED_AFTER - Duration::from_secs(1)), NOTHING);
    assert_eq!(scene.attach(), ["attached at 2"], "it was resumed in time");
    let second = scene.connection(1);
    scene.on(Input::Detach(second));
    scene.wait(ABANDONED_AFTER);
    assert!(scene.is_erased);
    assert_eq!((scene.attach(), scene.session.deadline()), (vec!["gone".to_owned()], None));
}

#[test]
fn draining_session_that_is_not_kept_waits_for_nothing() {
    let mut scene = Scene::not_kept();
    assert!(scene.session.deadline().is_some());
    scene.on(Input::Drain);
    assert_eq!(scene.session.deadline(), None);
}

fn forget_last(scene: &mut Scene, from: usize) -> Vec<String> {
    let (from, ticket) = (scene.connection(from), scene.ticket());
    scene.on(Input::ForgetLast { from, ticket })
}

#[test]
fn last_message_is_forgotten_with_its_help_and_its_answer() {
    let mut scene = scene();
    for id in ["a", "b"] {
        scene.say(0, id, if id == "b" { WISH } else { "hola" });
        scene.generate("ab");
        scene.finish();
    }
    let effects = forget_last(&mut scene, 0);
    assert_eq!(effects, ["not-0 forgotten 6 b from 3", "complete 3"]);
    assert_eq!(scene.entries.len(), 2);
    assert!(scene.session.risk(scene.now().wall).is_high(), "the level stays");
    assert_eq!(forget_last(&mut scene, 0)[0], "not-0 forgotten 7 a from 1");
    assert_eq!(forget_last(&mut scene, 0), ["complete 5"], "nothing is left");
    // Its number is never used again, and its id means the forgotten message.
    assert_eq!(scene.submit(0, "b"), ["0 forgotten 6 b from 3", "complete 6", "wake"]);
    assert!(scene.submit(0, "c").contains(&"0 accepted 8 c".to_owned()));
}

#[test]
fn answer_in_progress_is_stopped_before_its_message_is_forgotten() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    assert_eq!(forget_last(&mut scene, 1), ["cancel a"]);
    assert_eq!(scene.finish(), ["record a", "all done 2 a", "wake", "not-1 forgotten 3 a from 1", "complete 2"]);
    assert!(scene.entries.is_empty());
}

#[test]
fn waiting_message_is_forgotten_at_once() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.submit(0, "b");
    let want = ["release stopped b", "all done - b", "not-0 forgotten 3 b from 2", "complete 3"];
    assert_eq!(forget_last(&mut scene, 0), want);
    assert_eq!(scene.finish()[..2], ["record a", "all done 4 a"]);
}

#[test]
fn message_that_another_core_forgets_ends_here() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    let forgotten = scene.forget(&"a".parse().unwrap()).unwrap().forgotten;
    let frame = ServerFrame::Forgotten(forgotten);
    assert_eq!(
        scene.receive_frame(7, frame.clone()),
        ["publish here { connections: 2 }", "cancel a", "all forgotten 2 a from 1"]
    );
    assert_eq!(scene.receive_frame(7, frame), NOTHING, "once");
    assert_eq!(scene.finish(), ["record a", "wake"]);
    assert!(scene.entries.is_empty());
}

#[test]
fn catch_up_finds_a_forgotten_message_whose_event_was_lost() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.forget(&"a".parse().unwrap());
    // The store refuses its answer too.
    let ended = scene.finish();
    assert_eq!(ended, ["record a", "all done - a", "wake"]);
    let ticket = scene.ticket();
    assert_eq!(scene.on(Input::CatchUp(ticket)), ["all forgotten 2 a from 1", "complete 2"]);
}

#[test]
fn failed_forgetting_changes_nothing() {
    let mut scene = scene();
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    assert_eq!(forget_last(&mut scene, 0), ["fail 1"]);
}

fn rotate(scene: &mut Scene, from: usize) -> Vec<String> {
    let (from, ticket, token) = (scene.connection(from), scene.ticket(), ResumeToken::random());
    scene.on(Input::RotateResume { from, token, ticket })
}

#[test]
fn rotation_closes_all_connections_but_the_requester() {
    let mut scene = scene();
    assert_eq!(rotate(&mut scene, 1), ["publish rotated { rotations: 1 }", "close 0 revoked", "complete 1"]);
    assert_eq!(rotate(&mut scene, 1), ["publish rotated { rotations: 2 }", "complete 2"]);
    scene.submit(1, "a");
    assert_eq!(scene.generate("ab"), ["all delta 0 a ab"], "the answer goes on");
}

#[test]
fn connection_with_a_replaced_token_cannot_attach() {
    let mut scene = scene();
    rotate(&mut scene, 0);
    scene.rotations = 0;
    assert_eq!(scene.attach(), ["gone"]);
    // Another core has replaced it again, and its event is late: the record of the next resume says so.
    scene.rotations = 2;
    assert_eq!(scene.attach()[0], "attached at 0");
    assert_eq!(scene.receive(7, SessionEvent::Rotated { rotations: 2 })[0], "publish here { connections: 1 }");
    assert_eq!(
        scene.receive(7, SessionEvent::Rotated { rotations: 3 }),
        ["close 2 revoked", "publish here { connections: 0 }"]
    );
}

#[test]
fn catch_up_finds_a_rotation_whose_event_was_lost() {
    let mut scene = scene();
    scene.rotations = 1;
    let ticket = scene.ticket();
    assert_eq!(scene.on(Input::CatchUp(ticket)), ["close 0 revoked", "close 1 revoked", "complete 1"]);
}

#[test]
fn failed_rotation_closes_nothing() {
    let mut scene = scene();
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    assert_eq!(rotate(&mut scene, 0), ["fail 1"]);
}

#[test]
fn session_that_the_store_no_longer_has_ends() {
    let closed = ["publish erased", "close 0 erased", "close 1 erased"];
    assert_eq!(scene().on(Input::Missing), closed);
    let mut scene = scene();
    scene.failure = Some(Failure::NoSession);
    assert_eq!(scene.submit(0, "a"), [&closed[..], &["complete 1", "wake"]].concat());
    assert_eq!(scene.on(Input::SaveHelp), NOTHING);
}

#[test]
fn running_turn_of_an_ended_session_publishes_nothing() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.on(Input::Missing);
    assert_eq!(scene.generate("c"), NOTHING);
    assert_eq!(scene.finish(), ["record a", "wake"]);
    assert_eq!(scene.entries.len(), 1);
}

#[test]
fn failed_catch_up_closes_the_connections() {
    let mut scene = scene();
    scene.on(Input::Subscribed);
    scene.on(Input::NoSubscribers(0));
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    let closed = ["publish hello { connections: 2 }", "close 0 internal", "close 1 internal"];
    assert_eq!(scene.on(Input::Subscribed), closed);
    let ticket = scene.ticket();
    assert_eq!(scene.on(Input::CatchUp(ticket)), ["fail 1"]);
}

#[test]
fn draining_session_saves_help_once_more_and_waits_for_no_retry() {
    let mut scene = scene();
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    scene.say(0, "a", WISH);
    assert!(scene.session.deadline().is_some());
    scene.on(Input::Drain);
    assert_eq!(scene.session.deadline(), None);
    assert_eq!(scene.wait(Duration::from_secs(600)), NOTHING);
}
