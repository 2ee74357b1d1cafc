//! An answer as it comes: the reader of its stream, its connection, and its time limits.

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
use super::chat_completions::Provider;
use super::error::LlmError;
use super::http::ResponseBody;
use super::reader::{Reader, Step};
use super::tokens::Charge;
use crate::metrics::CallOutcome;

/// How long the rest of a stream may take once its finish reason is there: counts of tokens follow at once, and
/// people wait for the end of the answer.
const AFTER_FINISH: Duration = Duration::from_secs(1);

/// An error, and the rest of the response if its connection is worth keeping.
pub(super) type Failed = (LlmError, Option<BoxFuture<'static, ()>>);

/// An answer that has begun: its first piece is there.
#[derive(Debug)]
pub struct CompletionStream<'a> {
    provider: &'a Provider,
    /// Until its outcome is known.
    permit: Option<CallPermit<'a>>,
    first: Option<TextDelta>,
    /// Until nothing is left to be read.
    body: Option<ResponseBody>,
    reader: Reader,
    /// When the whole call has to be over.
    deadline: Instant,
    timeouts: CallTimeouts,
    /// There once its first piece is, until the answer is complete.
    call: Option<CallGuard>,
    /// What it costs; there with the call.
    charge: Option<Charge>,
    /// Its thinking, or that there is none, was counted.
    is_counted: bool,
}

/// A piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct TextDelta {
    /// Its text.
    pub text: UserText,
    /// The answer begins here: the pieces before were the model's thinking.
    pub restarts: bool,
}

impl<'a> CompletionStream<'a> {
    /// Waits for the first piece of the answer in `body`, until `first_by`, or as long as the model is seen to think:
    /// then its silence is limited, and the whole.
    pub(super) async fn begin(
        provider: &'a Provider,
        body: ResponseBody,
        (deadline, first_by): (Instant, Instant),
        late: LlmError,
    ) -> Result<Self, Failed> {
        let (reader, timeouts) = (Reader::new(provider.suspects_thinking()), provider.timeouts());
        let (permit, first, body) = (None, None, Some(body));
        let (call, charge, is_counted) = (None, None, false);
        let mut answer = Self { provider, permit, first, body, reader, deadline, timeouts, call, charge, is_counted };
        let mut until = first_by;
        loop {
            match answer.step_until(until).await {
                Some(Step::Text { text, .. }) => {
                    answer.first = Some(TextDelta { text: UserText::new(text), restarts: false });
                    return Ok(answer);
                }
                // A model that thinks is at work: what it costs is bounded by the limit of the whole call.
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

    /// Has the outcome of the answer counted by the breaker that gave `permit` to the call.
    pub(super) fn counted_by(mut self, mut permit: CallPermit<'a>) -> Self {
        permit.first_token();
        self.permit = Some(permit);
        self
    }

    /// The same answer, for which `call` was made, at a `charge`.
    pub(super) fn of_call(self, call: CallGuard, charge: Charge) -> Self {
        Self { call: Some(call), charge: Some(charge), ..self }
    }

    /// The model that gives it.
    pub fn model(&self) -> &str {
        self.provider.model()
    }

    /// The next piece; `None` when the answer is complete.
    ///
    /// # Errors
    ///
    /// The stream broke, went silent for too long, or is not the API's. What came before
    /// is all there will be.
    ///
    /// # Cancel safety
    ///
    /// Safe: what has been read is not lost.
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

    /// How the model ended its answer; known after [`CompletionStream::next`] gave `None`.
    pub fn finish(&self) -> Finish {
        self.reader.how_it_ended()
    }

    /// Tokens counted, if the provider tells.
    pub fn usage(&self) -> Option<Usage> {
        self.reader.usage()
    }

    fn failed(&mut self, error: LlmError) -> LlmError {
        // Dropped, it counts what was good: the answer had begun.
        if let Some(permit) = self.permit.take().filter(|_| error.is_provider_fault()) {
            permit.failed(Instant::now());
        }
        if let Some(call) = &mut self.call {
            call.ended(error.outcome());
        }
        error
    }

    /// The end of the answer is not held up by the end of the response.
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

    /// Reads on after the end of the answer, until the response ends or turns out not to.
    fn rest(&mut self) -> Option<BoxFuture<'static, ()>> {
        let mut body = self.body.take()?;
        // The end, or data that nothing needs: that closes the connection.
        Some(async move { drop(body.next().await) }.boxed())
    }

    /// The next step; `None` if there is none by `until`.
    async fn step_until(&mut self, until: Instant) -> Option<Step> {
        let step = match timeout_at(until, self.step()).await {
            Ok(step) => Some(step),
            // All of the answer is there; only what might have followed is late.
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
            // Before the first piece, everything that has come already: a tag that closes thinking may be in it.
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

    /// Gives up the connection: there is only what has come.
    fn close(&mut self) {
        self.body = None;
        self.reader.finish(true);
    }
}
