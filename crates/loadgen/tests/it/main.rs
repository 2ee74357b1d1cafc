//! The load generator against small stand-ins. Nothing here looks at a clock: that the
//! numbers are right on a loaded machine cannot be promised, that they are there can.

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
