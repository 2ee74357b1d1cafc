//! What was accepted is kept and every answer arrives whole, whatever is killed, cut or full
//! on the way.

pub(crate) mod chance;
mod core_killed;
pub(crate) mod crowd;
mod disk;
mod erased;
mod gateways_killed;
pub(crate) mod house;
mod late_header;
mod mid_turn;
mod postgres_away;
mod random_talk;
pub(crate) mod recital;
mod retention;
pub(crate) mod road;
mod secrets;
mod streams_cut;
pub(crate) mod talker;
