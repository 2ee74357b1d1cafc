//! What to do when a connection cannot be accepted.

use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses after accepts that fail because something is used up, such as open files: without them a
/// server would ask again and again, since the client still waits. They double while that lasts.
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
    /// How long to wait after `error`; `None` if it is about one client, who is gone again.
    pub fn next_delay(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return None;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        Some(pause)
    }

    /// A connection has been accepted.
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
