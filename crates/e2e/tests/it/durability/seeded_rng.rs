//! Seeded random numbers for fault injection; a seed reproduces a run as far as timing allows.

use fastrand::Rng;

/// Environment variable with a seed to replay.
const SEED: &str = "PSICOIA_SEED";

/// Random numbers of `test`. A failing test prints the seed.
#[expect(clippy::disallowed_methods, reason = "a seed replays a failed run")]
#[expect(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
pub(crate) fn seeded_rng(test: &str) -> Rng {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{test}: {SEED}={seed}");
    Rng::with_seed(seed)
}
