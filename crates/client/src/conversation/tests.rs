mod matches_model;

use protocol::server_frame::{ErrorFrame, NoticeCode};
use protocol::{ErrorCode, Language};
use serde_json::Map;

use super::model::{Model, accepted, welcome};
use super::*;
use crate::event::Closed;

/// Conversation whose frames and events are compared as short strings.
struct Fixture {
    conversation: Conversation,
    action: Action,
}

impl Fixture {
    fn new(options: SessionOptions) -> Self {
        Self { conversation: Conversation::new(options), action: Action::Continue }
    }

    /// Opens a session with `seq` entries delivered.
    fn open(seq: u64) -> Self {
        Self::open_with(2, seq)
    }

    fn open_with(window: usize, seq: u64) -> Self {
        let mut fixture = Self::new(SessionOptions { window, ..SessionOptions::default() });
        fixture.conversation.connected();
        fixture.frames();
        fixture.receive(welcome(false, seq, None));
        fixture.events();
        fixture
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

    fn receive(&mut self, frame: ServerFrame) {
        self.action = self.conversation.on_frame(frame);
    }

    /// Receives a frame in wire format.
    fn receive_line(&mut self, line: &str) -> &mut Self {
        self.receive(serde_json::from_str(line).unwrap());
        self
    }

    fn delta(&mut self, id: &str, offset: usize, text: &str) -> &mut Self {
        self.receive(ServerFrame::Delta { id: id.parse().unwrap(), offset, text: UserText::new(text), exercise: None });
        self
    }

    fn accepted(&mut self, id: &str, seq: u64) -> &mut Self {
        self.receive(model::accepted(&id.parse().unwrap(), seq));
        self
    }

    fn turn(&mut self, seq: u64, id: &str, role: &str, text: &str) -> &mut Self {
        let at = "2026-11-22T10:00:00.000Z";
        self.receive_line(&format!(
            r#"{{"type":"turn","seq":{seq},"id":"{id}","role":"{role}","text":"{text}","at":"{at}","finish":"stop","source":"llm"}}"#
        ))
    }

    fn done(&mut self, id: &str, seq: Option<u64>, chars: usize) -> &mut Self {
        let seq = seq.map(|seq| format!(r#""seq":{seq},"#)).unwrap_or_default();
        self.receive_line(&format!(
            r#"{{"type":"done","id":"{id}",{seq}"finish":"stop","source":"llm","chars":{chars},"ms":{{"queue":0,"first":0,"total":0}}}}"#
        ))
    }

    fn error(&mut self, code: ErrorCode, id: Option<&str>) -> &mut Self {
        let id = id.map(|id| id.parse().unwrap());
        self.receive(ServerFrame::Error(ErrorFrame::new(code, Language::English).with_id(id)));
        self
    }

    fn send(&mut self, id: &str) -> &mut Self {
        self.conversation.send(id.parse().unwrap(), UserText::new("hola")).unwrap();
        self
    }

    /// Reconnects up to `welcome`; returns the frames written before it.
    fn reconnect(&mut self, seq: u64) -> Vec<String> {
        self.conversation.disconnected();
        self.conversation.connected();
        let hello = self.frames();
        self.receive(welcome(true, seq, None));
        hello
    }
}

#[test]
fn sends_and_receives_one_turn() {
    let mut fixture = Fixture::open(0);
    fixture.send("a");
    assert_eq!(fixture.frames(), ["message a"]);
    fixture.accepted("a", 1).delta("a", 0, "ho").delta("a", 2, "la").done("a", Some(2), 4);
    assert_eq!(fixture.events(), ["accepted a 1", "delta a 0 hola", "done a Some(2)"]);
    assert_eq!((fixture.conversation.last_seq(), fixture.conversation.open_messages()), (Some(2), 0));
}

/// Request `id` for the history.
fn request(id: &str) -> Request {
    let timeout = Duration::from_secs(5);
    Request { id: id.parse().unwrap(), method: "history".to_owned(), params: Map::new(), timeout }
}

#[test]
fn drops_late_responses_to_abandoned_requests() {
    let mut fixture = Fixture::open(0);
    fixture.conversation.request(request("slow"));
    fixture.conversation.fail_request(RequestError::TimedOut);
    assert_eq!(fixture.conversation.take_result(&"slow".parse().unwrap()), Some(Err(RequestError::TimedOut)));
    // The caller dropped the future.
    fixture.conversation.request(request("dropped"));
    fixture.conversation.request(request("new"));
    for id in ["slow", "dropped"] {
        fixture.error(ErrorCode::NotFound, Some(id));
    }
    fixture.receive_line(r#"{"type":"response","id":"slow","result":{"entries":[],"more":false}}"#);
    assert_eq!(fixture.events(), [""; 0]);
    // The first terminal frame was consumed: a second one is reported.
    fixture.error(ErrorCode::Timeout, Some("slow")).error(ErrorCode::Timeout, Some("new"));
    assert_eq!(fixture.events(), ["error timeout"]);
    let ended = fixture.conversation.take_result(&"new".parse().unwrap());
    assert!(matches!(ended, Some(Err(RequestError::Refused(_)))), "{ended:?}");
}

#[test]
fn bounds_abandoned_requests() {
    let mut fixture = Fixture::open(0);
    for number in 0..100 {
        fixture.conversation.request(request(&format!("r{number}")));
        fixture.conversation.fail_request(RequestError::TimedOut);
    }
    fixture.error(ErrorCode::Timeout, Some("r99")).error(ErrorCode::Timeout, Some("r0"));
    assert_eq!(fixture.events(), ["error timeout"]);
}

#[test]
fn holds_messages_until_welcome_and_respects_window() {
    let mut fixture = Fixture::new(SessionOptions { window: 2, ..SessionOptions::default() });
    fixture.send("a").send("b").send("c").send("a");
    assert_eq!(fixture.frames(), Vec::<String>::new());
    fixture.conversation.connected();
    assert_eq!(fixture.frames(), ["hello None None"]);
    fixture.receive(welcome(false, 0, None));
    assert_eq!(fixture.frames(), ["message a", "message b"], "the window is 2");
    fixture.accepted("a", 1).delta("a", 0, "x").done("a", Some(2), 1);
    assert_eq!(fixture.frames(), ["message c"]);
}

#[test]
fn resumes_answer_after_disconnect() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").send("b").frames();
    fixture.accepted("a", 1).delta("a", 0, "año ");
    assert_eq!(fixture.events(), ["accepted a 1", "delta a 0 año "]);
    assert_eq!(fixture.reconnect(1), [r#"hello Some("secret") Some(1)"#]);
    // `a` is resent although accepted: a restarted server answers only on a resend.
    assert_eq!(fixture.frames(), ["message a", "message b"]);
    fixture.delta("a", 0, "año nue").accepted("a", 1).accepted("b", 2).delta("a", 7, "vo").done("a", Some(3), 9);
    assert_eq!(fixture.events(), ["connected None", "delta a 4 nue", "accepted b 2", "delta a 7 vo", "done a Some(3)"]);
}

/// The resend follows `hello` directly, so the server sends the answer twice.
#[test]
fn delivers_answer_completed_offline_once() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.accepted("a", 1).delta("a", 0, "ho").events();
    fixture.reconnect(2);
    assert_eq!(fixture.frames(), ["message a"]);
    fixture.turn(2, "a", "assistant", "hola");
    assert_eq!(fixture.events(), ["connected None", "delta a 2 la", "done a Some(2)"]);
    fixture.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(fixture.events(), Vec::<String>::new());
    // An explicit resend later re-delivers.
    fixture.send("a");
    fixture.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(fixture.events(), ["accepted a 1", "delta a 0 hola", "done a Some(2)"]);
}

/// The resend and the end of the answer cross on the wire.
#[test]
fn delivers_answer_once_when_it_ends_before_the_resend() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.accepted("a", 1).delta("a", 0, "ho").events();
    fixture.reconnect(1);
    fixture.delta("a", 0, "ho");
    assert_eq!(fixture.frames(), ["message a"]);
    fixture.delta("a", 2, "la").done("a", Some(2), 4);
    fixture.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(fixture.events(), ["connected None", "delta a 2 la", "done a Some(2)"]);
}

/// Two cores answer one message, and the slower one reports an error.
#[test]
fn ignores_frames_about_delivered_answers() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.accepted("a", 1).events();
    fixture.reconnect(2);
    assert_eq!(fixture.frames(), ["message a"]);
    fixture.turn(2, "a", "assistant", "hola").error(ErrorCode::Unavailable, Some("a"));
    for _ in 0..2 {
        fixture.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    }
    assert_eq!(fixture.events(), ["connected None", "delta a 0 hola", "done a Some(2)"]);
}

#[test]
fn recovers_lost_accepted_from_replay_or_resend() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").send("b").frames();
    fixture.reconnect(1);
    fixture.turn(1, "a", "user", "hola").accepted("a", 1).accepted("b", 2);
    assert_eq!(fixture.events(), ["connected None", "accepted a 1", "accepted b 2"]);
}

#[test]
fn restarts_when_server_generates_another_answer() {
    for (pieces, chars, want) in [
        (vec![(0, "adiós")], 5, vec!["restarted a", "delta a 0 adiós", "done a Some(2)"]),
        (vec![(0, "ho"), (2, "y")], 3, vec!["restarted a", "delta a 0 hoy", "done a Some(2)"]),
        // A prefix of the lost answer.
        (vec![(0, "ho")], 2, vec!["restarted a", "delta a 0 ho", "done a Some(2)"]),
        (vec![(0, "hol"), (3, "anda")], 7, vec!["delta a 4 nda", "done a Some(2)"]),
    ] {
        let mut fixture = Fixture::open(0);
        fixture.send("a").frames();
        fixture.accepted("a", 1).delta("a", 0, "hola").events();
        fixture.reconnect(1);
        for (offset, text) in pieces {
            fixture.delta("a", offset, text);
        }
        fixture.done("a", Some(2), chars);
        assert_eq!(fixture.events()[1..], want);
    }
}

#[test]
fn reconnects_on_a_gap() {
    let gap = |fixture: &mut Fixture| matches!(fixture.action, Action::Reconnect { .. });
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.accepted("a", 1).delta("a", 0, "ho").delta("a", 3, "a");
    assert!(gap(&mut fixture));
    let mut fixture = Fixture::open(0);
    fixture.delta("x", 2, "medio");
    assert!(gap(&mut fixture));
    let mut fixture = Fixture::open(0);
    fixture.delta("x", 0, "ho").done("x", Some(1), 4);
    assert!(gap(&mut fixture));
    assert_eq!(fixture.conversation.last_seq(), Some(0), "the resume replays it");
}

#[test]
fn delivers_turns_of_other_devices_once() {
    let mut fixture = Fixture::open(4);
    fixture.turn(5, "x", "user", "hola").delta("x", 0, "ho").turn(5, "x", "user", "hola");
    assert_eq!(fixture.events(), ["turn 5", "delta x 0 ho"]);
    fixture.reconnect(7);
    fixture.turn(6, "x", "assistant", "hola").turn(7, "y", "user", "qué tal");
    assert_eq!(fixture.events(), ["connected None", "delta x 2 la", "done x Some(6)", "turn 7"]);
    // `accepted` of a disconnected device is followed by its `turn`.
    fixture.accepted("z", 8).turn(8, "z", "user", "y?");
    assert_eq!(fixture.events(), ["turn 8"]);
}

#[test]
fn skips_missed_entries_for_good() {
    let mut fixture = Fixture::new(SessionOptions {
        tokens: ResumeTokens::new(Some(UserText::new("secret")), Vec::new()),
        since: Some(10),
        window: 2,
        ..SessionOptions::default()
    });
    fixture.conversation.connected();
    assert_eq!(fixture.frames(), [r#"hello Some("secret") Some(10)"#]);
    fixture.receive(welcome(true, 1_000, Some(490)));
    assert_eq!(fixture.conversation.last_seq(), Some(500));
    fixture.turn(501, "x", "user", "hola");
    assert_eq!(fixture.events(), ["connected Some(490)", "turn 501"]);
    assert_eq!(fixture.reconnect(1_000), [r#"hello Some("secret") Some(501)"#]);
    // The server was restored from a backup.
    fixture.reconnect(30);
    fixture.turn(31, "y", "user", "hola");
    assert!(fixture.events().contains(&"turn 31".to_owned()));
}

#[test]
fn refusals_free_the_window_and_allow_the_same_id() {
    use ErrorCode::{BadFrame, NotFound, RateLimited, ShuttingDown, Unauthorized};
    let mut fixture = Fixture::open(0);
    fixture.send("a").send("b").send("c");
    fixture.conversation.stop("b".parse().unwrap()).unwrap();
    fixture.frames();
    fixture.error(RateLimited, Some("a")).error(NotFound, Some("b")).error(BadFrame, None);
    assert_eq!(fixture.events(), ["refused rate_limited", "error not_found", "error bad_frame"]);
    assert_eq!(fixture.frames(), ["message c"], "a place in the window is free");
    // The same id may be sent again after a refusal.
    fixture.error(RateLimited, Some("b")).events();
    fixture.send("a");
    assert_eq!(fixture.frames(), ["message a"]);
    fixture.error(ShuttingDown, Some("a"));
    assert!(matches!(fixture.action, Action::Reconnect { .. }));
    fixture.reconnect(0);
    assert_eq!(fixture.frames(), ["message c", "message a"]);
    fixture.error(Unauthorized, None);
    assert!(matches!(fixture.action, Action::Close(Closed::Refused { .. })));
}

#[test]
fn classifies_hello_errors() {
    use ErrorCode::{BadResume, Overloaded, TooManyConnections, Unavailable, VersionUnsupported};
    let mut fixture = Fixture::open(3);
    fixture.send("a").frames();
    fixture.accepted("a", 4).delta("a", 0, "hola").events();
    fixture.conversation.disconnected();
    fixture.conversation.connected();
    fixture.frames();
    for code in [Unavailable, Overloaded, TooManyConnections] {
        fixture.error(code, None);
        assert!(matches!(fixture.action, Action::Reconnect { .. }), "{code}");
    }
    fixture.error(VersionUnsupported, None);
    assert!(matches!(fixture.action, Action::Close(Closed::Refused { .. })));
    fixture.error(BadResume, None);
    assert!(matches!(fixture.action, Action::Close(Closed::BadResume { .. })));

    fixture.conversation.options.allow_new_session = true;
    fixture.error(BadResume, None);
    assert_eq!((fixture.action.clone(), fixture.frames()), (Action::Continue, vec!["hello None None".to_owned()]));
    fixture.receive(welcome(false, 0, None));
    assert_eq!(fixture.frames(), ["message a"], "what has no answer goes to the new session");
    fixture.accepted("a", 1).delta("a", 0, "buenas");
    assert_eq!(fixture.events(), ["session_lost", "connected None", "accepted a 1", "restarted a", "delta a 0 buenas"]);
}

#[test]
fn keeps_and_retries_unknown_tokens() {
    use ErrorCode::BadResume;
    let earlier = ["b", "c"].map(UserText::new).to_vec();
    let tokens = ResumeTokens::new(Some(UserText::new("a")), earlier);
    let mut fixture = Fixture::new(SessionOptions {
        tokens,
        since: Some(3),
        allow_new_session: true,
        window: 2,
        ..SessionOptions::default()
    });
    let welcome_as = |token: &str, resumed: bool| {
        let ServerFrame::Welcome(welcome) = welcome(resumed, 7, None) else { unreachable!() };
        ServerFrame::Welcome(Box::new(Welcome { resume: UserText::new(token), ..*welcome }))
    };
    // A server with another database.
    fixture.conversation.connected();
    assert_eq!(fixture.frames(), [r#"hello Some("a") Some(3)"#]);
    for want in [r#"hello Some("b") None"#, r#"hello Some("c") None"#, "hello None None"] {
        fixture.error(BadResume, None);
        assert_eq!((fixture.action.clone(), fixture.frames()), (Action::Continue, vec![want.to_owned()]));
    }
    fixture.receive(welcome_as("new", false));
    assert_eq!(fixture.events(), ["session_lost", "connected None"]);
    fixture.send("m").frames();
    // Disconnected while offering earlier tokens: the next connection starts with the current one.
    for _ in 0..2 {
        fixture.conversation.disconnected();
        fixture.conversation.connected();
        assert_eq!(fixture.frames(), [r#"hello Some("new") Some(7)"#]);
        fixture.error(BadResume, None);
        assert_eq!(fixture.frames(), [r#"hello Some("a") None"#]);
    }
    fixture.receive(welcome_as("a", true));
    assert_eq!(fixture.events(), ["earlier_session", "connected None"]);
    assert_eq!(fixture.frames(), ["message m"]);
    let earlier: Vec<_> = fixture.conversation.earlier_resume_tokens().iter().map(UserText::expose).collect();
    assert_eq!((fixture.conversation.resume_token().unwrap().expose(), earlier), ("a", vec!["new", "b", "c"]));
}

#[test]
fn retries_deferred_messages_after_server_delay() {
    use ErrorCode::{Overloaded, RateLimited, Unavailable, UserBusy};
    for code in [Overloaded, RateLimited, Unavailable, UserBusy] {
        let mut fixture = Fixture::open(0);
        fixture.conversation.options.send_attempts = 3;
        let id: MessageId = "a".parse().unwrap();
        fixture.send("a").frames();
        let error = ErrorFrame::new(code, Language::English).with_id(Some(id.clone()));
        let refuse = |fixture: &mut Fixture| {
            fixture
                .receive(ServerFrame::Error(error.clone().with_retry_after(Duration::from_secs(2), Language::English)));
        };
        refuse(&mut fixture);
        assert_eq!(fixture.action, Action::Retry { id: id.clone(), after: Duration::from_secs(2) });
        assert_eq!(
            (fixture.events(), fixture.frames(), fixture.conversation.open_messages()),
            (vec!["deferred".into()], vec![], 1)
        );
        // Neither another message nor a reconnect waits for it or sends it earlier.
        fixture.send("b");
        assert_eq!(fixture.frames(), ["message b"]);
        assert_eq!((fixture.reconnect(0).len(), fixture.frames()), (1, vec!["message b".to_owned()]));
        fixture.conversation.release(&id);
        assert_eq!(fixture.frames(), ["message a"], "{code}");
        refuse(&mut fixture);
        // The last attempt.
        fixture.conversation.release(&id);
        fixture.frames();
        refuse(&mut fixture);
        assert_eq!((fixture.action.clone(), fixture.conversation.open_messages()), (Action::Continue, 1));
        assert_eq!(fixture.events().last().unwrap(), &format!("refused {code}"));
        fixture.conversation.release(&id);
        assert_eq!(fixture.frames(), Vec::<String>::new());
    }
}

#[test]
fn retries_busy_messages_in_order_without_delaying_new_ones() {
    use ErrorCode::UserBusy;
    let mut fixture = Fixture::open_with(MAX_MESSAGES, 0);
    fixture.send("a").send("b").send("c").send("d");
    assert_eq!(fixture.frames(), ["message a", "message b", "message c", "message d"]);
    fixture.error(UserBusy, Some("d")).error(UserBusy, Some("c"));
    assert_eq!((fixture.frames(), fixture.events()), (vec![], vec![]), "own messages are in their way");
    // A new message may report danger: it is not queued behind retries.
    fixture.send("e");
    assert_eq!(fixture.frames(), ["message e"]);
    fixture.accepted("a", 1).done("a", Some(2), 0);
    assert_eq!(fixture.frames(), Vec::<String>::new(), "two are with the server");
    fixture.accepted("e", 3).done("e", Some(4), 0);
    assert_eq!(fixture.frames(), ["message c"]);
    fixture.accepted("b", 5).done("b", Some(6), 0);
    assert_eq!(fixture.frames(), ["message d"]);
    // Refused again with nothing in flight: the refusal goes to the caller.
    fixture.accepted("c", 7).done("c", Some(8), 0).events();
    fixture.error(UserBusy, Some("d"));
    assert_eq!(fixture.events(), ["refused user_busy"]);
}

#[test]
fn withdraws_deferred_message() {
    let mut fixture = Fixture::open(0);
    fixture.conversation.options.send_attempts = 3;
    fixture.send("a").frames();
    fixture.error(ErrorCode::Overloaded, Some("a"));
    fixture.conversation.stop("a".parse().unwrap()).unwrap();
    assert_eq!((fixture.frames(), fixture.conversation.open_messages()), (vec![], 0));
}

#[test]
fn restarts_failed_answer_on_the_same_connection() {
    let mut fixture = Fixture::open(0);
    fixture.conversation.options.send_attempts = 3;
    fixture.send("a").frames();
    fixture.accepted("a", 1).delta("a", 0, "hola, qu").error(ErrorCode::Unavailable, Some("a"));
    fixture.conversation.release(&"a".parse().unwrap());
    fixture.events();
    assert_eq!(fixture.frames(), ["message a"]);
    fixture.accepted("a", 1).delta("a", 0, "hola").done("a", Some(2), 4);
    assert_eq!(fixture.events(), ["restarted a", "delta a 0 hola", "done a Some(2)"]);
}

#[test]
fn resends_messages_of_a_lost_session_a_bounded_number_of_times() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.error(ErrorCode::NotFound, Some("a"));
    assert!(matches!(fixture.action, Action::Reconnect { .. }), "{:?}", fixture.action);
    fixture.reconnect(0);
    assert_eq!(fixture.frames(), ["message a"]);
    // After a stop, `not_found` means that the stop was too late.
    fixture.conversation.stop("a".parse().unwrap()).unwrap();
    fixture.error(ErrorCode::NotFound, Some("a"));
    assert_eq!((fixture.action.clone(), fixture.conversation.open_messages()), (Action::Continue, 1));
    // Attempts are bounded.
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    for _ in 0..2 {
        fixture.error(ErrorCode::NotFound, Some("a"));
        fixture.reconnect(0);
        assert_eq!(fixture.frames(), ["message a"]);
    }
    fixture.error(ErrorCode::NotFound, Some("a"));
    assert_eq!((fixture.action.clone(), fixture.conversation.open_messages()), (Action::Continue, 0));
}

#[test]
fn draining_sends_nothing_new_and_finishes_pending_answers() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.accepted("a", 1);
    fixture.receive(ServerFrame::Notice { code: NoticeCode::Draining, text: None, reconnect_in_ms: Some(1_000) });
    assert_eq!(fixture.action, Action::Drain(Duration::from_secs(1)));
    fixture.send("b");
    assert_eq!(fixture.frames(), Vec::<String>::new());
    assert!(fixture.conversation.is_draining() && fixture.conversation.is_busy());
    fixture.delta("a", 0, "x").done("a", Some(2), 1);
    assert!(!fixture.conversation.is_busy());
    fixture.reconnect(2);
    assert_eq!(fixture.frames(), ["message b"]);
}

#[test]
fn stop_withdraws_or_cancels() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").send("b").send("c").frames();
    let stop = |fixture: &mut Fixture, id: &str| fixture.conversation.stop(id.parse().unwrap()).unwrap();
    stop(&mut fixture, "c");
    assert_eq!((fixture.frames(), fixture.conversation.open_messages()), (vec![], 2), "no one had seen it");
    stop(&mut fixture, "a");
    fixture.reconnect(0);
    assert_eq!(fixture.frames(), ["message a", "message b", "stop a"], "it has to be known to be stopped");
    // Stopped in the queue: no answer is stored.
    fixture.accepted("a", 1).done("a", None, 0);
    assert_eq!(fixture.events(), ["connected None", "accepted a 1", "done a None"]);
}

#[test]
fn rejects_messages_beyond_limits() {
    let mut fixture = Fixture::open(0);
    let send = |fixture: &mut Fixture, id: usize, text: &str| {
        fixture.conversation.send(format!("m{id}").parse().unwrap(), UserText::new(text))
    };
    for text in ["", " \n", "a\0b"] {
        assert_eq!(send(&mut fixture, 0, text), Err(SendError::NoText), "{text:?}");
    }
    assert_eq!(send(&mut fixture, 0, &"ñ".repeat(8_001)), Err(SendError::TooLong { max: 8_000 }));
    (0..64).for_each(|id| assert_eq!(send(&mut fixture, id, &"ñ".repeat(8_000)), Ok(())));
    assert_eq!(send(&mut fixture, 64, "x"), Err(SendError::Full));
    // A misbehaving server cannot grow the list of partial answers.
    for id in 0..100 {
        fixture.delta(&format!("x{id}"), 0, "x");
    }
    assert!(fixture.conversation.answers.len() <= 8);
}

#[test]
fn debug_omits_texts() {
    let mut fixture = Fixture::open(0);
    fixture.conversation.send("a".parse().unwrap(), UserText::new("planted")).unwrap();
    fixture.turn(1, "x", "user", "planted").delta("y", 0, "planted");
    let event = fixture.conversation.events.clone();
    let shown = format!("{:?} {event:?}", fixture.conversation);
    assert!(!shown.contains("planted") && !shown.contains("secret"), "{shown}");
}

#[test]
fn forgotten_message_ends_without_an_answer() {
    let mut fixture = Fixture::open(0);
    fixture.send("a").frames();
    fixture.receive(accepted(&"a".parse().unwrap(), 1));
    fixture.receive_line(r#"{"type":"delta","id":"a","offset":0,"text":"ho"}"#);
    fixture.events();
    let forgotten = r#"{"type":"forgotten","seq":2,"id":"a","from_seq":1}"#;
    fixture.receive_line(forgotten);
    assert_eq!((fixture.events(), fixture.conversation.open_messages()), (vec!["forgotten".to_owned()], 0));
    assert_eq!(fixture.conversation.last_seq(), Some(2));
    fixture.receive_line(forgotten);
    assert_eq!(fixture.events(), [""; 0], "once");
    // A message that another device has forgotten before it was sent again.
    fixture.send("b").frames();
    fixture.receive_line(r#"{"type":"forgotten","seq":2,"id":"b","from_seq":1}"#);
    assert_eq!((fixture.events(), fixture.conversation.open_messages()), (vec!["forgotten".to_owned()], 0));
}

#[test]
fn request_that_means_the_last_message_is_not_sent_twice() {
    let mut fixture = Fixture::open(0);
    let forget = |id: &str| Request { method: FORGET_LAST.to_owned(), ..request(id) };
    fixture.conversation.request(forget("f"));
    assert_eq!(fixture.frames(), ["request forget_last"]);
    fixture.conversation.disconnected();
    assert_eq!(fixture.conversation.take_result(&"f".parse().unwrap()), Some(Err(RequestError::TimedOut)));
    fixture.conversation.connected();
    fixture.receive(welcome(true, 0, None));
    assert!(!fixture.frames().contains(&"request forget_last".to_owned()));
    fixture.events();
    // Its own response stands for the frame that other devices get.
    fixture.conversation.request(forget("g"));
    fixture.receive_line(r#"{"type":"response","id":"g","result":{"erased":2,"seq":3,"id":"a"}}"#);
    assert_eq!((fixture.events(), fixture.conversation.last_seq()), (vec!["forgotten".to_owned()], Some(3)));
}
