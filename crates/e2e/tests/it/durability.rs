//! What was accepted is kept and every answer arrives whole, whatever is killed, cut or full
//! on the way.

mod chance;
mod core_killed;
mod crowd;
mod disk;
mod gateways_killed;
mod house;
mod late_header;
mod mid_turn;
mod postgres_away;
mod random_talk;
mod recital;
mod retention;
mod road;
mod secrets;
mod streams_cut;
mod talker;
