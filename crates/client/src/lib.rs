//! Client library for PsicoIA: keeps one conversation going across reconnects.
//!
//! ```
//! # use std::io::{BufRead as _, BufReader, Write as _};
//! # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = server.local_addr()?;
//! # std::thread::spawn(move || {
//! #     let (mut stream, _) = server.accept().unwrap();
//! #     let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
//! #     let trace = "0af7651916cd43dd8448eb211c80319c";
//! #     lines.next();
//! #     writeln!(stream, r#"{{"type":"welcome","v":1,"session":"s_1","user":"Usuario-1","resume":"rt_1","resumed":false,"seq":0,"locale":"es","trace_id":"{trace}","limits":{{"max_line_bytes":65536,"max_text_chars":8000,"rate":{{"messages":10,"window_ms":60000}}}}}}"#).unwrap();
//! #     let message: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
//! #     let id = &message["id"];
//! #     writeln!(stream, r#"{{"type":"accepted","id":{id},"seq":1,"trace_id":"{trace}"}}"#).unwrap();
//! #     writeln!(stream, r#"{{"type":"delta","id":{id},"offset":0,"text":"Te leo."}}"#).unwrap();
//! #     writeln!(stream, r#"{{"type":"done","id":{id},"seq":2,"finish":"stop","source":"companion","chars":7,"ms":{{"queue":0,"first":1,"total":1}}}}"#).unwrap();
//! #     lines.next();
//! # });
//! use client::{Client, Event};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let mut client = Client::builder(format!("tcp://{address}").parse()?).connect().await?;
//! let id = client.send("hola")?;
//! let mut answer = String::new();
//! while let Some(event) = client.next_event().await {
//!     match event {
//!         // Must be shown at once: the person may be in danger.
//!         Event::Support(support) => println!("{}", support.text.expose()),
//!         Event::Delta { text, .. } => answer.push_str(text.expose()),
//!         Event::Done(done) if done.id == id => break,
//!         Event::Refused(error) => return Err(error.message.into()),
//!         _ => {}
//!     }
//! }
//! client.leave().await;
//! # assert_eq!(answer, "Te leo.");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/bot.rs` is a whole program.
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
pub use client::{Builder, Client, Page, SessionInfo, Summary};
pub use error::{ConnectError, RequestError, SendError};
pub use event::{Answered, Closed, Event};
pub use protocol::server_frame::{
    Entry, ErrorFrame, Exercise, Finish, NoticeCode, PlanStep, Role, SafetyPlan, Source, Support, Welcome,
};
pub use protocol::{Country, ErrorCode, Locale, MessageId, SessionId, UserText};
