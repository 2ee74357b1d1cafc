//! How much of a scarce thing anyone gets: messages in a window, model calls
//! at once. None of these knows what it limits.

mod slots;

pub use boot::{RateLimit, RateLimiter};
pub use slots::{IdleSlot, Room, Slot, Slots, SlotsFull, SlotsLoad};
