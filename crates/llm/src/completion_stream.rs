//! Answer of a model as a stream: reader, connection, timeouts.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::UserText;
use protocol::server_frame::{Finish, Usage};
use tokio::time::{Instant, timeout, timeout_at};

use super::CallTimeouts;
use super::breaker::CallPermit;
use super::call_limiter::CallGuard;
use super::error::LlmError;
use super::http::ResponseBody;
use super::metrics::CallOutcome;
use super::provider::Provider;
use super::reader::{Reader, Step};
use super::tokens::Charge;

/// Timeout for the rest of a stream after its finish reason: token counts follow at once, and the person waits for the
/// end of the answer.
const AFTER_FINISH: Duration = Duration::from_secs(1);

/// A failure, and the drain of the response if its connection can be reused.
pub(super) type Failed = (LlmError, Option<BoxFuture<'static, ()>>);

/// Streamed answer whose first token has arrived. Dropping it cancels the call.
#[derive(Debug)]
pub struct CompletionStream<'a> {
    provider: &'a Provider,
    /// Until the outcome is recorded.
    permit: Option<CallPermit<'a>>,
    first: Option<TextDelta>,
    /// Until the response ends.
    body: Option<ResponseBody>,
    reader: Reader,
    /// End of the whole call.
    deadline: Instant,
    timeouts: CallTimeouts,
    /// Held from the first token until the answer is complete.
    call: Option<CallGuard>,
    /// Token charge of the call.
    charge: Option<Charge>,
    /// The provider's thinking statistics include this answer.
    is_counted: bool,
}

/// Deadlines of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallDeadlines {
    /// Whole call, thinking included.
    pub(super) total: Instant,
    /// First token of the answer or of thinking.
    pub(super) first_token: Instant,
}

/// Part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct TextDelta {
    /// The text.
    pub text: UserText,
    /// Discard the text so far, which was thinking: the answer begins here.
    pub restarts: bool,
}

impl<'a> CompletionStream<'a> {
    /// Waits for the first token of the answer in `body`, until its deadline; thinking extends the wait by the silence
    /// timeout, up to the deadline of the call.
    pub(super) async fn begin(
        provider: &'a Provider,
        body: ResponseBody,
        CallDeadlines { total: deadline, first_token }: CallDeadlines,
        late: LlmError,
    ) -> Result<Self, Failed> {
        let (reader, timeouts) = (Reader::new(provider.suspects_thinking()), provider.timeouts());
        let (permit, first, body) = (None, None, Some(body));
        let (call, charge, is_counted) = (None, None, false);
        let mut answer = Self { provider, permit, first, body, reader, deadline, timeouts, call, charge, is_counted };
        let mut until = first_token;
        loop {
            match answer.step_until(until).await {
                Some(Step::Text { text, .. }) => {
                    answer.first = Some(TextDelta { text: UserText::new(text), restarts: false });
                    return Ok(answer);
                }
                // Thinking is progress; the total timeout bounds its cost.
                Some(Step::Alive) => until = until.max(Instant::now() + timeouts.silence).min(deadline),
                Some(Step::End) => return Err((LlmError::Empty, answer.rest())),
                Some(Step::Failed(error @ (LlmError::Withheld { .. } | LlmError::Empty))) => {
                    return Err((error, answer.rest()));
                }
                Some(Step::Failed(error)) => return Err((error, None)),
                None => return Err((late, None)),
            }
        }
    }

    /// Attaches the breaker's permit, which records the outcome.
    pub(super) fn counted_by(mut self, mut permit: CallPermit<'a>) -> Self {
        permit.first_token();
        self.permit = Some(permit);
        self
    }

    /// Attaches the call and its charge.
    pub(super) fn of_call(self, call: CallGuard, charge: Charge) -> Self {
        Self { call: Some(call), charge: Some(charge), ..self }
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        self.provider.model()
    }

    /// Returns the next delta; `None` when the answer is complete.
    ///
    /// # Errors
    ///
    /// The stream broke, timed out, or is not the API's. No delta follows.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data.
    pub async fn next(&mut self) -> Option<Result<TextDelta, LlmError>> {
        let piece = self.next_piece().await;
        if let Some(charge) = &mut self.charge {
            match &piece {
                Some(Ok(piece)) => charge.add(piece.text.chars()),
                Some(Err(_)) | None => charge.count(self.reader.usage()),
            }
        }
        piece
    }

    async fn next_piece(&mut self) -> Option<Result<TextDelta, LlmError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        loop {
            let silent = Instant::now() + self.timeouts.silence;
            let (until, waiting_for, limit) = if silent < self.deadline {
                (silent, "next piece", self.timeouts.silence)
            } else {
                (self.deadline, "end of the answer", self.timeouts.total)
            };
            match self.step_until(until).await {
                Some(Step::Text { text, restarts }) => {
                    return Some(Ok(TextDelta { text: UserText::new(text), restarts }));
                }
                Some(Step::Alive) => {}
                Some(Step::End) => {
                    self.completed();
                    return None;
                }
                Some(Step::Failed(error)) => return Some(Err(self.failed(error))),
                None => return Some(Err(self.failed(LlmError::Timeout { waiting_for, limit }))),
            }
        }
    }

    /// Finish of the answer; valid after [`CompletionStream::next`] returned `None`.
    pub fn finish(&self) -> Finish {
        self.reader.how_it_ended()
    }

    /// Token counts, if the provider sends them.
    pub fn usage(&self) -> Option<Usage> {
        self.reader.usage()
    }

    fn failed(&mut self, error: LlmError) -> LlmError {
        // Otherwise the permit's drop records a success: the answer had begun.
        if let Some(permit) = self.permit.take().filter(|_| error.is_provider_fault()) {
            permit.failed(Instant::now());
        }
        if let Some(call) = &mut self.call {
            call.ended(error.outcome());
        }
        error
    }

    /// Records the outcome, and hands the rest of the response to the drainer: the end of the answer must not wait for
    /// the end of the response.
    fn completed(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.succeeded();
        }
        if let Some(mut call) = self.call.take() {
            call.ended(CallOutcome::Success);
            if let Some(rest) = self.rest() {
                self.provider.drainer().finish(rest, call);
            }
        }
    }

    /// Reads once more after the end of the answer.
    fn rest(&mut self) -> Option<BoxFuture<'static, ()>> {
        let mut body = self.body.take()?;
        // Data in place of the end drops the body, which closes the connection.
        Some(async move { drop(body.next().await) }.boxed())
    }

    /// Next step; `None` on timeout at `until`.
    async fn step_until(&mut self, until: Instant) -> Option<Step> {
        let step = match timeout_at(until, self.step()).await {
            Ok(step) => Some(step),
            // The answer is complete; only optional trailing data is late.
            Err(_) if self.reader.has_finish() => {
                self.close();
                self.reader.take()
            }
            Err(_) => None,
        };
        if !self.is_counted
            && let Some(is_unopened) = self.reader.has_unopened_thinking()
        {
            self.is_counted = true;
            self.provider.count_thinking(is_unopened);
        }
        step
    }

    async fn step(&mut self) -> Step {
        loop {
            if let Some(step) = self.reader.take() {
                return step;
            }
            let Some(body) = &mut self.body else {
                self.reader.finish(true);
                continue;
            };
            let next =
                if self.reader.has_finish() { timeout(AFTER_FINISH, body.next()).await } else { Ok(body.next().await) };
            match next {
                Ok(next) => self.read(next),
                Err(_) => self.close(),
            }
            // Before the first token, drain all buffered data: a tag that closes thinking may be in it, and text shown
            // too early would have to be taken back.
            while !self.reader.has_begun()
                && let Some(next) = self.body.as_mut().and_then(|body| body.next().now_or_never())
            {
                self.read(next);
            }
        }
    }

    fn read(&mut self, next: Option<Result<Bytes, hyper::Error>>) {
        match next {
            Some(Ok(bytes)) => self.reader.push(&bytes),
            Some(Err(_)) => self.close(),
            None => {
                self.body = None;
                self.reader.finish(false);
            }
        }
    }

    /// Drops the connection and ends the reader with the data so far.
    fn close(&mut self) {
        self.body = None;
        self.reader.finish(true);
    }
}
