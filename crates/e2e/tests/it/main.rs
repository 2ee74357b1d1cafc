//! Both services together: in this process under a clock that stands still (`transcripts`), and as
//! the processes people run, with real clients (everything else).

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected here fails the test")]

mod admin;
mod admission;
mod answers;
mod bad_lines;
mod balancer;
mod browser;
mod budget;
mod codes;
mod config;
mod cores;
mod crisis;
mod drain;
mod durability;
mod fair;
mod faults;
mod files;
mod foreign;
mod guard;
mod help;
mod honesty;
mod http;
mod hung_core;
mod metrics;
mod model;
mod network;
mod overload;
mod person;
mod postgres;
mod privacy;
mod program;
mod prototype;
mod safety_plan;
mod several_cores;
mod slow;
mod summary;
mod town;
mod transcripts;
mod unread_log;
mod world;
