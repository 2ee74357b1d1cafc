//! Client that follows the contract by hand: it reconnects, resumes, resends unaccepted messages
//! and skips text it already has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use protocol::Face;
use serde_json::{Value, json};
use testkit::peer::{ConnectionEnd, PeerError};
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;
use tokio::net::TcpSocket;

use crate::http::POLL_INTERVAL;
use crate::test_client::TestClient;

/// Role and text.
pub(super) type Said = (String, String);

/// Client on a WebSocket that may break.
pub(super) struct RoamingClient {
    /// Its own address on the loopback network.
    home: Ipv4Addr,
    balancer: SocketAddr,
    person: TestClient<WsPeer>,
    resume: Value,
    /// Entries received, by `seq`.
    pub(super) held: BTreeMap<u64, Said>,
    /// Number of connections lost.
    pub(super) lost: usize,
}

/// Pending message.
struct Message {
    id: String,
    text: String,
    accepted: bool,
    answer: String,
}

/// Connects to `balancer` from address `home`.
async fn connect(home: Ipv4Addr, balancer: SocketAddr) -> Result<TestClient<WsPeer>, PeerError> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((home, 0).into())?;
    let stream = socket.connect(balancer).await?;
    stream.set_nodelay(true)?;
    WsPeer::upgrade(stream, &format!("ws://{balancer}/ws"), Face::Frames).await.map(TestClient::new)
}

impl RoamingClient {
    /// Opens a new session through `balancer` from 127.0.0.`home`.
    pub(super) async fn arrive(home: u8, balancer: SocketAddr) -> Self {
        let home = Ipv4Addr::new(127, 0, 0, home);
        let mut person = connect(home, balancer).await.unwrap();
        let resume = person.hello().await["resume"].clone();
        Self { home, balancer, person, resume, held: BTreeMap::new(), lost: 0 }
    }

    /// Sends a message and returns its answer, reconnecting as needed.
    pub(super) async fn ask(&mut self, id: &str, text: &str) -> String {
        let mut message = Message { id: id.to_owned(), text: text.to_owned(), accepted: false, answer: String::new() };
        self.send(&message).await;
        loop {
            let Some(line) = self.person.read().await else {
                self.lost += 1;
                let welcome = self.come_back().await;
                assert_eq!((&welcome["type"], &welcome["resumed"]), (&json!("welcome"), &json!(true)), "{welcome}");
                self.send(&message).await;
                continue;
            };
            if self.on_frame(&serde_json::from_str(&line).unwrap(), &mut message) {
                return message.answer;
            }
        }
    }

    /// Sends `message` unless it was accepted. Ignores a lost connection, which the next read detects.
    async fn send(&mut self, message: &Message) {
        if !message.accepted {
            self.person.try_send(json!({"type": "message", "id": message.id, "text": message.text})).await;
        }
    }

    /// Processes a frame; true if it completes `message`.
    fn on_frame(&mut self, frame: &Value, message: &mut Message) -> bool {
        let text = || frame["text"].as_str().unwrap().to_owned();
        let about_it = frame["id"] == message.id.as_str();
        match frame["type"].as_str() {
            Some("turn") => {
                self.hold(frame, frame["role"].as_str().unwrap(), &text());
                message.accepted |= about_it;
                if about_it && frame["role"] == "assistant" {
                    message.answer = text();
                    return true;
                }
            }
            Some("accepted") => {
                message.accepted = true;
                self.hold(frame, "user", &message.text);
            }
            Some("delta") if about_it => {
                let (has, offset) = (message.answer.chars().count() as u64, frame["offset"].as_u64().unwrap());
                assert!(offset <= has, "a gap: {has} characters are here, and then {frame}");
                message.answer.extend(text().chars().skip(usize::try_from(has - offset).unwrap()));
            }
            Some("done") if about_it => {
                assert_eq!(frame["chars"], message.answer.chars().count(), "{frame}");
                self.hold(frame, "assistant", &message.answer);
                return true;
            }
            Some("delta" | "done" | "queued") => {}
            Some("notice") if frame["code"] == "ai" => {}
            _ => panic!("out of place: {frame}"),
        }
        false
    }

    fn hold(&mut self, frame: &Value, role: &str, text: &str) {
        let said = (role.to_owned(), text.to_owned());
        let held = self.held.entry(frame["seq"].as_u64().unwrap()).or_insert_with(|| said.clone());
        assert_eq!(*held, said, "{frame}");
    }

    /// Reconnects until `hello` gets a reply, and returns it.
    pub(super) async fn come_back(&mut self) -> Value {
        let since = self.held.last_key_value().map_or(0, |(seq, _)| *seq);
        let hello = json!({"type": "hello", "v": 1, "resume": self.resume, "since": since});
        let back = within(2 * LIMIT, async {
            loop {
                if let Ok(mut person) = connect(self.home, self.balancer).await
                    && person.try_send(hello.clone()).await
                    && let Some(answer) = person.first_frame().await
                {
                    return (person, answer);
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        let answer;
        (self.person, answer) = back.await.unwrap();
        answer
    }

    /// Exports the session.
    pub(super) async fn export(&mut self) -> BTreeMap<u64, Said> {
        self.person.send(json!({"type": "request", "id": "export", "method": "export"})).await;
        let result = self.person.frame_of("response").await["result"].clone();
        assert_eq!(result["more"], false);
        let entry = |entry: &Value| {
            let said = ["role", "text"].map(|name| entry[name].as_str().unwrap().to_owned());
            (entry["seq"].as_u64().unwrap(), said.into())
        };
        result["entries"].as_array().unwrap().iter().map(entry).collect()
    }

    pub(super) async fn ending(&mut self) -> ConnectionEnd {
        self.person.ending().await
    }

    pub(super) fn home(&self) -> Ipv4Addr {
        self.home
    }
}
