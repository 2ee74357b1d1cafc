mod against_the_model;

use protocol::server_frame::{ErrorFrame, NoticeCode};
use protocol::{ErrorCode, Language};
use serde_json::Map;

use super::model::{Model, welcome};
use super::*;
use crate::event::Closed;

/// A conversation that says what its frames and events are, one word or two each.
struct Table {
    conversation: Conversation,
    next: Next,
}

impl Table {
    fn new(introduction: Introduction) -> Self {
        Self { conversation: Conversation::new(introduction), next: Next::Continue }
    }

    /// With a session and `seq` entries held.
    fn open(seq: u64) -> Self {
        Self::open_with(2, seq)
    }

    fn open_with(window: usize, seq: u64) -> Self {
        let mut table = Self::new(Introduction { window, ..Introduction::default() });
        table.conversation.connected();
        table.frames();
        table.give(welcome(false, seq, None));
        table.events();
        table
    }

    fn frames(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.conversation.next_frame())
            .map(|frame| match frame {
                ClientFrame::Hello(hello) => {
                    format!("hello {:?} {:?}", hello.resume.as_ref().map(UserText::expose), hello.since)
                }
                ClientFrame::Message { id, .. } => format!("message {id}"),
                ClientFrame::Stop { id } => format!("stop {id}"),
                ClientFrame::Request(request) => format!("request {}", request.method),
                ClientFrame::Ping { .. } => "ping".to_owned(),
                ClientFrame::Bye => "bye".to_owned(),
            })
            .collect()
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.conversation.next_event())
            .map(|event| match event {
                Event::Connected(welcome) => format!("connected {:?}", welcome.missed),
                Event::Turn(entry) => format!("turn {}", entry.seq),
                Event::Accepted { id, seq } => format!("accepted {id} {seq}"),
                Event::Delta { id, offset, text } => format!("delta {id} {offset} {}", text.expose()),
                Event::Restarted { id } => format!("restarted {id}"),
                Event::Done(done) => format!("done {} {:?}", done.id, done.seq),
                Event::Refused(error) => format!("refused {}", error.code),
                Event::Error(error) => format!("error {}", error.code),
                other => serde_json::to_value(&other).unwrap()["type"].as_str().unwrap().to_owned(),
            })
            .collect()
    }

    fn give(&mut self, frame: ServerFrame) {
        self.next = self.conversation.on_frame(frame);
    }

    /// A frame as it is on the wire.
    fn line(&mut self, line: &str) -> &mut Self {
        self.give(serde_json::from_str(line).unwrap());
        self
    }

    fn delta(&mut self, id: &str, offset: usize, text: &str) -> &mut Self {
        self.give(ServerFrame::Delta { id: id.parse().unwrap(), offset, text: UserText::new(text), exercise: None });
        self
    }

    fn accepted(&mut self, id: &str, seq: u64) -> &mut Self {
        self.give(model::accepted(&id.parse().unwrap(), seq));
        self
    }

    fn turn(&mut self, seq: u64, id: &str, role: &str, text: &str) -> &mut Self {
        let at = "2026-11-22T10:00:00.000Z";
        self.line(&format!(
            r#"{{"type":"turn","seq":{seq},"id":"{id}","role":"{role}","text":"{text}","at":"{at}","finish":"stop","source":"llm"}}"#
        ))
    }

    fn done(&mut self, id: &str, seq: Option<u64>, chars: usize) -> &mut Self {
        let seq = seq.map(|seq| format!(r#""seq":{seq},"#)).unwrap_or_default();
        self.line(&format!(
            r#"{{"type":"done","id":"{id}",{seq}"finish":"stop","source":"llm","chars":{chars},"ms":{{"queue":0,"first":0,"total":0}}}}"#
        ))
    }

    fn error(&mut self, code: ErrorCode, id: Option<&str>) -> &mut Self {
        let id = id.map(|id| id.parse().unwrap());
        self.give(ServerFrame::Error(ErrorFrame::new(code, Language::English).with_id(id)));
        self
    }

    fn say(&mut self, id: &str) -> &mut Self {
        self.conversation.send(id.parse().unwrap(), UserText::new("hola")).unwrap();
        self
    }

    /// Another connection, up to its welcome.
    fn again(&mut self, seq: u64) -> Vec<String> {
        self.conversation.disconnected();
        self.conversation.connected();
        let hello = self.frames();
        self.give(welcome(true, seq, None));
        hello
    }
}

#[test]
fn a_turn_without_trouble() {
    let mut table = Table::open(0);
    table.say("a");
    assert_eq!(table.frames(), ["message a"]);
    table.accepted("a", 1).delta("a", 0, "ho").delta("a", 2, "la").done("a", Some(2), 4);
    assert_eq!(table.events(), ["accepted a 1", "delta a 0 hola", "done a Some(2)"]);
    assert_eq!((table.conversation.held(), table.conversation.open_messages()), (Some(2), 0));
}

/// Asks for `method` as request `id`.
fn request(id: &str) -> Request {
    let timeout = Duration::from_secs(5);
    Request { id: id.parse().unwrap(), method: "history".to_owned(), params: Map::new(), timeout }
}

#[test]
fn nobody_is_told_of_the_late_end_of_a_request_that_was_given_up() {
    let mut table = Table::open(0);
    table.conversation.request(request("slow"));
    table.conversation.fail_request(RequestError::TimedOut);
    assert_eq!(table.conversation.take_result(&"slow".parse().unwrap()), Some(Err(RequestError::TimedOut)));
    // Whoever asked has dropped it.
    table.conversation.request(request("dropped"));
    table.conversation.request(request("new"));
    for id in ["slow", "dropped"] {
        table.error(ErrorCode::NotFound, Some(id));
    }
    table.line(r#"{"type":"response","id":"slow","result":{"entries":[],"more":false}}"#);
    assert_eq!(table.events(), [""; 0]);
    // It has had its end: another is somebody's business.
    table.error(ErrorCode::Timeout, Some("slow")).error(ErrorCode::Timeout, Some("new"));
    assert_eq!(table.events(), ["error timeout"]);
    let ended = table.conversation.take_result(&"new".parse().unwrap());
    assert!(matches!(ended, Some(Err(RequestError::Refused(_)))), "{ended:?}");
}

#[test]
fn what_was_given_up_is_not_remembered_for_ever() {
    let mut table = Table::open(0);
    for number in 0..100 {
        table.conversation.request(request(&format!("r{number}")));
        table.conversation.fail_request(RequestError::TimedOut);
    }
    table.error(ErrorCode::Timeout, Some("r99")).error(ErrorCode::Timeout, Some("r0"));
    assert_eq!(table.events(), ["error timeout"]);
}

#[test]
fn nothing_is_sent_before_the_welcome_and_all_of_it_after() {
    let mut table = Table::new(Introduction { window: 2, ..Introduction::default() });
    table.say("a").say("b").say("c").say("a");
    assert_eq!(table.frames(), Vec::<String>::new());
    table.conversation.connected();
    assert_eq!(table.frames(), ["hello None None"]);
    table.give(welcome(false, 0, None));
    assert_eq!(table.frames(), ["message a", "message b"], "the window is 2");
    table.accepted("a", 1).delta("a", 0, "x").done("a", Some(2), 1);
    assert_eq!(table.frames(), ["message c"]);
}

#[test]
fn a_cut_in_mid_answer() {
    let mut table = Table::open(0);
    table.say("a").say("b").frames();
    table.accepted("a", 1).delta("a", 0, "año ");
    assert_eq!(table.events(), ["accepted a 1", "delta a 0 año "]);
    assert_eq!(table.again(1), [r#"hello Some("secret") Some(1)"#]);
    // `a` too: a server that died would not answer it otherwise.
    assert_eq!(table.frames(), ["message a", "message b"]);
    table.delta("a", 0, "año nue").accepted("a", 1).accepted("b", 2).delta("a", 7, "vo").done("a", Some(3), 9);
    assert_eq!(table.events(), ["connected None", "delta a 4 nue", "accepted b 2", "delta a 7 vo", "done a Some(3)"]);
}

/// The message is sent again right behind `hello`, so the server tells its answer twice.
#[test]
fn an_answer_that_was_completed_meanwhile_is_told_once() {
    let mut table = Table::open(0);
    table.say("a").frames();
    table.accepted("a", 1).delta("a", 0, "ho").events();
    table.again(2);
    assert_eq!(table.frames(), ["message a"]);
    table.turn(2, "a", "assistant", "hola");
    assert_eq!(table.events(), ["connected None", "delta a 2 la", "done a Some(2)"]);
    table.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(table.events(), Vec::<String>::new());
    // The same id later is another matter.
    table.say("a");
    table.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(table.events(), ["accepted a 1", "delta a 0 hola", "done a Some(2)"]);
}

/// The message that was sent again and the end of its answer cross.
#[test]
fn an_answer_that_ends_before_the_repetition_arrives_is_told_once() {
    let mut table = Table::open(0);
    table.say("a").frames();
    table.accepted("a", 1).delta("a", 0, "ho").events();
    table.again(1);
    table.delta("a", 0, "ho");
    assert_eq!(table.frames(), ["message a"]);
    table.delta("a", 2, "la").done("a", Some(2), 4);
    table.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(table.events(), ["connected None", "delta a 2 la", "done a Some(2)"]);
}

/// Where two cores answered the same message, the slower one says that it gave up.
#[test]
fn what_else_is_said_of_an_answer_that_was_told_changes_nothing() {
    let mut table = Table::open(0);
    table.say("a").frames();
    table.accepted("a", 1).events();
    table.again(2);
    assert_eq!(table.frames(), ["message a"]);
    table.turn(2, "a", "assistant", "hola").error(ErrorCode::Unavailable, Some("a"));
    for _ in 0..2 {
        table.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    }
    assert_eq!(table.events(), ["connected None", "delta a 0 hola", "done a Some(2)"]);
}

#[test]
fn a_lost_accepted_is_made_good_by_the_replay_or_the_repetition() {
    let mut table = Table::open(0);
    table.say("a").say("b").frames();
    table.again(1);
    table.turn(1, "a", "user", "hola").accepted("a", 1).accepted("b", 2);
    assert_eq!(table.events(), ["connected None", "accepted a 1", "accepted b 2"]);
}

#[test]
fn a_server_that_lost_its_answer_begins_another_one() {
    for (pieces, chars, want) in [
        (vec![(0, "adiós")], 5, vec!["restarted a", "delta a 0 adiós", "done a Some(2)"]),
        (vec![(0, "ho"), (2, "y")], 3, vec!["restarted a", "delta a 0 hoy", "done a Some(2)"]),
        // The beginning of the lost one.
        (vec![(0, "ho")], 2, vec!["restarted a", "delta a 0 ho", "done a Some(2)"]),
        (vec![(0, "hol"), (3, "anda")], 7, vec!["delta a 4 nda", "done a Some(2)"]),
    ] {
        let mut table = Table::open(0);
        table.say("a").frames();
        table.accepted("a", 1).delta("a", 0, "hola").events();
        table.again(1);
        for (offset, text) in pieces {
            table.delta("a", offset, text);
        }
        table.done("a", Some(2), chars);
        assert_eq!(table.events()[1..], want);
    }
}

#[test]
fn a_gap_is_not_told_as_an_answer() {
    let gap = |table: &mut Table| matches!(table.next, Next::Reconnect { .. });
    let mut table = Table::open(0);
    table.say("a").frames();
    table.accepted("a", 1).delta("a", 0, "ho").delta("a", 3, "a");
    assert!(gap(&mut table));
    let mut table = Table::open(0);
    table.delta("x", 2, "medio");
    assert!(gap(&mut table));
    let mut table = Table::open(0);
    table.delta("x", 0, "ho").done("x", Some(1), 4);
    assert!(gap(&mut table));
    assert_eq!(table.conversation.held(), Some(0), "the resume replays it");
}

#[test]
fn other_devices() {
    let mut table = Table::open(4);
    table.turn(5, "x", "user", "hola").delta("x", 0, "ho").turn(5, "x", "user", "hola");
    assert_eq!(table.events(), ["turn 5", "delta x 0 ho"]);
    table.again(7);
    table.turn(6, "x", "assistant", "hola").turn(7, "y", "user", "qué tal");
    assert_eq!(table.events(), ["connected None", "delta x 2 la", "done x Some(6)", "turn 7"]);
    // Accepted of another device that is gone: its `turn` follows.
    table.accepted("z", 8).turn(8, "z", "user", "y?");
    assert_eq!(table.events(), ["turn 8"]);
}

#[test]
fn missed_entries_are_skipped_once_and_for_all() {
    let mut table = Table::new(Introduction {
        tokens: ResumeTokens::new(Some(UserText::new("secret")), Vec::new()),
        since: Some(10),
        window: 2,
        ..Introduction::default()
    });
    table.conversation.connected();
    assert_eq!(table.frames(), [r#"hello Some("secret") Some(10)"#]);
    table.give(welcome(true, 1_000, Some(490)));
    assert_eq!(table.conversation.held(), Some(500));
    table.turn(501, "x", "user", "hola");
    assert_eq!(table.events(), ["connected Some(490)", "turn 501"]);
    assert_eq!(table.again(1_000), [r#"hello Some("secret") Some(501)"#]);
    // A server restored from yesterday's backup.
    table.again(30);
    table.turn(31, "y", "user", "hola");
    assert!(table.events().contains(&"turn 31".to_owned()));
}

#[test]
fn refusals() {
    use ErrorCode::{BadFrame, NotFound, RateLimited, ShuttingDown, Unauthorized};
    let mut table = Table::open(0);
    table.say("a").say("b").say("c");
    table.conversation.stop("b".parse().unwrap()).unwrap();
    table.frames();
    table.error(RateLimited, Some("a")).error(NotFound, Some("b")).error(BadFrame, None);
    assert_eq!(table.events(), ["refused rate_limited", "error not_found", "error bad_frame"]);
    assert_eq!(table.frames(), ["message c"], "a place in the window is free");
    // The same id again is a message again.
    table.error(RateLimited, Some("b")).events();
    table.say("a");
    assert_eq!(table.frames(), ["message a"]);
    table.error(ShuttingDown, Some("a"));
    assert!(matches!(table.next, Next::Reconnect { .. }));
    table.again(0);
    assert_eq!(table.frames(), ["message c", "message a"]);
    table.error(Unauthorized, None);
    assert!(matches!(table.next, Next::Close(Closed::Refused { .. })));
}

#[test]
fn hello_is_refused_for_now_for_good_or_for_this_session() {
    use ErrorCode::{BadResume, Overloaded, TooManyConnections, Unavailable, VersionUnsupported};
    let mut table = Table::open(3);
    table.say("a").frames();
    table.accepted("a", 4).delta("a", 0, "hola").events();
    table.conversation.disconnected();
    table.conversation.connected();
    table.frames();
    for code in [Unavailable, Overloaded, TooManyConnections] {
        table.error(code, None);
        assert!(matches!(table.next, Next::Reconnect { .. }), "{code}");
    }
    table.error(VersionUnsupported, None);
    assert!(matches!(table.next, Next::Close(Closed::Refused { .. })));
    table.error(BadResume, None);
    assert!(matches!(table.next, Next::Close(Closed::BadResume { .. })));

    table.conversation.introduction.anew = true;
    table.error(BadResume, None);
    assert_eq!((table.next.clone(), table.frames()), (Next::Continue, vec!["hello None None".to_owned()]));
    table.give(welcome(false, 0, None));
    assert_eq!(table.frames(), ["message a"], "what has no answer goes to the new session");
    table.accepted("a", 1).delta("a", 0, "buenas");
    assert_eq!(table.events(), ["session_lost", "connected None", "accepted a 1", "restarted a", "delta a 0 buenas"]);
}

#[test]
fn a_token_the_server_does_not_know_is_kept_and_offered_again() {
    use ErrorCode::BadResume;
    let earlier = ["b", "c"].map(UserText::new).to_vec();
    let tokens = ResumeTokens::new(Some(UserText::new("a")), earlier);
    let mut table =
        Table::new(Introduction { tokens, since: Some(3), anew: true, window: 2, ..Introduction::default() });
    let welcome_as = |token: &str, resumed: bool| {
        let ServerFrame::Welcome(welcome) = welcome(resumed, 7, None) else { unreachable!() };
        ServerFrame::Welcome(Box::new(Welcome { resume: UserText::new(token), ..*welcome }))
    };
    // A server with the wrong database.
    table.conversation.connected();
    assert_eq!(table.frames(), [r#"hello Some("a") Some(3)"#]);
    for want in [r#"hello Some("b") None"#, r#"hello Some("c") None"#, "hello None None"] {
        table.error(BadResume, None);
        assert_eq!((table.next.clone(), table.frames()), (Next::Continue, vec![want.to_owned()]));
    }
    table.give(welcome_as("new", false));
    assert_eq!(table.events(), ["session_lost", "connected None"]);
    table.say("m").frames();
    // It is cut while it looks for a session of the right one: the next connection begins with the current token.
    for _ in 0..2 {
        table.conversation.disconnected();
        table.conversation.connected();
        assert_eq!(table.frames(), [r#"hello Some("new") Some(7)"#]);
        table.error(BadResume, None);
        assert_eq!(table.frames(), [r#"hello Some("a") None"#]);
    }
    table.give(welcome_as("a", true));
    assert_eq!(table.events(), ["earlier_session", "connected None"]);
    assert_eq!(table.frames(), ["message m"]);
    let earlier: Vec<_> = table.conversation.earlier_resume_tokens().iter().map(UserText::expose).collect();
    assert_eq!((table.conversation.resume_token().unwrap().expose(), earlier), ("a", vec!["new", "b", "c"]));
}

#[test]
fn what_is_refused_for_now_is_sent_again_when_the_server_says() {
    use ErrorCode::{Overloaded, RateLimited, Unavailable, UserBusy};
    for code in [Overloaded, RateLimited, Unavailable, UserBusy] {
        let mut table = Table::open(0);
        table.conversation.introduction.tries = 3;
        let id: MessageId = "a".parse().unwrap();
        table.say("a").frames();
        let error = ErrorFrame::new(code, Language::English).with_id(Some(id.clone()));
        let refuse = |table: &mut Table| {
            table.give(ServerFrame::Error(error.clone().with_retry_after(Duration::from_secs(2), Language::English)));
        };
        refuse(&mut table);
        assert_eq!(table.next, Next::Later { id: id.clone(), after: Duration::from_secs(2) });
        assert_eq!(
            (table.events(), table.frames(), table.conversation.open_messages()),
            (vec!["deferred".into()], vec![], 1)
        );
        // Neither another message nor a new connection waits for it, nor makes it go earlier.
        table.say("b");
        assert_eq!(table.frames(), ["message b"]);
        assert_eq!((table.again(0).len(), table.frames()), (1, vec!["message b".to_owned()]));
        table.conversation.release(&id);
        assert_eq!(table.frames(), ["message a"], "{code}");
        refuse(&mut table);
        // The last try.
        table.conversation.release(&id);
        table.frames();
        refuse(&mut table);
        assert_eq!((table.next.clone(), table.conversation.open_messages()), (Next::Continue, 1));
        assert_eq!(table.events().last().unwrap(), &format!("refused {code}"));
        table.conversation.release(&id);
        assert_eq!(table.frames(), Vec::<String>::new());
    }
}

#[test]
fn no_message_waits_for_another_and_what_has_no_room_goes_again_in_order() {
    use ErrorCode::UserBusy;
    let mut table = Table::open_with(MAX_MESSAGES, 0);
    table.say("a").say("b").say("c").say("d");
    assert_eq!(table.frames(), ["message a", "message b", "message c", "message d"]);
    table.error(UserBusy, Some("d")).error(UserBusy, Some("c"));
    assert_eq!((table.frames(), table.events()), (vec![], vec![]), "own messages are in their way");
    // A new one may say that somebody is in danger.
    table.say("e");
    assert_eq!(table.frames(), ["message e"]);
    table.accepted("a", 1).done("a", Some(2), 0);
    assert_eq!(table.frames(), Vec::<String>::new(), "two are with the server");
    table.accepted("e", 3).done("e", Some(4), 0);
    assert_eq!(table.frames(), ["message c"]);
    table.accepted("b", 5).done("b", Some(6), 0);
    assert_eq!(table.frames(), ["message d"]);
    // Refused once more with nothing in its way, it is the caller's.
    table.accepted("c", 7).done("c", Some(8), 0).events();
    table.error(UserBusy, Some("d"));
    assert_eq!(table.events(), ["refused user_busy"]);
}

#[test]
fn a_message_that_waits_for_its_time_can_be_taken_back() {
    let mut table = Table::open(0);
    table.conversation.introduction.tries = 3;
    table.say("a").frames();
    table.error(ErrorCode::Overloaded, Some("a"));
    table.conversation.stop("a".parse().unwrap()).unwrap();
    assert_eq!((table.frames(), table.conversation.open_messages()), (vec![], 0));
}

#[test]
fn an_answer_that_broke_off_and_is_begun_again_on_the_same_connection() {
    let mut table = Table::open(0);
    table.conversation.introduction.tries = 3;
    table.say("a").frames();
    table.accepted("a", 1).delta("a", 0, "hola, qu").error(ErrorCode::Unavailable, Some("a"));
    table.conversation.release(&"a".parse().unwrap());
    table.events();
    assert_eq!(table.frames(), ["message a"]);
    table.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(table.events(), ["restarted a", "delta a 0 hola", "done a Some(2)"]);
}

#[test]
fn a_message_to_a_session_that_is_gone_is_kept_for_the_next() {
    let mut table = Table::open(0);
    table.say("a").frames();
    table.error(ErrorCode::NotFound, Some("a"));
    assert!(matches!(table.next, Next::Reconnect { .. }), "{:?}", table.next);
    table.again(0);
    assert_eq!(table.frames(), ["message a"]);
    // A stop that came too late is no such thing.
    table.conversation.stop("a".parse().unwrap()).unwrap();
    table.error(ErrorCode::NotFound, Some("a"));
    assert_eq!((table.next.clone(), table.conversation.open_messages()), (Next::Continue, 1));
    // Nor is it tried for ever.
    let mut table = Table::open(0);
    table.say("a").frames();
    for _ in 0..2 {
        table.error(ErrorCode::NotFound, Some("a"));
        table.again(0);
        assert_eq!(table.frames(), ["message a"]);
    }
    table.error(ErrorCode::NotFound, Some("a"));
    assert_eq!((table.next.clone(), table.conversation.open_messages()), (Next::Continue, 0));
}

#[test]
fn draining_sends_nothing_new_and_waits_for_what_is_under_way() {
    let mut table = Table::open(0);
    table.say("a").frames();
    table.accepted("a", 1);
    table.give(ServerFrame::Notice { code: NoticeCode::Draining, text: None, reconnect_in_ms: Some(1_000) });
    assert_eq!(table.next, Next::Drain(Duration::from_secs(1)));
    table.say("b");
    assert_eq!(table.frames(), Vec::<String>::new());
    assert!(table.conversation.is_draining() && table.conversation.is_busy());
    table.delta("a", 0, "x").done("a", Some(2), 1);
    assert!(!table.conversation.is_busy());
    table.again(2);
    assert_eq!(table.frames(), ["message b"]);
}

#[test]
fn stops() {
    let mut table = Table::open(0);
    table.say("a").say("b").say("c").frames();
    let stop = |table: &mut Table, id: &str| table.conversation.stop(id.parse().unwrap()).unwrap();
    stop(&mut table, "c");
    assert_eq!((table.frames(), table.conversation.open_messages()), (vec![], 2), "no one had seen it");
    stop(&mut table, "a");
    table.again(0);
    assert_eq!(table.frames(), ["message a", "message b", "stop a"], "it has to be known to be stopped");
    // Stopped while it waited: nothing is stored.
    table.accepted("a", 1).done("a", None, 0);
    assert_eq!(table.events(), ["connected None", "accepted a 1", "done a None"]);
}

#[test]
fn limits() {
    let mut table = Table::open(0);
    let send = |table: &mut Table, id: usize, text: &str| {
        table.conversation.send(format!("m{id}").parse().unwrap(), UserText::new(text))
    };
    for text in ["", " \n", "a\0b"] {
        assert_eq!(send(&mut table, 0, text), Err(SendError::NoText), "{text:?}");
    }
    assert_eq!(send(&mut table, 0, &"ñ".repeat(8_001)), Err(SendError::TooLong { max: 8_000 }));
    (0..64).for_each(|id| assert_eq!(send(&mut table, id, &"ñ".repeat(8_000)), Ok(())));
    assert_eq!(send(&mut table, 64, "x"), Err(SendError::Full));
    // Whatever a server makes up, only a few texts are kept.
    for id in 0..100 {
        table.delta(&format!("x{id}"), 0, "x");
    }
    assert!(table.conversation.answers.len() <= 8);
}

#[test]
fn debug_shows_no_text() {
    let mut table = Table::open(0);
    table.conversation.send("a".parse().unwrap(), UserText::new("planted")).unwrap();
    table.turn(1, "x", "user", "planted").delta("y", 0, "planted");
    let event = table.conversation.events.clone();
    let shown = format!("{:?} {event:?}", table.conversation);
    assert!(!shown.contains("planted") && !shown.contains("secret"), "{shown}");
}
