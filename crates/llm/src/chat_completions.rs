//! Calls to a provider with an OpenAI-compatible `chat/completions` API, with `stream: true`.

use std::time::SystemTime;

use futures_util::FutureExt as _;
use hyper::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use super::completion_stream::{CallDeadlines, CompletionStream, Failed};
use super::error::LlmError;
use super::error_body::ErrorBody;
use super::http::ResponseBody;
use super::provider::Provider;
use super::quirks::{MAX_LESSONS, Quirks};
use super::request::CompletionRequest;
use super::response_drainer;
use super::retry::parse_retry_after;

/// Share of the first-token timeout that a call must have had for its timeout to count against the provider; with
/// less, the calls before it used up the deadline.
const FAIR_SHARE: f64 = 0.95;
impl Provider {
    /// Makes one call and waits for the first token, until the request's deadline. Adapts to a rejection that names an
    /// unsupported part of the request, and repeats the call without that part.
    pub(super) async fn attempt(&self, request: &CompletionRequest<'_>) -> Result<CompletionStream<'_>, LlmError> {
        let timeouts = self.timeouts;
        let begin = Instant::now();
        let longest = timeouts.first_token.min(timeouts.total).min(request.first_token_limit);
        let left = request.deadline.saturating_duration_since(begin);
        let limit = longest.min(left);
        let mut lessons = 0;
        loop {
            let sent = self.quirks.current();
            match self.call(request, sent, begin + limit).await {
                // Earlier calls used up the deadline: this provider had no fair share of it.
                Err(LlmError::Timeout { .. }) if left < longest.mul_f64(FAIR_SHARE) => {
                    return Err(LlmError::Deadline { left });
                }
                Err(error) if lessons < MAX_LESSONS && self.quirks.learn(sent, &error) => lessons += 1,
                Err(LlmError::Timeout { waiting_for, .. }) => return Err(LlmError::Timeout { waiting_for, limit }),
                answered => return answered,
            }
        }
    }

    /// Sends one request, adapted to `quirks`.
    async fn call(
        &self,
        request: &CompletionRequest<'_>,
        quirks: Quirks,
        give_up: Instant,
    ) -> Result<CompletionStream<'_>, LlmError> {
        // The wait for a permit is part of the first-token limit.
        let mut call = self.calls.acquire(give_up).await?;
        let begin = Instant::now();
        let limit = give_up.saturating_duration_since(begin);
        let late = LlmError::Timeout { waiting_for: "first token", limit };
        let deadlines = CallDeadlines { total: begin + self.timeouts.total, first_token: give_up };
        let charge = request.charge();
        let begun = match timeout_at(give_up, self.send(request, quirks)).await {
            Ok(Ok(body)) => CompletionStream::begin(self, body, deadlines, late).await,
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err((late, None)),
        };
        let (error, rest) = match begun {
            Ok(answer) => return Ok(answer.of_call(call, charge)),
            Err(failed) => failed,
        };
        if error.is_free_of_charge() {
            charge.waive();
        }
        call.ended(error.outcome());
        if let Some(rest) = rest {
            self.drainer().finish(rest, call);
        }
        Err(error)
    }

    /// Sends the request and returns the body of a successful response.
    async fn send(&self, request: &CompletionRequest<'_>, quirks: Quirks) -> Result<ResponseBody, Failed> {
        let (headers, body) = (self.request.headers(request.context), self.request.body(request, quirks));
        let response = self.http.post(headers, body).await.map_err(|error| (LlmError::unreachable(&error), None))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = retry_after(response.headers());
            let mut body = response.into_body();
            let facts = Box::new(ErrorBody::read(&mut body).await);
            let error = LlmError::Status { status: status.as_u16(), retry_after, body: facts };
            return Err((error, Some(response_drainer::drain_body(body).boxed())));
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err((LlmError::Malformed { reason: "compressed, which was not asked for" }, None));
        }
        Ok(response.into_body())
    }
}

#[expect(clippy::disallowed_methods, reason = "a Retry-After date is calendar time, read at the edge")]
fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(value, SystemTime::now())
}
