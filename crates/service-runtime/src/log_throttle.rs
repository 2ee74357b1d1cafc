//! Rate limit for log lines that outsiders can cause.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines per window: enough to identify the cause, too few to fill a disk.
const LINES: u32 = 32;

/// Limits the rate of one log line. Suppressed events are counted and reported with the next line.
///
/// ```
/// use service_runtime::LogThrottle;
/// use tokio::time::Instant;
///
/// let throttle = LogThrottle::default();
/// if let Some(suppressed) = throttle.admit(Instant::now()) {
///     tracing::warn!(suppressed, "connection refused");
/// }
/// ```
#[derive(Debug, Default)]
pub struct LogThrottle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    window_ends: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogThrottle {
    /// Counts an event at `now`. Returns the number of events suppressed before it, or `None` if this one must not be
    /// logged.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.window_ends.is_none_or(|end| end <= now) {
            state.window_ends = Some(now + WINDOW);
            state.lines = 0;
        }
        if LINES <= state.lines {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_lines_per_window_and_reports_suppressed_ones() {
        let (start, throttle) = (Instant::now(), LogThrottle::default());
        for _ in 0..LINES {
            assert_eq!(throttle.admit(start), Some(0));
        }
        for (seconds, want) in [(0, None), (9, None), (10, Some(2)), (11, Some(0))] {
            assert_eq!(throttle.admit(start + Duration::from_secs(seconds)), want, "at {seconds} s");
        }
    }
}
