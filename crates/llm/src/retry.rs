//! Backoff between retries: exponential with full jitter, at least the provider's `Retry-After`.

use std::time::{Duration, SystemTime};

use super::error::LlmError;

/// Exponential backoff.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Bound of the pause after the first failure; doubles with each one.
    pub initial: Duration,
    /// Longest pause; a longer `Retry-After` is not waited for.
    pub max: Duration,
}

impl Backoff {
    /// Pause after failure number `failures`, from 1: uniform up to the exponential bound, so that calls that failed
    /// together do not retry together ("full jitter", AWS Architecture Blog 2015), and at least the `Retry-After`. A
    /// `Retry-After` of 0 is no reason to retry at once.
    pub fn pause(self, failures: u32, error: &LlmError) -> Duration {
        let jitter = self.bound(failures).mul_f64(fastrand::f64());
        error.retry_after().map_or(jitter, |asked| asked.max(jitter))
    }

    fn bound(self, failures: u32) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        self.initial.saturating_mul(doubled).min(self.max)
    }
}

/// Parses a `Retry-After` value: seconds, or a date relative to `now`. Saturates.
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        let is_too_many = |_| (0.0 < seconds).then_some(Duration::MAX);
        return Duration::try_from_secs_f64(seconds).map_or_else(is_too_many, Some);
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound() {
        let backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(5) };
        for (failures, bound_ms) in [(1, 500), (2, 1_000), (3, 2_000), (4, 4_000), (5, 5_000), (99, 5_000)] {
            assert_eq!(backoff.bound(failures).as_millis(), bound_ms, "after {failures}");
            assert!(backoff.pause(failures, &LlmError::Truncated) <= backoff.bound(failures));
        }
        let asked = |seconds| LlmError::Status {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
            body: Box::default(),
        };
        for seconds in [2, 60] {
            assert_eq!(backoff.pause(1, &asked(seconds)), Duration::from_secs(seconds));
        }
        // 0 counts as absent: of a hundred draws some are positive.
        let pauses: Vec<_> = (0..100).map(|_| backoff.pause(5, &asked(0))).collect();
        assert!(pauses.iter().all(|pause| *pause <= backoff.max) && pauses.iter().any(|pause| !pause.is_zero()));
    }

    #[test]
    fn parses_both_forms_of_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, want) in [
            ("2", Some(2_000)),
            (" 1.5 ", Some(1_500)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30_000)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1e300", Some(Duration::MAX.as_millis())),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(252_618_189_022_000)),
            ("soon", None),
            ("NaN", None),
        ] {
            let got = parse_retry_after(value, now).map(|after| after.as_millis());
            assert_eq!(got, want, "{value}");
        }
    }
}
