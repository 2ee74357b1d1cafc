//! A client of PsicoIA: one conversation over as many connections as it takes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use client::{Client, Event};
//!
//! let mut client = Client::builder("tcp://127.0.0.1:5001".parse()?).connect().await?;
//! let id = client.send("hola")?;
//! while let Some(event) = client.next_event().await {
//!     match event {
//!         Event::Delta { text, .. } => print!("{}", text.expose()),
//!         Event::Done(done) if done.id == id => break,
//!         Event::Refused(error) => return Err(error.message.into()),
//!         _ => {}
//!     }
//! }
//! client.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! * **Reconnect.** Lost connections, servers that go away and slow readers are answered with a
//!   new connection after a random, growing wait, which resumes the session. What the contract
//!   calls final (`bye`, erased, `unauthorized`, `version_unsupported`, `bad_resume`, WebSocket
//!   codes 1000, 1003, 1008, 1009, HTTP 4xx but 408 and 429) ends the client with [`Event::Closed`].
//! * **Nothing lost, nothing doubled.** Messages are sent again with the same id until their
//!   answer is there. Stored entries are told once, in the order of their `seq`. Of an answer
//!   that was cut off only what is missing is told; if it was completed meanwhile, that is its
//!   rest and its [`Event::Done`]. Only where the server itself was killed in mid-answer may
//!   the answer be another one, which [`Event::Restarted`] says.
//! * **At once.** Each message is sent when it is written, however many answers are awaited. Help for a person at
//!   risk ([`Event::Support`]) comes before anything else, also where the message is refused.
//! * **Refusals.** A message that is refused (`rate_limited`, `user_busy`, `overloaded`,
//!   `unavailable`, …) is told as [`Event::Refused`] and not sent again: the caller decides,
//!   knowing `retry_after_ms`, and may use the same id. Only `shutting_down` is the client's own
//!   business.
//! * **Bounds.** No tasks, no channels. At most 64 own messages without an answer (then
//!   [`SendError::Full`]), one request at a time, one line in the read buffer. The socket is read
//!   only while the client is awaited and has no event to give.
//! * **Privacy.** Texts and the resume token are [`UserText`]: `Debug` shows their size.

#![warn(missing_docs)]

mod address;
mod backoff;
mod client;
mod conversation;
mod error;
mod event;
mod wire;

pub use address::{Address, AddressError};
pub use client::{Builder, Client, Page, SessionInfo};
pub use error::{ConnectError, RequestError, SendError};
pub use event::{Answered, Closed, Event};
pub use protocol::server_frame::{
    Entry, ErrorFrame, Exercise, Finish, NoticeCode, PlanStep, Role, SafetyPlan, Source, Support, Welcome,
};
pub use protocol::{Country, ErrorCode, Locale, MessageId, SessionId, UserText};
