//! Sessions on several cores: events, drafts, claims, and what a partition leaves behind.

use std::time::Duration;

use protocol::server_frame::{Entry, Role};
use protocol::trace::TraceId;
use protocol::{ErrorCode, ServerFrame, UserText};
use session::{AnswerOwner, Claims, Grant, Input, SessionEvent};

use crate::scene::{Scene, delta_frame, done_frame, entry, error_frame};

const NOTHING: [&str; 0] = [];
const POLL: Duration = Duration::from_secs(1);
const OTHER: u64 = 2;

/// A session with one connection here, and one on another core.
fn scene() -> Scene {
    let mut scene = Scene::in_cluster();
    scene.attach();
    assert_eq!(scene.receive(OTHER, SessionEvent::Here { connections: 1 }), ["publish here { connections: 1 }"]);
    scene
}

fn turn(entry: &Entry) -> ServerFrame {
    ServerFrame::Turn(entry.clone())
}

/// Stores message `a`, which another core has accepted.
fn receive_message(scene: &mut Scene) {
    let message = scene.store("a", Role::User);
    assert_eq!(scene.receive_frame(OTHER, turn(&message)), ["all turn 1 user a"]);
}

/// Stores the answer to `a` with this text.
fn store_answer(scene: &mut Scene, text: &str) -> Entry {
    let mut answer = scene.store("a", Role::Assistant);
    answer.text = UserText::new(text);
    let last = scene.entries.last_mut().unwrap();
    last.text = UserText::new(text);
    answer
}

#[test]
fn frames_are_published_to_known_cores() {
    let mut scene = scene();
    let accepted = ["0 accepted 1 a", "publish turn 1 user a", "not-0 turn 1 user a", "complete 1", "start a"];
    assert_eq!(scene.submit(0, "a"), accepted);
    assert_eq!(scene.generate("ab"), ["publish delta 0 a ab", "all delta 0 a ab"]);
    assert_eq!(scene.finish(), ["record a", "publish done 2 a", "all done 2 a", "wake"]);
}

/// The reply to its `Hello` may be on its way: the other core has caught up before, and would miss the frames.
#[test]
fn frames_are_published_until_no_core_receives_them() {
    let mut scene = Scene::in_cluster();
    scene.attach();
    scene.on(Input::Subscribed);
    scene.submit(0, "a");
    assert_eq!(scene.generate("ab"), ["publish delta 0 a ab", "all delta 0 a ab"]);
    scene.on(Input::NoSubscribers(0));
    assert_eq!(scene.generate("c"), ["all delta 2 a c"]);
    scene.receive(OTHER, SessionEvent::Hello { connections: 1 });
    assert_eq!(scene.generate("d"), ["publish delta 3 a d", "all delta 3 a d"]);
}

#[test]
fn hello_is_answered_with_the_draft() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    let hello = scene.receive(3, SessionEvent::Hello { connections: 0 });
    assert_eq!(hello, ["publish here { connections: 1 }", "publish delta 0 a ab"]);
}

#[test]
fn first_subscription_of_a_new_session_misses_nothing() {
    let mut scene = Scene::in_cluster();
    scene.is_held = true;
    assert_eq!(scene.on(Input::Subscribed), ["publish hello { connections: 0 }"]);
    assert_eq!(scene.on(Input::Subscribed), ["publish hello { connections: 0 }", "store record"]);
}

#[test]
fn answer_of_another_core_reaches_readers_here() {
    let mut scene = scene();
    receive_message(&mut scene);
    for (frame, want) in [
        (delta_frame("a", 0, "Te "), vec!["all delta 0 a Te "]),
        (delta_frame("a", 0, "Te "), vec![]),
        (delta_frame("a", 6, "lejos"), vec!["publish hello { connections: 1 }"]),
        (delta_frame("a", 9, "más"), vec![]),
        (delta_frame("a", 0, "Te leo"), vec!["all delta 3 a leo"]),
        (done_frame("a", Some(2), 6), vec!["all done 2 a"]),
        (done_frame("a", Some(2), 6), vec![]),
    ] {
        let name = format!("{frame:?}");
        assert_eq!(scene.receive_frame(OTHER, frame), want, "{name}");
    }
    assert_eq!(scene.session.seq(), 2);
}

#[test]
fn done_behind_missing_text_leads_to_the_stored_answer() {
    let mut scene = scene();
    receive_message(&mut scene);
    scene.receive_frame(OTHER, delta_frame("a", 0, "Te"));
    store_answer(&mut scene, "Te leo");
    assert_eq!(scene.receive_frame(OTHER, done_frame("a", Some(2), 6)), ["all delta 2 a  leo", "all done 2 a"]);
}

#[test]
fn gap_in_seq_leads_to_the_missed_entries() {
    let mut scene = scene();
    scene.store("a", Role::User);
    scene.store("b", Role::User);
    let answer = scene.store("a", Role::Assistant);
    let missed = ["all turn 1 user a", "all turn 2 user b", "all turn 3 assistant a"];
    assert_eq!(scene.receive_frame(OTHER, turn(&answer)), missed);
    assert_eq!(scene.receive_frame(OTHER, turn(&answer)), NOTHING);
}

/// The sender's connection is gone, so every connection gets it: a client must not skip the entries before it.
#[test]
fn accepted_of_another_core_does_not_overtake_missed_entries() {
    let accepted = |id: &str, seq| ServerFrame::Accepted { id: id.parse().unwrap(), seq, trace_id: TraceId::random() };
    let mut scene = scene();
    receive_message(&mut scene);
    assert_eq!(scene.receive_frame(OTHER, accepted("a", 1)), ["all accepted 1 a"]);
    scene.store("b", Role::User);
    let last = scene.store("c", Role::User);
    assert_eq!(scene.receive_frame(OTHER, accepted("c", 3)), NOTHING);
    assert_eq!(scene.receive_frame(OTHER, turn(&last)), ["all turn 2 user b", "all turn 3 user c"]);
}

/// Its deltas are late: a catch-up has published the answer.
#[test]
fn deltas_behind_the_stored_answer_are_dropped() {
    let mut scene = scene();
    scene.store("a", Role::User);
    let answer = store_answer(&mut scene, "Te leo");
    scene.receive_frame(OTHER, turn(&answer));
    assert_eq!(scene.receive_frame(OTHER, delta_frame("a", 0, "Te leo")), NOTHING);
    assert_eq!(scene.receive_frame(OTHER, done_frame("a", Some(2), 6)), NOTHING);
    // The person stopped the slower of two answers before it had text.
    assert_eq!(scene.receive_frame(OTHER, done_frame("a", None, 0)), NOTHING);
}

/// The session was opened with the answer, and does not know its message.
#[test]
fn late_draft_gets_an_end() {
    let stored = || {
        vec![Entry { seq: 1, ..entry("a", Role::User, "hola") }, Entry { seq: 2, ..entry("a", Role::Assistant, "Te") }]
    };
    let mut scene = Scene::resumed(stored());
    scene.attach();
    scene.receive(OTHER, SessionEvent::Here { connections: 1 });
    assert_eq!(scene.receive_frame(OTHER, delta_frame("a", 0, "Te")), ["all delta 0 a Te"]);
    assert_eq!(scene.receive_frame(OTHER, done_frame("a", Some(2), 2)), ["all done 2 a"]);
    // Another answer has begun.
    let mut scene = Scene::resumed(stored());
    scene.attach();
    scene.receive(OTHER, SessionEvent::Here { connections: 1 });
    scene.receive_frame(OTHER, delta_frame("a", 0, "Te"));
    scene.receive_frame(OTHER, delta_frame("b", 0, "Sí"));
    assert_eq!(scene.receive_frame(OTHER, done_frame("a", Some(2), 2)), ["all error unavailable a"]);
    // The end is lost.
    let mut scene = Scene::resumed(stored());
    scene.attach();
    scene.receive(OTHER, SessionEvent::Here { connections: 1 });
    scene.receive_frame(OTHER, delta_frame("a", 0, "Te"));
    scene.receive_frame(OTHER, delta_frame("b", 0, "Sí"));
    scene.claims = Claims::Held;
    assert_eq!(scene.wait(POLL), NOTHING);
    scene.claims = Claims::Free;
    assert_eq!(scene.wait(POLL), ["all error unavailable a", "all error unavailable b"]);
}

#[test]
fn ignores_error_of_the_slower_core() {
    let (slower, faster) = (1, 2);
    let mut scene = scene();
    for (id, role) in
        [("answered", Role::User), ("answered", Role::Assistant), ("coming", Role::User), ("lost", Role::User)]
    {
        let entry = scene.store(id, role);
        scene.receive_frame(faster, turn(&entry));
    }
    scene.receive_frame(faster, delta_frame("coming", 0, "Te "));
    scene.receive(slower, SessionEvent::Here { connections: 0 });
    for (id, want) in [("answered", vec![]), ("coming", vec![]), ("lost", vec!["all error unavailable lost"])] {
        assert_eq!(scene.receive_frame(slower, error_frame(id, ErrorCode::Unavailable)), want, "{id}");
    }
}

#[test]
fn message_claimed_by_a_core_that_dies_is_answered_here() {
    let mut scene = scene();
    scene.admissions.push_back(Ok(AnswerOwner::OtherCore));
    scene.submit(0, "a");
    scene.claims = Claims::Held;
    assert_eq!(scene.wait(3 * POLL), NOTHING);
    scene.claims = Claims::Unknown;
    assert_eq!(scene.wait(3 * POLL), NOTHING);
    scene.claims = Claims::Free;
    assert_eq!(scene.wait(POLL), ["start a"]);
}

#[test]
fn shown_text_of_a_core_that_dies_ends_with_an_error() {
    let mut scene = scene();
    receive_message(&mut scene);
    scene.receive_frame(OTHER, delta_frame("a", 0, "Te "));
    scene.claims = Claims::Free;
    assert_eq!(scene.wait(POLL), ["all error unavailable a"]);
}

/// A client that attaches gets one answer to a message: that of this core, and not also the stale draft of the other.
#[test]
fn own_answer_takes_the_place_of_a_dead_cores_draft() {
    let mut scene = scene();
    receive_message(&mut scene);
    scene.receive_frame(OTHER, delta_frame("a", 0, "Te "));
    assert_eq!(scene.submit(0, "a"), ["0 accepted 1 a", "complete 1", "start a"]);
    scene.generate("Sí");
    assert_eq!(scene.attach(), ["attached at 1", "publish here { connections: 2 }", "1 delta 0 a Sí"]);
}

#[test]
fn turn_waits_for_the_earlier_ones_of_other_cores() {
    let mut scene = scene();
    let behind = Grant { is_behind_others: true, is_beyond_limits: false };
    scene.admissions.push_back(Ok(AnswerOwner::ThisCore(behind)));
    scene.claims = Claims::OtherCoreFirst;
    let accepted = ["0 accepted 1 b", "publish turn 1 user b", "not-0 turn 1 user b", "complete 1"];
    assert_eq!(scene.submit(0, "b"), accepted);
    assert_eq!(scene.wait(3 * POLL), NOTHING);
    scene.claims = Claims::ThisCoreFirst;
    assert_eq!(scene.wait(POLL), ["start b"]);
}

#[test]
fn faster_answer_of_another_core_ends_the_own_one() {
    for (stored, want) in [
        ("abc", vec!["cancel a", "all delta 2 a c", "all done 2 a"]),
        ("ab", vec!["cancel a", "all done 2 a"]),
        ("xyz", vec!["cancel a", "all delta 0 a xyz", "all done 2 a"]),
    ] {
        let mut scene = scene();
        scene.submit(0, "a");
        scene.generate("ab");
        let answer = store_answer(&mut scene, stored);
        assert_eq!(scene.receive_frame(OTHER, turn(&answer)), want);
        assert_eq!(scene.generate("more"), NOTHING);
        assert_eq!(scene.finish(), ["record a", "wake"]);
        assert_eq!(scene.entries.len(), 2);
    }
}

#[test]
fn resubmission_behind_a_faster_answer_gets_that_one() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.generate("ab");
    let answer = store_answer(&mut scene, "xyz");
    scene.receive_frame(OTHER, turn(&answer));
    // The own turn is still to end.
    assert_eq!(scene.submit(0, "a"), ["0 accepted 1 a", "0 delta 0 a xyz", "0 done 2 a", "complete 2"]);
}

#[test]
fn stop_reaches_the_core_that_answers() {
    let mut scene = scene();
    scene.submit(0, "a");
    assert_eq!(scene.receive(OTHER, SessionEvent::Stop { id: "a".parse().unwrap() }), ["cancel a"]);
    let published = scene.on(Input::StopRemotely("b".parse().unwrap()));
    assert_eq!(published, ["publish stop { id: messageid(\"b\") }"]);
}

#[test]
fn abandoned_only_without_remote_connections() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.on(Input::Detach(scene.connection(0)));
    assert_eq!(scene.wait(2 * crate::scene::ABANDONED_AFTER), NOTHING);
    scene.receive(OTHER, SessionEvent::Here { connections: 0 });
    // Since now, and not since the last connection here ended.
    assert_eq!(scene.wait(crate::scene::ABANDONED_AFTER - POLL), NOTHING);
    assert_eq!(scene.wait(POLL), ["cancel a"]);
}

#[test]
fn choices_on_other_cores_apply_here() {
    let mut scene = scene();
    scene.receive(OTHER, SessionEvent::Locale { locale: "en-GB".parse().unwrap() });
    scene.receive(OTHER, SessionEvent::Country { country: "ES".parse().unwrap() });
    assert_eq!(scene.session.locale(), "en-GB".parse().unwrap());
    assert_eq!(scene.session.country(), Some("ES".parse().unwrap()));
}

#[test]
fn erasure_on_another_core_ends_the_session_here() {
    let mut scene = scene();
    scene.submit(0, "a");
    scene.submit(0, "b");
    assert_eq!(scene.receive(OTHER, SessionEvent::Erased), ["release b", "cancel a", "close 0 erased"]);
    assert_eq!(scene.finish(), ["record a", "wake"]);
    assert_eq!(scene.attach(), ["gone"]);
}
