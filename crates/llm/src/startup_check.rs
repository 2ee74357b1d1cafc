//! Startup check: requests each provider's list of models, free of charge.
//!
//! Shows the operator a wrong key or URL before the first person meets it. Many servers have no such list, or an
//! unreliable one, so that only certain findings count.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use http_body_util::BodyDataStream;
use hyper::{Response, StatusCode};
use reqwest::Body;
use serde_json::Value;
use tokio::time::timeout;

use super::error::LlmError;
use super::error_body::ErrorBody;
use super::health::{Health, Problem};
use super::provider::Provider;

/// Timeout of the check, which runs beside the service.
const LIMIT: Duration = Duration::from_secs(5);
/// Limit on the list; the longest known has about 500 kB.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Finding about the configured model.
#[derive(Debug)]
enum Finding {
    /// The list has it.
    Listed,
    /// The list lacks it; some servers answer under any name nevertheless.
    Unlisted,
    /// No message can be answered.
    Refused(LlmError),
    /// No usable list.
    Unknown,
}

/// Checks `providers`, records the result in `health`, and logs it.
pub(super) async fn check(providers: &[Provider], health: &Health) {
    let several = 1 < providers.len();
    let findings = join_all(providers.iter().map(find)).await;
    let found = || providers.iter().zip(&findings);
    let problems: Vec<_> = found().filter_map(|(provider, finding)| finding.problem(provider, several)).collect();
    let problem = problems.first().filter(|_| problems.len() == providers.len()).cloned();
    // Recorded *before* it is logged: `/readyz` must agree with a log line that is there.
    health.checked(problem, findings.iter().any(|finding| matches!(finding, Finding::Listed)));
    found().for_each(|(provider, finding)| finding.log(provider, several));
}

impl Finding {
    fn problem(&self, provider: &Provider, several: bool) -> Option<Problem> {
        match self {
            Self::Refused(error) => Some(Problem::new(provider, error, several)),
            Self::Listed | Self::Unlisted | Self::Unknown => None,
        }
    }

    /// Logs one line with advice.
    fn log(&self, provider: &Provider, several: bool) {
        let (llm, model) = (provider.name(), provider.model());
        match self {
            Self::Listed => tracing::info!(llm.provider = llm, "model {model} answers"),
            Self::Unlisted => tracing::warn!(
                llm.provider = llm,
                "model {model} is not among those that its provider lists: check {} if no answer comes",
                if several { "LLM_PROVIDERS" } else { "MODEL_NAME" }
            ),
            Self::Refused(_) => {
                let problem = self.problem(provider, several);
                let why = problem.as_ref().map_or("", Problem::text);
                tracing::warn!(llm.provider = llm, "model {model} does not answer: {why}");
            }
            Self::Unknown => {
                tracing::info!(llm.provider = llm, "model {model}: the first message shows whether it answers");
            }
        }
    }
}

async fn find(provider: &Provider) -> Finding {
    timeout(LIMIT, request_list(provider)).await.unwrap_or(Finding::Unknown)
}

async fn request_list(provider: &Provider) -> Finding {
    let response = match provider.list_models().await {
        None => return Finding::Unknown,
        Some(Err(error)) => return Finding::Refused(error),
        Some(Ok(response)) => Response::<Body>::from(response),
    };
    let status = response.status();
    let mut body = BodyDataStream::new(response.into_body());
    match status {
        StatusCode::OK => read(&mut body, provider.model()).await,
        // 403 is inconclusive: a key may be restricted to completions. So is a path without a list.
        status @ StatusCode::UNAUTHORIZED => {
            let body = Box::new(ErrorBody::read(&mut body).await);
            if body.text().contains("scope") {
                return Finding::Unknown;
            }
            Finding::Refused(LlmError::Status { status: status.as_u16(), retry_after: None, body })
        }
        _ => Finding::Unknown,
    }
}

async fn read<E>(body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin), model: &str) -> Finding {
    let mut bytes = Vec::new();
    while let Some(more) = body.next().await {
        match more {
            Ok(more) if bytes.len() + more.len() <= MAX_BYTES => bytes.extend_from_slice(&more),
            Ok(_) | Err(_) => return Finding::Unknown,
        }
    }
    finding(&bytes, model)
}

fn finding(list: &[u8], model: &str) -> Finding {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let lists = [&list["data"], &list["models"], &list];
    let rows = lists.into_iter().find_map(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut names =
        rows.iter().filter_map(|row| ["id", "name"].iter().find_map(|field| row[field].as_str())).peekable();
    if names.peek().is_none() {
        return Finding::Unknown;
    }
    // Ollama appends a tag, Gemini prepends a folder.
    let is_it = |name: &str| {
        let name = name.strip_prefix("models/").unwrap_or(name);
        name == model || name.strip_suffix(":latest") == Some(model)
    };
    if names.any(is_it) { Finding::Listed } else { Finding::Unlisted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_of_several_servers() {
        for (list, want) in [
            (r#"{"object":"list","data":[{"id":"a"},{"id":"m"}]}"#, "Listed"),
            (r#"{"data":[{"id":"m:latest"}]}"#, "Listed"),
            (r#"{"data":[{"id":"models/m"}]}"#, "Listed"),
            (r#"{"models":[{"name":"m"}]}"#, "Listed"),
            (r#"[{"id":"m"}]"#, "Listed"),
            (r#"{"data":[{"id":"a"}]}"#, "Unlisted"),
            (r#"{"data":[]}"#, "Unknown"),
            (r#"{"data":null}"#, "Unknown"),
            ("<html>", "Unknown"),
            ("", "Unknown"),
        ] {
            assert_eq!(format!("{:?}", finding(list.as_bytes(), "m")), want, "{list}");
        }
    }
}
