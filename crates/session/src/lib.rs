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
    Admission, AnswerOwner, Claims, Ended, EntryPage, Grant, Input, Now, Progress, Stored, StoredSession, TurnEvent,
};
pub use message::{Failure, Message, MessageRejection, MessageRisk, Risk, Turn};
pub use pre_session::PreSessionWatch;
pub use session::{Opening, Session};
pub use settings::Settings;
pub use watch::{Watch, is_imminent_help, restore_after};
