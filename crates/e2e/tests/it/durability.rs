//! Accepted messages are kept and every answer arrives complete, across kills, disconnects and
//! full disks.

pub(crate) mod chaos_client;
pub(crate) mod client_fleet;
mod core_killed;
mod disk;
mod encryption_at_rest;
mod erase;
pub(crate) mod flaky_proxy;
mod gateways_killed;
mod interrupted_turn;
mod late_header;
mod postgres_outage;
mod random_operations;
mod retention;
pub(crate) mod scripted_answers;
pub(crate) mod seeded_rng;
pub(crate) mod sqlite_node;
mod streams_cut;
