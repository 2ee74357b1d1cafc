//! Tests of the load generator against small stand-ins. They assert that results are complete,
//! not their values, which depend on the machine's load.

#[cfg(test)]
mod bridge;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod fake_core;
#[cfg(test)]
mod help;
#[cfg(test)]
mod pressure;
