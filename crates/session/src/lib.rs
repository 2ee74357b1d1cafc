//! The session of a conversation as a state machine without I/O.
//!
//! A [`Session`] is a function of its inputs: [`Session::on`] processes an [`Input`] and appends [`Effect`]s, which its
//! owner starts in their order. It knows no socket, store, model or cluster, and no clock: time comes with each input.
//! An effect that waits returns its result as an input.
//!
//! * [`Input::Submit`] leads to [`StoreRequest::Admit`], one operation on the store at a time; the accepted message is
//!   published and its turn started with [`Effect::StartTurn`].
//! * [`TurnEvent`]s of the running turn lead to frames for every connection, here and on other cores.
//! * [`SessionEvent`]s connect the sessions of one person on several cores. They are hints: the store decides.
//!
//! # Examples
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use protocol::server_frame::Source;
//! use protocol::{Locale, Timestamp, UserLabel, UserText};
//! use session::{Effect, Now, Opening, Session, Settings};
//!
//! let settings = Settings {
//!     per_user_max: 2,
//!     abandoned_after: Duration::from_secs(120),
//!     risk_window: Duration::from_secs(60),
//!     source: Source::Llm,
//! };
//! let opening = Opening {
//!     user: UserLabel(1),
//!     seq: 0,
//!     messages: 0,
//!     locale: Locale::default(),
//!     country: None,
//!     rotations: 0,
//!     is_new: true,
//!     cluster: None,
//! };
//! let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_790_000_000_000) };
//! let mut session = Session::new(settings, opening, now.instant);
//! let mut effects = Vec::new();
//! let (_connection, seq) = session.attach(now, 0, &mut effects).expect("the session is open");
//! assert_eq!((seq, effects.len()), (0, 0));
//!
//! // Help is the effect of the message itself: it waits for nothing.
//! let text = UserText::new("quiero morirme");
//! assert!(session.assess(now, &"m1".parse().unwrap(), &text, &mut effects));
//! assert!(effects.iter().any(|effect| matches!(effect, Effect::Send(..))));
//! ```

#![warn(missing_docs)]
#![expect(
    clippy::disallowed_types,
    reason = "a machine without a clock: its owner passes instants of its own, paused or not"
)]

mod assessor;
mod commits;
mod continuous_use;
mod conversation;
mod country;
mod cx;
mod effect;
mod event;
mod fanout;
mod help;
mod help_lines;
mod ids;
mod input;
mod language;
mod ledger;
mod message;
mod pre_session;
mod profile;
mod published;
mod remote;
mod replicas;
mod session;
mod settings;
mod turns;
mod watch;

pub use continuous_use::ContinuousUse;
pub use effect::{
    AdmissionRequest, AnswerQuery, ClaimsQuery, Completed, Count, Delta, Effect, Recipients, StoreRequest,
};
pub use event::{CoreId, SessionEvent};
pub use help::known_country;
pub use help_lines::{HelpLines, crisis_lines};
pub use ids::{ConnectionId, Ticket};
pub use input::{
    Admission, AnswerOwner, Claims, Ended, EntryPage, Erased, Grant, Input, Now, Progress, Stored, StoredSession,
    TurnEvent,
};
pub use message::{Failure, Message, MessageRejection, MessageRisk, Risk, Turn};
pub use pre_session::PreSessionWatch;
pub use session::{Opening, Session};
pub use settings::Settings;
pub use watch::{Watch, is_imminent_help, restore_after};
