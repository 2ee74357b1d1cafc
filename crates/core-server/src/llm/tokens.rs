//! Ceiling on the tokens of a day, over all cores.
//!
//! Without clock and I/O: the day is told ([`DailyTokens::begin_day`]), and so is what the cores have agreed on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boot::metrics::IntCounter;
use protocol::server_frame::Usage;

/// Tokens that every message of a prompt costs besides its text: its role and its bounds.
const TOKENS_PER_MESSAGE: f64 = 4.0;

/// Bounds on the tokens of a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenSettings {
    /// Tokens within a day of UTC, all cores together; `None`: no limit.
    pub per_day: Option<u64>,
    /// Characters to a token, where the provider does not count.
    pub chars_per_token: f64,
}

/// Tokens used today, as far as this core knows.
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
    /// By all cores, own ones included.
    used: u64,
    /// Own ones that the other cores have not been told of.
    unreported: u64,
    /// The part of the limit that this core may use without the others' word.
    own_limit: Option<u64>,
}

/// What one core tells the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageReport {
    /// The day it is about.
    pub day: u64,
    /// Tokens used by all cores, as far as was agreed.
    pub known: u64,
    /// Tokens used here since.
    pub added: u64,
}

impl DailyTokens {
    /// Nothing was used yet. `counter` counts what is used, over days.
    pub(super) fn new(settings: TokenSettings, counter: IntCounter) -> Self {
        Self { settings, counter, state: Mutex::default() }
    }

    /// The limit of a day.
    pub fn limit(&self) -> Option<u64> {
        self.settings.per_day
    }

    /// Tokens used today by all cores, as far as this one knows.
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// Whether no more call may be made today.
    pub fn is_used_up(&self) -> bool {
        let Some(limit) = self.settings.per_day else { return false };
        let state = self.state();
        state.own_limit.unwrap_or(limit).min(limit) <= state.used
    }

    /// Says which day it is, in days since 1970. A new one begins with nothing.
    pub fn begin_day(&self, day: u64) {
        let mut state = self.state();
        if state.day != day {
            // Before the first word of the day, what was used is of today.
            let used = if state.day == 0 { state.used } else { 0 };
            *state = State { day, used, unreported: used, own_limit: None };
        }
    }

    /// Returns what the other cores are to be told. It is told until [`DailyTokens::reconcile`].
    pub fn report(&self) -> UsageReport {
        let state = self.state();
        UsageReport { day: state.day, known: state.used.saturating_sub(state.unreported), added: state.unreported }
    }

    /// The cores have agreed on `total`, in which what was `report` is counted.
    pub fn reconcile(&self, report: UsageReport, total: u64) {
        let mut state = self.state();
        if state.day == report.day {
            state.unreported = state.unreported.saturating_sub(report.added);
            state.used = total.saturating_add(state.unreported);
            state.own_limit = None;
        }
    }

    /// The `cores` cannot agree: each goes on with its part of what was left when they last did.
    pub fn use_own_share(&self, cores: usize) {
        let Some(limit) = self.settings.per_day else { return };
        let mut state = self.state();
        if state.own_limit.is_none() {
            let cores = u64::try_from(cores).unwrap_or(u64::MAX).max(1);
            // What was used here since is of its part: the others do not know of it.
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

/// What one call costs. Counted when it is dropped, however the call ends: a prompt that was read is paid for
/// also if the person stops the answer.
#[derive(Debug)]
pub(super) struct Charge {
    tokens: Arc<DailyTokens>,
    prompt: u64,
    chars: usize,
    counted: Option<Usage>,
    is_free: bool,
}

impl Charge {
    /// Of a call with a prompt of so many characters and messages.
    pub(super) fn new(tokens: &Arc<DailyTokens>, chars: usize, messages: usize) -> Self {
        let prompt = tokens.estimate(chars, messages);
        Self { tokens: Arc::clone(tokens), prompt, chars: 0, counted: None, is_free: false }
    }

    /// More characters of the answer.
    pub(super) fn add(&mut self, chars: usize) {
        self.chars += chars;
    }

    /// The provider has counted.
    pub(super) fn count(&mut self, usage: Option<Usage>) {
        self.counted = usage.or(self.counted);
    }

    /// The call was refused or never arrived.
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
    fn a_call_costs_what_was_counted_else_an_estimate() {
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
    fn the_limit_holds_for_a_day() {
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
    fn cores_agree_and_part_what_is_left_when_they_cannot() {
        let tokens = tokens(Some(1_000));
        tokens.spend(100);
        let report = tokens.report();
        assert_eq!(report, UsageReport { day: 1, known: 0, added: 100 });
        // Used while the others were told.
        tokens.spend(10);
        tokens.reconcile(report, 700);
        assert_eq!((tokens.used(), tokens.report()), (710, UsageReport { day: 1, known: 700, added: 10 }));
        // A third of the 300 that were left when they agreed, of which 10 are used.
        tokens.use_own_share(3);
        tokens.spend(89);
        assert!(!tokens.is_used_up());
        tokens.spend(1);
        tokens.use_own_share(3);
        assert!(tokens.is_used_up());
        let report = tokens.report();
        tokens.reconcile(report, 800);
        assert!(!tokens.is_used_up());
        // Word of yesterday.
        tokens.begin_day(2);
        tokens.reconcile(report, 5_000);
        assert_eq!(tokens.used(), 0);
    }

    #[test]
    fn what_is_used_before_the_day_is_known_is_of_that_day() {
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
