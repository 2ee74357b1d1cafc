//! Answers (SPEC §4): readers, stops, failures, abandoned ones.

use std::time::Duration;

use session::{Failure, Input, MessageRejection, Progress, TurnEvent};

use crate::scene::{ABANDONED_AFTER, Scene};

const NOTHING: [&str; 0] = [];

/// A session whose first connection has sent message `a`, which is being answered.
fn scene() -> Scene {
    let mut scene = Scene::alone();
    scene.attach();
    scene.submit(0, "a");
    scene
}

fn queued(scene: &mut Scene, ahead: usize) -> Vec<String> {
    scene.on(Input::Turn(TurnEvent::Progress(Progress::Queued(ahead))))
}

#[test]
fn every_connection_reads_deltas_and_done() {
    let mut scene = scene();
    scene.attach();
    assert_eq!(scene.generate("¿có"), ["all delta 0 a ¿có"]);
    assert_eq!(scene.generate("mo?"), ["all delta 3 a mo?"]);
    assert_eq!(scene.finish(), ["record a", "all done 2 a", "wake"]);
    assert_eq!(scene.entries[1].text.expose(), "¿cómo?");
}

#[test]
fn place_in_the_queue_goes_to_the_sender_while_it_listens() {
    let mut scene = scene();
    scene.attach();
    assert_eq!(queued(&mut scene, 2), ["0 queued 2 a"]);
    scene.on(Input::HalfClose(scene.connection(0)));
    assert_eq!(queued(&mut scene, 1), ["all queued 1 a"]);
    scene.on(Input::Detach(scene.connection(0)));
    assert_eq!(queued(&mut scene, 0), ["all queued 0 a"]);
}

#[test]
fn new_reader_gets_the_answer_in_progress_from_its_start() {
    let mut scene = scene();
    scene.submit(0, "b");
    queued(&mut scene, 3);
    assert_eq!(scene.attach(), ["attached at 2", "1 queued 3 a", "1 queued 0 b"]);
    scene.generate("ab");
    scene.generate("c");
    assert_eq!(scene.attach(), ["attached at 2", "2 delta 0 a abc", "2 queued 0 b"]);
}

#[test]
fn restarted_answer_begins_at_its_start() {
    let mut scene = scene();
    scene.generate("thinking");
    assert_eq!(scene.restart(), NOTHING);
    assert_eq!(scene.attach(), ["attached at 1", "1 queued 0 a"]);
    assert_eq!(scene.generate("ab"), ["all delta 0 a ab"]);
    assert_eq!(scene.attach(), ["attached at 1", "2 delta 0 a ab"]);
}

#[test]
fn failure_goes_to_the_sender_or_to_all_once_it_is_gone() {
    let overloaded = Failure::Rejected(MessageRejection::permanent(protocol::ErrorCode::Overloaded));
    let mut scene = scene();
    assert_eq!(scene.fail_turn(overloaded), ["0 error overloaded a", "wake"]);
    scene.attach();
    scene.submit(0, "b");
    scene.on(Input::Detach(scene.connection(0)));
    assert_eq!(scene.fail_turn(overloaded), ["all error overloaded b", "wake"]);
}

#[test]
fn answer_that_cannot_be_recorded_is_an_error_for_every_reader() {
    let mut scene = scene();
    scene.generate("ab");
    scene.failure = Some(Failure::Rejected(MessageRejection::unavailable()));
    assert_eq!(scene.finish(), ["record a", "all error unavailable a", "wake"]);
    scene.failure = None;
    assert_eq!(scene.submit(0, "a"), ["0 accepted 1 a", "complete 2", "start a"], "it is asked for again");
}

#[test]
fn stop_ends_the_message_wherever_it_is() {
    let stop = |id: &str| Input::Stop(id.parse().unwrap());
    let mut scene = scene();
    scene.submit(0, "b");
    assert_eq!(scene.on(stop("c")), NOTHING, "unknown");
    // Before `done` the claim is released: a core that reacts to it must be able to claim the message.
    assert_eq!(scene.on(stop("b")), ["release stopped b", "all done - b"]);
    scene.generate("ab");
    assert_eq!(scene.on(stop("a")), ["cancel a"]);
    assert_eq!(scene.on(stop("a")), NOTHING, "once");
    assert_eq!(scene.finish(), ["record a", "all done 3 a", "wake"]);
}

#[test]
fn stop_before_any_text_stores_no_answer() {
    let mut scene = scene();
    scene.on(Input::Stop("a".parse().unwrap()));
    assert_eq!(scene.finish(), ["record a", "all done - a", "wake"]);
    assert_eq!(scene.entries.len(), 1);
}

#[test]
fn answer_without_a_listener_ends_after_its_time() {
    let last = Duration::from_millis(1);
    for is_half_closed in [false, true] {
        let mut scene = scene();
        scene.wait(ABANDONED_AFTER);
        let leave = if is_half_closed { Input::HalfClose } else { Input::Detach };
        scene.on(leave(scene.connection(0)));
        assert_eq!(scene.wait(ABANDONED_AFTER - last), NOTHING);
        assert_eq!(scene.wait(last), ["cancel a"]);
    }
}

#[test]
fn answer_goes_on_for_a_client_that_comes_back() {
    let mut scene = scene();
    scene.on(Input::Detach(scene.connection(0)));
    scene.wait(ABANDONED_AFTER / 2);
    assert_eq!(scene.attach(), ["attached at 1", "1 queued 0 a"]);
    assert_eq!(scene.wait(2 * ABANDONED_AFTER), NOTHING);
}
