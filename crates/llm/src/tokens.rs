//! Daily token limit over all cores.
//!
//! Has no clock and no I/O: the caller sets the day ([`DailyTokens::begin_day`]) and synchronizes with the cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::server_frame::Usage;
use service_runtime::metrics::IntCounter;

/// Overhead of each message of a prompt, in tokens: role and delimiters.
const TOKENS_PER_MESSAGE: f64 = 4.0;

/// Settings of the daily token limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenSettings {
    /// Tokens per UTC day, all cores together; `None`: unlimited.
    pub per_day: Option<u64>,
    /// Characters per token, for providers that send no counts.
    pub chars_per_token: f64,
}

/// Tokens used today, as known to this core.
#[derive(Debug)]
pub struct DailyTokens {
    settings: TokenSettings,
    counter: IntCounter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Days since 1970.
    day: u64,
    /// By all cores.
    used: u64,
    /// Own usage that has not been reported to the cluster.
    unreported: u64,
    /// Limit of this core while the cluster is unreachable.
    own_limit: Option<u64>,
}

/// Usage report of one core to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageReport {
    /// Day, in days since 1970.
    pub day: u64,
    /// Total at the last reconciliation.
    pub known: u64,
    /// Own usage since.
    pub added: u64,
}

impl DailyTokens {
    /// Creates a count of zero. `counter` is the metric.
    pub(super) fn new(settings: TokenSettings, counter: IntCounter) -> Self {
        Self { settings, counter, state: Mutex::default() }
    }

    /// Daily limit.
    pub fn limit(&self) -> Option<u64> {
        self.settings.per_day
    }

    /// Tokens used today by all cores, as known to this one.
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// True if the limit is reached.
    pub fn is_used_up(&self) -> bool {
        let Some(limit) = self.settings.per_day else { return false };
        let state = self.state();
        state.own_limit.unwrap_or(limit).min(limit) <= state.used
    }

    /// Sets the day, in days since 1970. A new day starts at zero.
    pub fn begin_day(&self, day: u64) {
        let mut state = self.state();
        if state.day != day {
            // Usage before the first call is of the current day.
            let used = if state.day == 0 { state.used } else { 0 };
            *state = State { day, used, unreported: used, own_limit: None };
        }
    }

    /// Returns the report for the cluster. Its usage stays unreported until [`DailyTokens::reconcile`], so that a lost
    /// report is sent again.
    pub fn report(&self) -> UsageReport {
        let state = self.state();
        UsageReport { day: state.day, known: state.used.saturating_sub(state.unreported), added: state.unreported }
    }

    /// Takes over the cluster's `total`, which includes `report`.
    pub fn reconcile(&self, report: UsageReport, total: u64) {
        let mut state = self.state();
        if state.day == report.day {
            state.unreported = state.unreported.saturating_sub(report.added);
            state.used = total.saturating_add(state.unreported);
            state.own_limit = None;
        }
    }

    /// Limits this core to its share, among `cores`, of the tokens that were left at the last reconciliation: used
    /// while the cluster is unreachable, so that all cores together stay within the limit.
    pub fn use_own_share(&self, cores: usize) {
        let Some(limit) = self.settings.per_day else { return };
        let mut state = self.state();
        if state.own_limit.is_none() {
            let cores = u64::try_from(cores).unwrap_or(u64::MAX).max(1);
            // Own usage since then comes out of the own share: no other core knows of it.
            let agreed = state.used.saturating_sub(state.unreported);
            state.own_limit = Some(agreed + limit.saturating_sub(agreed) / cores);
        }
    }

    fn spend(&self, tokens: u64) {
        self.counter.inc_by(tokens);
        let mut state = self.state();
        state.used = state.used.saturating_add(tokens);
        state.unreported = state.unreported.saturating_add(tokens);
    }

    fn estimate(&self, chars: usize, messages: usize) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate, of numbers far below 2^52")]
        let (chars, messages) = (chars as f64, messages as f64);
        let tokens = chars / self.settings.chars_per_token + messages * TOKENS_PER_MESSAGE;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; never negative")]
        let tokens = tokens.ceil() as u64;
        tokens
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cost of one call, charged on drop, however the call ends: a prompt that was processed is paid for even if the answer
/// is stopped.
#[derive(Debug)]
pub(super) struct Charge {
    tokens: Arc<DailyTokens>,
    prompt: u64,
    chars: usize,
    counted: Option<Usage>,
    is_free: bool,
}

impl Charge {
    /// Creates the charge of a call by the size of its prompt.
    pub(super) fn new(tokens: &Arc<DailyTokens>, chars: usize, messages: usize) -> Self {
        let prompt = tokens.estimate(chars, messages);
        Self { tokens: Arc::clone(tokens), prompt, chars: 0, counted: None, is_free: false }
    }

    /// Adds characters of the answer.
    pub(super) fn add(&mut self, chars: usize) {
        self.chars += chars;
    }

    /// Takes over the provider's counts.
    pub(super) fn count(&mut self, usage: Option<Usage>) {
        self.counted = usage.or(self.counted);
    }

    /// Cancels the charge: the call was rejected, or never arrived.
    pub(super) fn waive(mut self) {
        self.is_free = true;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let estimate = || self.prompt + self.tokens.estimate(self.chars, 0);
        let counted = self.counted.map(|usage| usage.prompt_tokens.saturating_add(usage.completion_tokens));
        if !self.is_free {
            self.tokens.spend(counted.unwrap_or_else(estimate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(per_day: Option<u64>) -> Arc<DailyTokens> {
        let counter = IntCounter::new("tokens", "tokens").unwrap();
        let tokens = DailyTokens::new(TokenSettings { per_day, chars_per_token: 4.0 }, counter);
        tokens.begin_day(1);
        Arc::new(tokens)
    }

    #[test]
    fn charges_counts_else_estimates() {
        let usage = Some(Usage { prompt_tokens: 70, completion_tokens: 7 });
        for (name, call, want) in [
            ("stopped before a word", (|_| {}) as fn(&mut Charge), 10 + 8),
            ("stopped in the answer", |charge| charge.add(9), 10 + 8 + 3),
            ("counted", |charge| charge.add(9), 77),
        ] {
            let tokens = tokens(None);
            let mut charge = Charge::new(&tokens, 40, 2);
            call(&mut charge);
            charge.count(usage.filter(|_| name == "counted"));
            charge.count(None);
            drop(charge);
            assert_eq!((tokens.used(), tokens.counter.get()), (want, want), "{name}");
        }
        let tokens = tokens(None);
        Charge::new(&tokens, 40, 2).waive();
        assert_eq!(tokens.used(), 0);
    }

    #[test]
    fn limit_resets_with_the_day() {
        let unlimited = tokens(None);
        unlimited.spend(u64::MAX);
        unlimited.spend(1);
        assert!(!unlimited.is_used_up());
        let tokens = tokens(Some(100));
        tokens.spend(99);
        assert!(!tokens.is_used_up());
        tokens.spend(1);
        assert!(tokens.is_used_up());
        tokens.begin_day(1);
        assert!(tokens.is_used_up());
        tokens.begin_day(2);
        assert!(!tokens.is_used_up());
        assert_eq!((tokens.used(), tokens.report()), (0, UsageReport { day: 2, known: 0, added: 0 }));
    }

    #[test]
    fn reconciles_and_falls_back_to_the_own_share() {
        let tokens = tokens(Some(1_000));
        tokens.spend(100);
        let report = tokens.report();
        assert_eq!(report, UsageReport { day: 1, known: 0, added: 100 });
        // Used while the report was in flight.
        tokens.spend(10);
        tokens.reconcile(report, 700);
        assert_eq!((tokens.used(), tokens.report()), (710, UsageReport { day: 1, known: 700, added: 10 }));
        // A third of the 300 left at the reconciliation, 10 of them used.
        tokens.use_own_share(3);
        tokens.spend(89);
        assert!(!tokens.is_used_up());
        tokens.spend(1);
        tokens.use_own_share(3);
        assert!(tokens.is_used_up());
        let report = tokens.report();
        tokens.reconcile(report, 800);
        assert!(!tokens.is_used_up());
        // A reply of yesterday.
        tokens.begin_day(2);
        tokens.reconcile(report, 5_000);
        assert_eq!(tokens.used(), 0);
    }

    #[test]
    fn counts_usage_before_the_first_day_is_set() {
        let tokens = DailyTokens::new(
            TokenSettings { per_day: Some(10), chars_per_token: 4.0 },
            IntCounter::new("tokens", "tokens").unwrap(),
        );
        tokens.spend(10);
        tokens.begin_day(20_000);
        assert!(tokens.is_used_up());
        assert_eq!(tokens.report(), UsageReport { day: 20_000, known: 0, added: 10 });
    }
}
