//! End-to-end tests of both services: in process under a paused clock (`faults`, `rate_limits`), and as real processes
//! with real clients. The transcripts are a test binary of their own, `tests/transcripts.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an unexpected value fails the test")]

mod admin;
mod admission;
mod answers;
mod balancer;
mod blocked_log_reader;
mod browser;
mod close_codes;
mod config;
mod core_failover;
mod crisis;
mod drain;
mod durability;
mod fairness;
mod faults;
mod file_descriptors;
mod guard;
mod help;
mod honesty;
mod http;
mod hung_core;
mod invalid_lines;
mod metrics;
mod model_faults;
mod network;
mod operator;
mod other_protocols;
mod overload;
mod postgres;
mod privacy;
mod program;
mod prototype;
mod rate_limits;
mod safety_plan;
mod several_cores;
mod single_node;
mod slow_clients;
mod summary;
mod test_client;
