//! A client as the contract wants it: it comes back, resumes, sends again what was not
//! accepted, and skips what it has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use protocol::Face;
use serde_json::{Value, json};
use testkit::peer::{ConnectionEnd, PeerError};
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;
use tokio::net::TcpSocket;

use crate::http::LOOK_AGAIN;
use crate::person::Person;

/// Who said it, and what.
pub(super) type Said = (String, String);

/// Someone on a WebSocket that may break.
pub(super) struct Traveller {
    /// Where they are: an address of their own on the loopback network.
    home: Ipv4Addr,
    balancer: SocketAddr,
    person: Person<WsPeer>,
    resume: Value,
    /// Every entry, by its `seq`.
    pub(super) held: BTreeMap<u64, Said>,
    /// How often the way was lost in mid-conversation.
    pub(super) lost: usize,
}

/// A message on its way.
struct Message {
    id: String,
    text: String,
    accepted: bool,
    answer: String,
}

/// A WebSocket of `balancer`, from the address `home`.
async fn connect(home: Ipv4Addr, balancer: SocketAddr) -> Result<Person<WsPeer>, PeerError> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((home, 0).into())?;
    let stream = socket.connect(balancer).await?;
    stream.set_nodelay(true)?;
    WsPeer::upgrade(stream, &format!("ws://{balancer}/ws"), Face::Frames).await.map(Person::new)
}

impl Traveller {
    /// A new session through `balancer`, from 127.0.0.`home`.
    pub(super) async fn arrive(home: u8, balancer: SocketAddr) -> Self {
        let home = Ipv4Addr::new(127, 0, 0, home);
        let mut person = connect(home, balancer).await.unwrap();
        let resume = person.hello().await["resume"].clone();
        Self { home, balancer, person, resume, held: BTreeMap::new(), lost: 0 }
    }

    /// Says something and waits for the whole answer, over as many connections as it takes.
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
            if self.hear(&serde_json::from_str(&line).unwrap(), &mut message) {
                return message.answer;
            }
        }
    }

    /// Sends `message` if it was not accepted yet. On a connection that is lost, reading will tell.
    async fn send(&mut self, message: &Message) {
        if !message.accepted {
            self.person.try_send(json!({"type": "message", "id": message.id, "text": message.text})).await;
        }
    }

    /// Takes a frame in; whether it completes `message`.
    fn hear(&mut self, frame: &Value, message: &mut Message) -> bool {
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

    /// Connects until there is an answer to `hello`, and returns that.
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
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        let answer;
        (self.person, answer) = back.await.unwrap();
        answer
    }

    /// The session as the core has it.
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

    /// Waits for the end of the connection.
    pub(super) async fn ending(&mut self) -> ConnectionEnd {
        self.person.ending().await
    }

    pub(super) fn home(&self) -> Ipv4Addr {
        self.home
    }
}
