//! Readiness of the model for `/readyz`, from the outcomes of messages and of the startup check.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::LlmError;
use super::provider::Provider;

/// Consecutive messages without a model answer that degrade the readiness for any reason. Fewer may be one person's
/// messages that every provider rejects.
const DEGRADED_AFTER: u32 = 3;

/// Readiness of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Reason and advice while degraded.
    pub problem: Option<String>,
    /// Models, once one has answered or is listed by its provider.
    pub models: Option<String>,
}

/// Tracks outcomes.
#[derive(Debug)]
pub(super) struct Health {
    models: String,
    /// Held for a few assignments only: every message and each `/readyz` takes it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A model has answered, or a provider lists it.
    is_known: bool,
    /// Consecutive messages without a model answer.
    unanswered: u32,
    /// Cause of the last one, if a provider was called.
    last: Option<Problem>,
    /// Finding of the startup check.
    startup_problem: Option<Problem>,
}

/// Cause of a failure, for operators; holds no text of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    text: String,
    /// One failure proves that no message can be answered.
    is_misconfiguration: bool,
}

impl Problem {
    /// Describes the failure of `provider`; `several`: providers are configured in a file, which the advice names.
    pub(super) fn new(provider: &Provider, error: &LlmError, several: bool) -> Self {
        let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
        let text = format!("{}: {error}{code}: {}", provider.name(), error.advice(several));
        Self { text, is_misconfiguration: error.is_misconfiguration() }
    }

    /// Text for operators.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Health {
    /// Creates the state for `models`, optimistic until the first outcome.
    pub(super) fn new<'a>(models: impl Iterator<Item = &'a str>) -> Self {
        let mut named: Vec<&str> = models.collect();
        named.dedup();
        Self { models: named.join(", "), state: Mutex::default() }
    }

    /// Records the begin of a model answer.
    pub(super) fn answered(&self) {
        *self.state() = State { is_known: true, ..State::default() };
    }

    /// Records a message without a model answer, and its cause if a provider was called.
    pub(super) fn unanswered(&self, problem: Option<Problem>) {
        let mut state = self.state();
        state.unanswered = state.unanswered.saturating_add(1);
        state.last = problem.or(state.last.take());
    }

    /// Records the startup check: `problem` if no provider can be called; `is_listed` if one lists its model.
    pub(super) fn checked(&self, problem: Option<Problem>, is_listed: bool) {
        let mut state = self.state();
        // A message answered in the meantime is the better proof.
        if !state.is_known {
            *state = State { is_known: is_listed, startup_problem: problem, ..std::mem::take(&mut state) };
        }
    }

    /// Returns the readiness, given the state of the breakers.
    pub(super) fn readiness(&self, all_breakers_open: bool) -> Readiness {
        let state = self.state();
        let last = state.last.as_ref().or(state.startup_problem.as_ref());
        let why = |text: &str| match last {
            Some(problem) => Some(format!("{text}; serving rule-based fallback ({})", problem.text)),
            None => Some(format!("{text}; serving rule-based fallback")),
        };
        let problem = if all_breakers_open {
            why("all circuit breakers open")
        } else if DEGRADED_AFTER <= state.unanswered {
            why(&format!("{} consecutive messages got no answer from the model", state.unanswered))
        } else if state.last.as_ref().is_some_and(|problem| problem.is_misconfiguration) {
            why("the provider cannot answer")
        } else if state.startup_problem.is_some() {
            why("the startup check of the provider failed")
        } else {
            None
        };
        Readiness { problem, models: state.is_known.then(|| self.models.clone()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(is_misconfiguration: bool) -> Option<Problem> {
        Some(Problem { text: "p: no: check LLM_URL".to_owned(), is_misconfiguration })
    }

    fn reason(health: &Health) -> String {
        health.readiness(false).problem.unwrap_or_default()
    }

    #[test]
    fn degrades_after_three_failures_or_one_misconfiguration() {
        let health = Health::new(["m"].into_iter());
        assert_eq!(health.readiness(false), Readiness { problem: None, models: None });
        (0..2).for_each(|_| health.unanswered(problem(false)));
        assert_eq!(reason(&health), "");
        health.unanswered(None);
        assert_eq!(
            reason(&health),
            "3 consecutive messages got no answer from the model; serving rule-based fallback (p: no: check LLM_URL)"
        );
        health.answered();
        assert_eq!(health.readiness(false), Readiness { problem: None, models: Some("m".to_owned()) });
        health.unanswered(problem(true));
        assert_eq!(reason(&health), "the provider cannot answer; serving rule-based fallback (p: no: check LLM_URL)");
        let alone = health.readiness(true).problem.unwrap();
        assert!(alone.starts_with("all circuit breakers open; serving rule-based fallback"), "{alone}");
    }

    #[test]
    fn startup_finding_holds_until_the_first_answer() {
        let health = Health::new(["m", "m", "n"].into_iter());
        health.checked(problem(true), false);
        assert!(reason(&health).starts_with("the startup check of the provider failed; "));
        health.answered();
        assert_eq!(reason(&health), "");
        health.checked(problem(true), false);
        assert_eq!(health.readiness(false), Readiness { problem: None, models: Some("m, n".to_owned()) });
    }
}
