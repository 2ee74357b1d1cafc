//! How much of a scarce thing anyone gets: messages in a window, model calls
//! at once. None of these knows what it limits.

mod slots;
mod window;

pub use slots::{Slot, Slots, SlotsFull};
pub use window::{RateLimit, RateLimiter};
