//! Correction of the token estimate, learnt from the providers' counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Weight of the newest count in the moving average: about five answers follow a new model.
const EWMA_ALPHA: f64 = 0.2;
/// Plausible ratios; a count outside is the provider's mistake, and is ignored.
const BOUNDS: std::ops::RangeInclusive<f64> = 0.25..=4.0;

/// Ratio of counted to estimated tokens, by model.
#[derive(Debug, Default)]
pub(super) struct Calibration {
    factors: Mutex<HashMap<String, f64>>,
}

impl Calibration {
    /// Returns the highest ratio of all models, because any of them may be asked next; 1 before the first count.
    pub(super) fn factor(&self) -> f64 {
        self.factors().values().copied().reduce(f64::max).unwrap_or(1.0)
    }

    /// Learns from one count of `model`: `counted` tokens for `estimated`, before correction.
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
