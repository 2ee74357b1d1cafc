//! How far the estimate of tokens is off, learned from what providers count.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the newest count takes over: a handful of answers is enough to follow a model.
const EWMA_ALPHA: f64 = 0.2;
/// A count that is further off than this is the provider's mistake.
const BOUNDS: std::ops::RangeInclusive<f64> = 0.25..=4.0;

/// For each model, counted tokens to one estimated.
#[derive(Debug, Default)]
pub(super) struct Calibration {
    factors: Mutex<HashMap<String, f64>>,
}

impl Calibration {
    /// Counted tokens to one estimated: the most of any model known, since any may be asked.
    /// 1 as long as nothing was counted.
    pub(super) fn factor(&self) -> f64 {
        self.factors().values().copied().reduce(f64::max).unwrap_or(1.0)
    }

    /// `model` counted `counted` tokens where `estimated` were expected by the plain estimate.
    #[expect(clippy::cast_precision_loss, reason = "no prompt has 2^52 tokens")]
    pub(super) fn learn(&self, model: &str, estimated: f64, counted: u64) {
        let ratio = counted as f64 / estimated;
        if !BOUNDS.contains(&ratio) {
            return;
        }
        let mut factors = self.factors();
        match factors.get_mut(model) {
            Some(factor) => *factor += (ratio - *factor) * EWMA_ALPHA,
            None => drop(factors.insert(model.to_owned(), ratio)),
        }
    }

    fn factors(&self) -> MutexGuard<'_, HashMap<String, f64>> {
        self.factors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_follows_provider_counts() {
        let calibration = Calibration::default();
        for (model, estimated, counted, want) in [
            ("a", 100.0, 0, 1.0),     // No count at all.
            ("a", 100.0, 1_000, 1.0), // Out of all proportion.
            ("a", 100.0, 150, 1.5),
            ("a", 100.0, 100, 1.4),
            ("b", 100.0, 120, 1.4), // Another model that needs less.
            ("b", 100.0, 320, 1.6),
        ] {
            calibration.learn(model, estimated, counted);
            assert!((calibration.factor() - want).abs() < 1e-9, "{model} {counted}: {}", calibration.factor());
        }
    }
}
