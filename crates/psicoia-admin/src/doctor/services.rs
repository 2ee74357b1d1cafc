//! Checks of each service by its admin port, and of all beside each other.

use std::collections::BTreeMap;

use super::findings::Finding;
use crate::endpoint::Endpoint;
use crate::scrape::{Check, Sample, ScrapeError};

/// Share of the open files from which a service is near its limit.
const NEAR_LIMIT: f64 = 0.8;
/// Limit on files below which a service holds few people: each takes two in a gateway.
const FEW_FILES: f64 = 4_096.0;

const START_SERVICE: &str = "is the service running? Is --admin its ADMIN_HOST and ADMIN_PORT?";
const UPGRADE_ALL: &str = "upgrade the others too: services of different versions together are not tested";
const RAISE_FILES: &str = "raise the limit (ulimit -n, LimitNOFILE=, ulimits: of compose) and restart the service";

/// Checks the service at `endpoint`: readiness with its reasons, files.
pub(super) fn examine(endpoint: &Endpoint, sample: &Result<Sample, ScrapeError>) -> Vec<Finding> {
    let sample = match sample {
        Ok(sample) => sample,
        Err(error) => return vec![Finding::failure(endpoint.to_string(), error.to_string(), START_SERVICE)],
    };
    let checks = sample.readiness.checks.iter().map(|check| readiness(endpoint, check));
    checks.chain([files(endpoint, sample.sum("process_open_fds"), sample.sum("process_max_fds"))]).collect()
}

fn readiness(endpoint: &Endpoint, Check { name, state, reason, detail }: &Check) -> Finding {
    let check = format!("{endpoint} {name}");
    let said = reason.as_ref().or(detail.as_ref()).unwrap_or(state).clone();
    match state.as_str() {
        "ok" => Finding::ok(check, said),
        "degraded" => Finding::warning(check, said, remedy(name)),
        _ => Finding::failure(check, said, remedy(name)),
    }
}

/// Remedy for a check of `/readyz` that is not ok; the reason beside it names the setting.
fn remedy(check: &str) -> &'static str {
    match check {
        "draining" => "it was told to end (SIGTERM): start it again, unless this is an upgrade",
        "store" => "docs/runbooks.md#databaseaway",
        "redis" => "docs/runbooks.md#redisaway",
        "model" => "docs/runbooks.md#breakeropen",
        "tokens" => "docs/runbooks.md#companionanswers",
        "cores" => "docs/runbooks.md#coremissing",
        _ => "docs/debugging.md",
    }
}

fn files(endpoint: &Endpoint, open: f64, most: f64) -> Finding {
    let check = format!("{endpoint} files");
    let detail = format!("{open:.0} open of {most:.0}");
    if NEAR_LIMIT * most < open || most < FEW_FILES {
        Finding::warning(check, detail, RAISE_FILES)
    } else {
        Finding::ok(check, detail)
    }
}

/// Compares the versions of the services that answer; nothing if none does.
pub(super) fn versions(reached: &[(&Endpoint, &Sample)]) -> Option<Finding> {
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (endpoint, sample) in reached {
        for version in sample.by_label("psicoia_build_info", "version").into_keys() {
            services.entry(version).or_default().push(endpoint.to_string());
        }
    }
    if services.len() < 2 {
        return services.into_keys().next().map(|version| Finding::ok("versions", format!("all {version}")));
    }
    let each: Vec<_> = services.iter().map(|(version, at)| format!("{version} at {}", at.join(", "))).collect();
    Some(Finding::warning("versions", each.join("; "), UPGRADE_ALL))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::findings::State;
    use super::*;
    use crate::scrape::tests::sample;

    fn endpoint() -> Endpoint {
        "core:9101".parse().unwrap()
    }

    #[test]
    fn judges_readiness_and_files() {
        let check = |state: &str| Check {
            name: "store".to_owned(),
            state: state.to_owned(),
            reason: (state != "ok").then(|| "no answer".to_owned()),
            detail: None,
        };
        for (finding, want) in [
            (readiness(&endpoint(), &check("ok")), State::Ok),
            (readiness(&endpoint(), &check("degraded")), State::Warning),
            (readiness(&endpoint(), &check("down")), State::Failure),
            (files(&endpoint(), 100.0, 10_000.0), State::Ok),
            (files(&endpoint(), 9_000.0, 10_000.0), State::Warning),
            (files(&endpoint(), 10.0, 1_024.0), State::Warning),
        ] {
            assert_eq!(finding.state, want, "{finding:?}");
        }
        let unreachable = examine(&endpoint(), &Err(ScrapeError::Status(500)));
        assert_eq!((unreachable.len(), unreachable[0].state), (1, State::Failure));
    }

    #[tokio::test]
    async fn compares_versions() {
        let of = |version: &str| {
            sample(
                &format!("# TYPE psicoia_build_info gauge\npsicoia_build_info{{version=\"{version}\"}} 1\n"),
                Instant::now(),
            )
        };
        let (endpoint, [one, other]) = (endpoint(), ["1.0.0", "1.1.0"].map(of));
        assert_eq!(versions(&[]), None);
        assert_eq!(versions(&[(&endpoint, &one), (&endpoint, &one)]).unwrap(), Finding::ok("versions", "all 1.0.0"));
        let differ = versions(&[(&endpoint, &one), (&endpoint, &other)]).unwrap();
        assert_eq!((differ.state, differ.detail.as_str()), (State::Warning, "1.0.0 at core:9101; 1.1.0 at core:9101"));
    }
}
