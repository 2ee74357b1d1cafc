//! Random moments and places, the same again for the same seed as far as the machine allows.

use fastrand::Rng;

/// Where a seed that was printed goes to be used again.
const SEED: &str = "PSICOIA_SEED";

/// The randomness of `test`. Its seed is in the output of a test that fails.
#[expect(clippy::disallowed_methods, reason = "a seed is asked for by whoever looks into a failure")]
#[expect(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
pub(crate) fn chance(test: &str) -> Rng {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{test}: {SEED}={seed}");
    Rng::with_seed(seed)
}
