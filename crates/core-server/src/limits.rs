//! Limits: messages in a window, requests and model calls at once. None of these knows what it limits.

mod request_turns;
mod slots;

pub use boot::{RateLimit, RateLimiter};
pub use request_turns::{RequestTurn, RequestTurns};
pub use slots::{IdleSlot, Priority, Room, Slot, Slots, SlotsFull, SlotsLoad};
