//! Findings of the checks, and their report.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(super) check: String,
    pub(super) state: State,
    pub(super) detail: String,
    /// The remedy; empty if there is none to take.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) remedy: &'static str,
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warning,
    Failure,
}

/// All findings, in the order of the checks.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    state: State,
    findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Ok, detail: detail.into(), remedy: "" }
    }

    pub(super) fn warning(check: impl Into<String>, detail: impl Into<String>, remedy: &'static str) -> Self {
        Self { check: check.into(), state: State::Warning, detail: detail.into(), remedy }
    }

    pub(super) fn failure(check: impl Into<String>, detail: impl Into<String>, remedy: &'static str) -> Self {
        Self { check: check.into(), state: State::Failure, detail: detail.into(), remedy }
    }
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        let state = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
        Self { state, findings }
    }

    /// Returns 0 if all is well, 1 for a warning, 2 for a failure.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.state {
            State::Ok => 0,
            State::Warning => 1,
            State::Failure => 2,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, state, detail, remedy } in &self.findings {
            let state = match state {
                State::Ok => "ok",
                State::Warning => "WARNING",
                State::Failure => "FAILURE",
            };
            writeln!(f, "{state:<8} {check}: {detail}")?;
            if !remedy.is_empty() {
                writeln!(f, "         → {remedy}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_finding_decides() {
        let [ok, warning] = [Finding::ok("page", "loads"), Finding::warning("disk", "8 % left", "make room")];
        let failure = Finding::failure("core", "refused", "start it");
        for (findings, want) in [
            (vec![], ExitCode::from(0)),
            (vec![ok.clone()], ExitCode::from(0)),
            (vec![warning.clone(), ok.clone()], ExitCode::from(1)),
            (vec![warning, failure, ok], ExitCode::from(2)),
        ] {
            assert_eq!(Report::new(findings).exit_code(), want);
        }
    }

    #[test]
    fn prints_remedies() {
        let report = Report::new(vec![Finding::ok("page", "loads"), Finding::warning("disk", "8 % left", "make room")]);
        assert_eq!(report.to_string(), "ok       page: loads\nWARNING  disk: 8 % left\n         → make room\n");
    }
}
