//! Exponential backoff for a failing accept loop.

use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Backoff after accept errors caused by exhausted resources, such as file descriptors. Without it the loop would spin:
/// the pending client makes the listener readable at once. Delays double up to one second.
///
/// ```
/// use std::io::ErrorKind;
/// use std::time::Duration;
///
/// use service_runtime::AcceptBackoff;
///
/// let mut backoff = AcceptBackoff::default();
/// assert_eq!(backoff.next_delay(&ErrorKind::OutOfMemory.into()), Some(Duration::from_millis(50)));
/// assert_eq!(backoff.next_delay(&ErrorKind::OutOfMemory.into()), Some(Duration::from_millis(100)));
/// assert_eq!(backoff.next_delay(&ErrorKind::ConnectionReset.into()), None);
/// ```
#[derive(Debug)]
pub struct AcceptBackoff {
    next: Duration,
}

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl AcceptBackoff {
    /// Returns the delay after `error`; `None` if it concerns only one client, which is already gone.
    pub fn next_delay(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return None;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        Some(pause)
    }

    /// Resets the delay after a successful accept.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_until_reset() {
        let mut backoff = AcceptBackoff::default();
        let used_up = io::Error::from(io::ErrorKind::OutOfMemory);
        let mut next = || backoff.next_delay(&used_up).map(|pause| pause.as_millis());
        let got: Vec<_> = (0..7).map_while(|_| next()).collect();
        assert_eq!(got, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.next_delay(&io::ErrorKind::ConnectionAborted.into()), None);
        backoff.reset();
        assert_eq!(backoff.next_delay(&used_up), Some(FIRST));
    }
}
