//! Admission of messages (SPEC §4): order, limits, risk, repetition.

use std::time::Duration;

use protocol::server_frame::Role;
use session::{Failure, Input, MessageRejection};

use crate::scene::{Scene, WISH};

const SECOND: Duration = Duration::from_secs(1);

/// A session with two connections.
fn scene() -> Scene {
    let mut scene = Scene::alone();
    scene.attach();
    scene.attach();
    scene
}

#[test]
fn accepted_goes_to_the_sender_and_turn_to_the_others() {
    let mut scene = scene();
    assert_eq!(scene.submit(0, "a"), ["0 accepted 1 a", "not-0 turn 1 user a", "complete 1", "start a"]);
}

#[test]
fn turns_run_one_at_a_time() {
    let mut scene = scene();
    scene.submit(0, "a");
    assert_eq!(scene.submit(1, "b"), ["1 accepted 2 b", "not-1 turn 2 user b", "complete 2"]);
    scene.generate("ab");
    assert_eq!(scene.finish(), ["record a", "all done 3 a", "start b"]);
    scene.generate("c");
    assert_eq!(scene.finish(), ["record b", "all done 4 b", "wake"]);
}

#[test]
fn one_message_more_than_the_person_may_have_is_rejected() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.submit(0, "b");
    assert_eq!(scene.submit(0, "c"), ["0 error user_busy c", "complete 3"]);
    assert_eq!(scene.entries.len(), 2);
}

#[test]
fn admissions_reach_the_store_one_by_one() {
    let mut scene = scene();
    scene.is_held = true;
    assert_eq!(scene.submit(0, "a"), ["store admit a"]);
    assert_eq!(scene.submit(1, "b"), [""; 0]);
    assert!(scene.session.is_busy());
    let accepted = ["0 accepted 1 a", "not-0 turn 1 user a", "complete 1", "store admit b", "start a"];
    assert_eq!(scene.answer(), accepted);
    assert_eq!(scene.answer(), ["1 accepted 2 b", "not-1 turn 2 user b", "complete 2"]);
}

#[test]
fn answer_is_recorded_behind_the_admission_in_progress() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.is_held = true;
    scene.submit(1, "b");
    assert_eq!(scene.finish(), [""; 0]);
    let accepted = ["1 accepted 2 b", "not-1 turn 2 user b", "complete 2", "record a", "all done 3 a", "start b"];
    assert_eq!(scene.answer(), accepted);
}

#[test]
fn message_in_risk_is_answered_beyond_the_limits_one_a_second() {
    let mut scene = scene();
    let help =
        ["all support a", "0 accepted 1 a", "not-0 turn 1 user a", "complete 1", "start a", "all turn 2 support a"];
    assert_eq!(scene.say(0, "a", WISH), help);
    scene.submit(0, "b");
    assert_eq!(scene.submit(0, "c"), ["0 accepted 4 c", "not-0 turn 4 user c", "complete 3"]);
    assert_eq!(scene.submit(0, "d"), [""; 0]);
    assert_eq!(scene.wait(SECOND - Duration::from_millis(1)), [""; 0]);
    assert_eq!(scene.wait(SECOND), ["0 accepted 5 d", "not-0 turn 5 user d", "complete 4"]);
}

#[test]
fn rejected_message_may_be_sent_again() {
    let mut scene = scene();
    scene.admissions.push_back(Err(MessageRejection::limited(SECOND)));
    assert_eq!(scene.submit(0, "a"), ["0 error rate_limited a", "complete 1", "wake"]);
    assert_eq!(scene.entries.len(), 0);
    assert_eq!(scene.submit(0, "a"), ["0 accepted 1 a", "not-0 turn 1 user a", "complete 2", "start a"]);
}

#[test]
fn unavailable_store_rejects_and_help_comes_all_the_same() {
    let mut scene = scene();
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    assert_eq!(scene.submit(0, "a"), ["0 error unavailable a", "complete 1", "wake"]);
    assert_eq!(scene.say(0, "b", WISH), ["all support b", "0 error unavailable b", "complete 2", "wake"]);
    // It is in risk, and did not bring help itself.
    assert_eq!(scene.submit(1, "c"), ["1 support c", "1 error unavailable c", "complete 3", "wake"]);
    scene.failure = None;
    assert_eq!(scene.wait(2 * SECOND), ["all turn 1 support b"]);
    assert!(!scene.session.has_unsaved_help());
}

#[test]
fn repeated_id_in_flight_is_accepted_with_its_seq() {
    let mut scene = scene();
    scene.submit(0, "a");
    assert_eq!(scene.submit(1, "a"), ["1 accepted 1 a", "complete 2"]);
    scene.submit(0, "b");
    assert_eq!(scene.submit(1, "b"), ["1 accepted 2 b", "complete 4"]);
    assert_eq!(scene.entries.len(), 2);
}

/// Its first connection may be dead without a sign: later frames go to the one that has resubmitted it.
#[test]
fn resubmission_makes_its_connection_the_sender() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.submit(1, "a");
    assert_eq!(scene.fail_turn(Failure::Rejected(MessageRejection::busy())), ["1 error user_busy a", "wake"]);
}

#[test]
fn repeated_id_with_an_answer_gets_it_alone() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.finish();
    assert_eq!(scene.submit(1, "a"), ["1 accepted 1 a", "1 delta 0 a ab", "1 done 2 a", "complete 2", "wake"]);
}

#[test]
fn repeated_id_without_an_answer_is_answered() {
    let mut scene = scene();
    scene.store("a", Role::User);
    assert_eq!(scene.submit(0, "a"), ["not-0 turn 1 user a", "0 accepted 1 a", "complete 1", "start a"]);
}

#[test]
fn publishes_entries_of_other_cores_around_a_resubmitted_message() {
    let mut scene = scene();
    // Stored here with a lost reply, answered by another core; a message of another device stands between.
    scene.store("a", Role::User);
    scene.store("b", Role::User);
    scene.store("a", Role::Assistant);
    let missed = ["not-0 turn 1 user a", "all turn 2 user b", "not-0 turn 3 assistant a"];
    let own = ["0 accepted 1 a", "0 delta 0 a assistant-a", "0 done 3 a", "complete 1", "wake"];
    assert_eq!(scene.submit(0, "a"), [&missed[..], &own].concat());
}

/// Help is no part of the result that the sender gets separately.
#[test]
fn sender_of_a_resubmitted_message_gets_its_stored_help() {
    let mut scene = scene();
    scene.store("a", Role::User);
    scene.store("a", Role::Support);
    let published = ["not-0 turn 1 user a", "all turn 2 support a", "0 accepted 1 a", "complete 1", "start a"];
    assert_eq!(scene.submit(0, "a"), published);
}

#[test]
fn publishes_missed_entries_before_a_new_message() {
    let mut scene = scene();
    scene.store("a", Role::User);
    let accepted = ["all turn 1 user a", "0 accepted 2 b", "not-0 turn 2 user b", "complete 1", "start b"];
    assert_eq!(scene.submit(0, "b"), accepted);
}

/// An `accepted` without an end must reach no other connection.
#[test]
fn stored_answer_is_for_its_sender_only() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    scene.finish();
    let redelivered = ["0 accepted 1 a", "0 delta 0 a ab", "0 done 2 a"];
    assert_eq!(scene.submit(0, "a")[..3], redelivered);
    scene.on(Input::Detach(scene.connection(0)));
    assert_eq!(scene.submit(0, "a")[..3], redelivered);
}
