//! Whether answers come from the model: what `/readyz` says of it, and why.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chat_completions::Provider;
use super::error::LlmError;

/// Answers in a row without the model, from which on it counts as away whatever the reason. Fewer may be one person's
/// messages that every provider refuses.
const DEGRADED_AFTER: u32 = 3;

/// Whether answers come from the model, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Why they do not, and what to do; `None`: as far as is known they do.
    pub problem: Option<String>,
    /// The models, once it is known that they are there.
    pub models: Option<String>,
}

/// Outcomes of the messages so far, as far as they matter.
#[derive(Debug)]
pub(super) struct Health {
    models: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A model has answered, or its provider lists it.
    is_known: bool,
    /// Messages in a row that got no answer from a model.
    unanswered: u32,
    /// Why the last of them did not, if a provider was asked.
    last: Option<Problem>,
    /// Why none can, from before the first message.
    startup_problem: Option<Problem>,
}

/// Why a provider gave no answer, in words that may be shown to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    text: String,
    /// One is enough to know that no message gets an answer.
    is_misconfiguration: bool,
}

impl Problem {
    /// The failure of `provider`; `several`: the providers stand in a file.
    pub(super) fn new(provider: &Provider, error: &LlmError, several: bool) -> Self {
        let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
        let text = format!("{}: {error}{code}: {}", provider.name(), error.advice(several));
        Self { text, is_misconfiguration: error.is_misconfiguration() }
    }

    /// In words that may be shown to an operator.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Health {
    /// Of `models`, of which nothing is known yet.
    pub(super) fn new<'a>(models: impl Iterator<Item = &'a str>) -> Self {
        let mut named: Vec<&str> = models.collect();
        named.dedup();
        Self { models: named.join(", "), state: Mutex::default() }
    }

    /// A model has begun an answer.
    pub(super) fn answered(&self) {
        *self.state() = State { is_known: true, ..State::default() };
    }

    /// A message gets no answer from a model; `problem`: why, if a provider was asked.
    pub(super) fn unanswered(&self, problem: Option<Problem>) {
        let mut state = self.state();
        state.unanswered = state.unanswered.saturating_add(1);
        state.last = problem.or(state.last.take());
    }

    /// What the providers said at start: `problem`, if none of them can be asked; whether one lists its model.
    pub(super) fn checked(&self, problem: Option<Problem>, is_listed: bool) {
        let mut state = self.state();
        // A message that got its answer meanwhile is the better proof.
        if !state.is_known {
            *state = State { is_known: is_listed, startup_problem: problem, ..std::mem::take(&mut state) };
        }
    }

    /// What is known; `is_unavailable`: no provider is asked as usual.
    pub(super) fn readiness(&self, is_unavailable: bool) -> Readiness {
        let state = self.state();
        let last = state.last.as_ref().or(state.startup_problem.as_ref());
        let why = |text: &str| match last {
            Some(problem) => Some(format!("{text}; serving rule-based fallback ({})", problem.text)),
            None => Some(format!("{text}; serving rule-based fallback")),
        };
        let problem = if is_unavailable {
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

    fn told(health: &Health) -> String {
        health.readiness(false).problem.unwrap_or_default()
    }

    #[test]
    fn three_in_a_row_or_one_of_the_settings() {
        let health = Health::new(["m"].into_iter());
        assert_eq!(health.readiness(false), Readiness { problem: None, models: None });
        (0..2).for_each(|_| health.unanswered(problem(false)));
        assert_eq!(told(&health), "");
        health.unanswered(None);
        assert_eq!(
            told(&health),
            "3 consecutive messages got no answer from the model; serving rule-based fallback (p: no: check LLM_URL)"
        );
        health.answered();
        assert_eq!(health.readiness(false), Readiness { problem: None, models: Some("m".to_owned()) });
        health.unanswered(problem(true));
        assert_eq!(told(&health), "the provider cannot answer; serving rule-based fallback (p: no: check LLM_URL)");
        let alone = health.readiness(true).problem.unwrap();
        assert!(alone.starts_with("all circuit breakers open; serving rule-based fallback"), "{alone}");
    }

    #[test]
    fn what_was_found_at_start_stands_until_the_first_answer() {
        let health = Health::new(["m", "m", "n"].into_iter());
        health.checked(problem(true), false);
        assert!(told(&health).starts_with("the startup check of the provider failed; "));
        health.answered();
        assert_eq!(told(&health), "");
        health.checked(problem(true), false);
        assert_eq!(health.readiness(false), Readiness { problem: None, models: Some("m, n".to_owned()) });
    }
}
