//! Property test of the rate limits: random clients, counted model calls.

use std::collections::HashMap;
use std::time::Duration;

use e2e::in_process_stack::Core;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::clock::{self, FrozenClock};
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Fallback, Hang, LlmStandin, Options, Request};
use testkit::peer::Peer as _;
use tokio::io::DuplexStream;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);
/// Limits per user and per address within the window.
const PERSON: usize = 3;
const ADDRESS: usize = 6;
/// Number of clients, all of one address.
const CLIENTS: usize = 4;
/// Tolerance between counting a message and its call: the clock moves in steps.
const SKEW: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
enum Step {
    /// Sends a message, possibly under a used id.
    Say(usize, u8),
    /// Sends a message in risk, which is exempt from limits.
    SayInRisk(usize, u8),
    /// Stops a message, which may not exist.
    Stop(usize, u8),
    /// Sends a message and stops it at once.
    SayAndStop(usize, u8),
    /// All clients send a message at once.
    Burst(u8),
    /// Drops the connection and resumes the session after seconds.
    Resume(usize, u64),
    /// Opens a second connection to the session and uses it from then on; the first stays open.
    Second(usize),
    /// Opens a new session on a new connection.
    New(usize),
    /// Advances the clock by seconds.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (client, id) = (0..CLIENTS, 0..4u8);
    let step = prop_oneof![
        4 => (client.clone(), id.clone()).prop_map(|(client, id)| Step::Say(client, id)),
        2 => (client.clone(), id.clone()).prop_map(|(client, id)| Step::SayInRisk(client, id)),
        3 => (client.clone(), id.clone()).prop_map(|(client, id)| Step::Stop(client, id)),
        6 => (client.clone(), id.clone()).prop_map(|(client, id)| Step::SayAndStop(client, id)),
        2 => id.prop_map(Step::Burst),
        2 => (client.clone(), 0..4u64).prop_map(|(client, seconds)| Step::Resume(client, seconds)),
        1 => client.clone().prop_map(Step::Second),
        1 => client.prop_map(Step::New),
        2 => (1..40u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 30..80)
}

struct Client {
    /// The last one is used; earlier ones stay open.
    connections: Vec<LinePeer<DuplexStream>>,
    /// Resume token.
    token: Value,
    /// Prefix of the session's messages.
    session: String,
}

struct Fixture {
    core: Core,
    standin: LlmStandin,
    clients: Vec<Client>,
    sessions: usize,
    accepted: usize,
    _frozen: FrozenClock,
}

impl Fixture {
    async fn open(settings: &[(&str, &str)], fallback: Fallback) -> Self {
        let frozen = FrozenClock::freeze();
        let standin = LlmStandin::start(Options { fallback, ..Options::default() }).await.unwrap();
        let (url, address) = (standin.url(), (ADDRESS / PERSON).to_string());
        let (person, window) = (PERSON.to_string(), WINDOW.as_secs().to_string());
        let own = [
            ("LLM_URL", url.as_str()),
            ("LLM_MAX_RETRIES", "1"),
            ("LLM_SUMMARY", "off"),
            ("RATE_MAX_MESSAGES", person.as_str()),
            ("RATE_ADDRESS_FACTOR", address.as_str()),
            ("RATE_WINDOW_SECONDS", window.as_str()),
            ("ORPHAN_SECONDS", "0"),
            ("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000"),
        ];
        let core = Core::start(own.into_iter().chain(settings.iter().copied())).await;
        let mut fixture = Self { core, standin, clients: Vec::new(), sessions: 0, accepted: 0, _frozen: frozen };
        for _ in 0..CLIENTS {
            let client = fixture.arrive().await;
            fixture.clients.push(client);
        }
        fixture
    }

    async fn arrive(&mut self) -> Client {
        self.sessions += 1;
        let mut connection = self.core.connect();
        let token = hello(&mut connection, json!({"type": "hello", "v": 1})).await;
        Client { connections: vec![connection], token, session: format!("s{}.", self.sessions) }
    }

    async fn resume(&self, client: usize) -> LinePeer<DuplexStream> {
        let mut connection = self.core.connect();
        let token = &self.clients[client].token;
        hello(&mut connection, json!({"type": "hello", "v": 1, "resume": token})).await;
        connection
    }

    /// Sends a frame, unless the connection is closed.
    async fn send(&mut self, client: usize, frame: Value) {
        if let Some(connection) = self.clients[client].connections.last_mut() {
            let _ = connection.send_line(&frame.to_string()).await;
        }
    }

    async fn say(&mut self, client: usize, id: u8) {
        let text = self.clients[client].session.clone();
        self.send(client, json!({"type": "message", "id": id.to_string(), "text": text})).await;
    }

    async fn stop(&mut self, client: usize, id: u8) {
        self.send(client, json!({"type": "stop", "id": id.to_string()})).await;
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Say(client, id) => self.say(client, id).await,
            Step::SayInRisk(client, id) => {
                let text = format!("{} quiero morirme", self.clients[client].session);
                self.send(client, json!({"type": "message", "id": id.to_string(), "text": text})).await;
            }
            Step::Stop(client, id) => self.stop(client, id).await,
            Step::SayAndStop(client, id) => {
                self.say(client, id).await;
                clock::settle().await;
                self.stop(client, id).await;
            }
            Step::Burst(id) => {
                for client in 0..CLIENTS {
                    self.say(client, id).await;
                }
            }
            Step::Resume(client, seconds) => {
                self.clients[client].connections.clear();
                clock::advance(Duration::from_secs(seconds)).await;
                let connection = self.resume(client).await;
                self.clients[client].connections.push(connection);
            }
            Step::Second(client) => {
                let connection = self.resume(client).await;
                self.clients[client].connections.push(connection);
            }
            Step::New(client) => self.clients[client] = self.arrive().await,
            Step::Wait(seconds) => clock::advance(Duration::from_secs(seconds)).await,
        }
        clock::settle().await;
        self.read_all();
    }

    /// Drains received frames, so that no write of the core blocks.
    fn read_all(&mut self) {
        for connection in self.clients.iter_mut().flat_map(|client| &mut client.connections) {
            while let Some(Ok(Some(line))) = connection.next_line().now_or_never() {
                let frame: Value = serde_json::from_str(&line).unwrap();
                self.accepted += usize::from(frame["type"] == "accepted");
                if frame["type"] == "error" && frame["code"] != "not_found" {
                    let retry_after = frame["retry_after_ms"].as_u64();
                    assert!(retry_after.is_some_and(|after| 0 < after), "{frame}");
                }
            }
        }
    }

    /// Times of model calls by session.
    fn calls(&self) -> HashMap<String, Vec<Instant>> {
        let mut calls = HashMap::<_, Vec<_>>::new();
        for request in self.standin.requests() {
            calls.entry(session_of(&request)).or_default().push(request.arrived);
        }
        calls
    }
}

async fn hello(connection: &mut LinePeer<DuplexStream>, hello: Value) -> Value {
    connection.send_line(&hello.to_string()).await.unwrap();
    let welcome: Value = serde_json::from_str(&connection.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    welcome["resume"].clone()
}

/// Model: some answers are immediate, some stall mid-way, and most are silent, so that they can be stopped.
fn moody() -> Fallback {
    Fallback::Reply(|number, _| match number % 4 {
        0 => Answer::text("bien"),
        1 => Answer::pieces(["a ", "medias"]).hanging(Hang::Stream),
        _ => Answer::default().hanging(Hang::Headers),
    })
}

/// Session of a call, by the prefix of its message.
fn session_of(request: &Request) -> String {
    let body = request.body();
    let said = body["messages"].as_array().unwrap().iter().rfind(|message| message["role"] == "user").unwrap();
    said["content"].as_str().unwrap().split_inclusive('.').next().unwrap().to_owned()
}

/// Highest number of calls within one window minus `skew`.
fn most_in_a_window(mut at: Vec<Instant>, skew: Duration) -> usize {
    at.sort_unstable();
    let within = |(index, &from): (usize, &Instant)| {
        at[index..].iter().take_while(|&&later| later + skew < from + WINDOW).count()
    };
    at.iter().enumerate().map(within).max().unwrap_or(0)
}

fn run(steps: &[Step], settings: &[(&str, &str)], check: impl FnOnce(&Fixture)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut fixture = Fixture::open(settings, moody()).await;
        for step in steps {
            fixture.take(step).await;
        }
        check(&fixture);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// The server never fails, so no message is refunded.
    #[test]
    fn calls_never_exceed_the_limits(steps in steps()) {
        run(&steps, &[("PER_USER_MAX", "1")], |fixture| {
            let calls = fixture.calls();
            for (session, at) in &calls {
                let most = most_in_a_window(at.clone(), SKEW);
                assert!(most <= PERSON, "{session} {most}");
            }
            let most = most_in_a_window(calls.into_values().flatten().collect(), SKEW);
            assert!(most <= ADDRESS, "{most}");
        });
    }

    /// With one slot and a queue that is often full or too slow, refunds are bounded too.
    #[test]
    fn refunds_are_bounded_with_a_full_queue(steps in steps()) {
        let settings =
            [("MAX_IN_FLIGHT", "1"), ("QUEUE_MAX", "2"), ("QUEUE_TIMEOUT_SECONDS", "5"), ("PER_USER_MAX", "1")];
        run(&steps, &settings, |fixture| {
            assert!(fixture.standin.most_in_flight() <= 1);
            // A call may follow the counting of its message by up to this time.
            let skew = SKEW + Duration::from_secs(5);
            let calls = fixture.calls();
            for (session, at) in &calls {
                let most = most_in_a_window(at.clone(), skew);
                assert!(most <= 2 * PERSON, "{session} {most}");
            }
            let most = most_in_a_window(calls.into_values().flatten().collect(), skew);
            assert!(most <= 2 * ADDRESS, "{most}");
        });
    }
}

/// Regression: the shortest bypass of the limits found.
#[test]
fn stop_and_resend_makes_no_call_beyond_the_limit() {
    let silent = Fallback::Answer(Answer::default().hanging(Hang::Headers));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut fixture = Fixture::open(&[], silent).await;
        for round in 1..=4 * PERSON {
            fixture.take(&Step::Say(0, 0)).await;
            if fixture.accepted == round {
                fixture.standin.wait_for(|calls| calls.len() == round).await.unwrap();
            }
            fixture.take(&Step::Stop(0, 0)).await;
        }
        assert_eq!((fixture.accepted, fixture.standin.total()), (PERSON, PERSON as u64));
    });
}

#[test]
fn sessions_of_one_address_share_its_window() {
    let steps: Vec<_> = (0..3).map(Step::Burst).collect();
    run(&steps, &[("PER_USER_MAX", "3")], |fixture| assert_eq!(fixture.accepted, ADDRESS));
}

/// Risk must not bypass the call limit: beyond it the companion answers.
#[test]
fn messages_in_risk_are_accepted_without_extra_calls() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut fixture = Fixture::open(&[], Fallback::Answer(Answer::text("bien"))).await;
        for round in 0..3 * PERSON {
            fixture.take(&Step::SayInRisk(0, u8::try_from(round).unwrap())).await;
            fixture.take(&Step::Wait(1)).await;
        }
        assert_eq!((fixture.accepted, fixture.standin.total()), (3 * PERSON, PERSON as u64));
    });
}
