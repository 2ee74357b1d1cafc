//! Choices and the end of a session (SPEC §5): language, country, erasure, drain.

use std::time::Duration;

use session::{Failure, Input, MessageRejection};

use crate::scene::{Scene, WISH};

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
