//! Streamed response body: groups of chunks with delays, and a scripted end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::llm::answer::{Answer, Hang};
use crate::llm::call_log::OpenCall;

/// The scripted reset of the connection.
#[derive(Debug, thiserror::Error)]
#[error("scripted cut")]
pub(super) struct Cut;

/// Behaviour after the last group.
#[derive(Debug)]
enum End {
    Whole,
    Silence,
    /// Lets hyper flush the pieces before the reset: it writes its buffer when the body is pending.
    FlushThenCut,
    Cut,
}

/// Response body. If it is dropped early, its [`OpenCall`] records a cancellation by the client.
#[derive(Debug)]
pub(super) struct AnswerBody {
    segments: VecDeque<Bytes>,
    /// Set while the next group is delayed.
    pause: Option<Pin<Box<Sleep>>>,
    gap: Duration,
    /// Set while the last group is held back.
    held: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Delay from the last group to the end.
    end_gap: Duration,
    end: End,
    open_call: OpenCall,
}

impl AnswerBody {
    /// Starts the delays of `answer`, whose bytes are `segments`.
    pub(super) fn new(answer: &Answer, segments: Vec<Bytes>, open_call: OpenCall) -> Self {
        let first = Duration::from_millis(answer.first_ms);
        let pause = (!first.is_zero()).then(|| Box::pin(sleep_until(Instant::now() + first)));
        let end = match (answer.cut, answer.hang) {
            (true, _) => End::FlushThenCut,
            (false, Some(Hang::Stream | Hang::End)) => End::Silence,
            (false, _) => End::Whole,
        };
        let (gap, end_gap) = (Duration::from_millis(answer.gap_ms), Duration::from_millis(answer.end_ms));
        Self { segments: segments.into(), pause, gap, held: None, end_gap, end, open_call }
    }

    /// Holds back the last group until `released`.
    pub(super) fn held(self, released: WaitForCancellationFutureOwned) -> Self {
        Self { held: Some(Box::pin(released)), ..self }
    }

    /// Starts the next delay at the end of the last one, so that delays do not drift.
    fn start_pause(&mut self, last: Option<Pin<Box<Sleep>>>) {
        let gap = if self.segments.is_empty() { self.end_gap } else { self.gap };
        if gap.is_zero() {
            return;
        }
        let from = last.as_ref().map_or_else(Instant::now, |sleep| sleep.deadline());
        let mut sleep = last.unwrap_or_else(|| Box::pin(sleep_until(from)));
        sleep.as_mut().reset(from + gap);
        self.pause = Some(sleep);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(pause) = self.pause.as_mut() {
            ready!(pause.as_mut().poll(cx));
        }
        let last = self.pause.take();
        if self.segments.len() == 1
            && let Some(held) = self.held.as_mut()
        {
            ready!(held.as_mut().poll(cx));
            self.held = None;
        }
        if let Some(segment) = self.segments.pop_front() {
            self.start_pause(last);
            return Poll::Ready(Some(Ok(Frame::data(segment))));
        }
        match self.end {
            End::Whole => {
                self.open_call.finish();
                Poll::Ready(None)
            }
            End::Silence => Poll::Pending,
            End::FlushThenCut => {
                self.end = End::Cut;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            End::Cut => {
                self.open_call.finish();
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }
}
