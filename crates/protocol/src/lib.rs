//! The contract between `core-server`, `ws-gateway` and every client: frames, the line codec, limits, error codes,
//! close reasons and the PROXY header.
//!
//! The contract itself is `proto-line/SPEC.md`; this crate is its Rust form and is tested against the schemas and
//! vectors beside it. It does no I/O and spawns no task.
//!
//! ```
//! use protocol::{ClientFrame, ErrorCode};
//!
//! let frame = ClientFrame::parse(r#"{"type":"message","id":"m1","text":"hola"}"#).unwrap();
//! let ClientFrame::Message { id, text } = frame else { panic!("another frame") };
//! assert_eq!((id.as_str(), text.expose()), ("m1", "hola"));
//!
//! let rejected = ClientFrame::parse(r#"{"type":"messsage","id":"m1","text":"hola"}"#).unwrap_err();
//! assert_eq!(rejected.code, ErrorCode::UnknownType);
//! ```

#![warn(missing_docs)]

pub mod client_frame;
mod close_reason;
pub mod codec;
mod country;
mod error_code;
mod face;
pub mod foreign;
mod ids;
mod json;
pub mod limits;
mod locale;
pub mod markdown;
pub mod proxy_header;
pub mod server_frame;
mod text;
mod timestamp;
pub mod trace;

pub use client_frame::ClientFrame;
pub use close_reason::CloseReason;
pub use codec::{Inbound, LineCodec};
pub use country::Country;
pub use error_code::ErrorCode;
pub use face::Face;
pub use ids::{IdError, LinkCode, MessageId, MessageLabel, ResumeSecret, ResumeToken, SessionId, UserLabel};
pub use locale::{Language, Locale};
pub use server_frame::ServerFrame;
pub use text::UserText;
pub use timestamp::Timestamp;
