//! How much of a scarce thing anyone gets: messages in a window, model calls at once,
//! connections at once. None of these knows what it limits.

mod connections;
mod slots;
mod window;

pub use connections::{ConnectionPermit, Connections};
pub use slots::{Slot, Slots, SlotsFull};
pub use window::{RateLimit, RateLimiter};
