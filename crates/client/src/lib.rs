//! Client library for PsicoIA: keeps one conversation going across reconnects.
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
//! * **Reconnect.** After a lost connection, a draining server or `slow_consumer`, the client
//!   reconnects with exponential backoff and full jitter and resumes the session. Conditions that
//!   the contract calls final (`bye`, erased, `unauthorized`, `version_unsupported`, `bad_resume`,
//!   WebSocket codes 1000, 1003, 1008, 1009, HTTP 4xx except 408 and 429) end it with [`Event::Closed`].
//! * **Exactly-once events.** Messages are resent under the same id, the idempotency key, until
//!   their answer has arrived. Stored entries are delivered once, in `seq` order. A resumed answer
//!   continues with the missing text; one completed while offline ends with its missing text and
//!   [`Event::Done`]. Only a server killed mid-answer may generate another answer: then
//!   [`Event::Restarted`] discards the first.
//! * **No queueing behind answers.** Each message is sent as soon as it is written. Help for a
//!   person at risk ([`Event::Support`]) precedes everything else, also for a refused message.
//! * **Refusals.** A refused message (`rate_limited`, `user_busy`, `overloaded`, `unavailable`, …)
//!   ends with [`Event::Refused`] and is not resent, unless [`Builder::send_attempts`] allows it:
//!   the caller decides by `retry_after_ms` and may reuse the id. `shutting_down` reconnects.
//! * **Bounds.** No tasks, no channels. At most 64 own messages without an answer (then
//!   [`SendError::Full`]), one request at a time, one line in the read buffer. The socket is read
//!   only while the client is awaited and no event is pending.
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
