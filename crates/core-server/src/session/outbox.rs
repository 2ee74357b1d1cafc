//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{CloseReason, ServerFrame, UserText};
use tokio::sync::Notify;

/// Most bytes that may wait, as an estimate: several of the longest server lines. A
/// connection whose outbox is full is closed with `slow_consumer`; it resumes and has lost
/// nothing. Responses come on top: the client asked for them, and a connection has a bounded number
/// of requests at once.
const MAX_BYTES: usize = 4 * protocol::limits::MAX_SERVER_LINE_BYTES;

/// What one frame weighs besides its text, about.
const FRAME_BYTES: usize = 128;
/// What a place to get help weighs, about.
const RESOURCE_BYTES: usize = 384;

/// The bounded queue between a session and one of its connections. Nobody who puts
/// something in ever waits.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<ServerFrame>,
    bytes: usize,
    /// Where the delta at the back of the queue ends, in characters.
    delta_end: usize,
    close: Option<CloseReason>,
    /// Requests under way; their responses will come here.
    requests: usize,
    /// Requests without a response, or whose work goes on after it.
    occupied: usize,
}

/// RAII: a request occupies its connection until it has its response and its work has ended.
#[derive(Debug)]
pub struct RequestPermit(Arc<Outbox>);

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.state().occupied -= 1;
        self.0.wake();
    }
}

impl Outbox {
    /// Puts `frame` in. A delta that continues the one at the back of the queue is joined
    /// to it: a lone piece is never held back, a backlog becomes one frame.
    pub fn push(&self, frame: ServerFrame) {
        let mut state = self.state();
        if state.close.is_some() {
            return;
        }
        state.add(frame);
        if MAX_BYTES < state.bytes {
            state.close_with(CloseReason::SlowConsumer);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the connection for `reason` once what is in the queue is written.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        if state.close.is_none() {
            state.close = Some(reason);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next frame to write.
    pub fn take(&self) -> Option<ServerFrame> {
        let mut state = self.state();
        let frame = state.queue.pop_front()?;
        state.bytes = state.bytes.saturating_sub(weight(&frame));
        if state.queue.is_empty() {
            // An idle connection holds no memory here.
            state.queue = VecDeque::new();
            state.bytes = 0;
        }
        Some(frame)
    }

    /// The next frame to write, if it is help.
    pub fn take_help(&self) -> Option<ServerFrame> {
        let is_help = matches!(self.state().queue.front(), Some(ServerFrame::Support(_)));
        if is_help { self.take() } else { None }
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Why the connection is to end, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.state().close
    }

    /// Counts a request whose response will be put in with [`Outbox::respond`].
    pub fn expect_response(&self) {
        self.state().requests += 1;
    }

    /// Puts in the response to a request.
    pub fn respond(&self, frame: ServerFrame) {
        self.state().requests -= 1;
        self.push(frame);
    }

    /// Counts a request until the last clone of what is returned is dropped.
    pub fn occupy(outbox: &Arc<Self>) -> Arc<RequestPermit> {
        outbox.state().occupied += 1;
        Arc::new(RequestPermit(Arc::clone(outbox)))
    }

    /// Requests that occupy this connection.
    pub fn occupied(&self) -> usize {
        self.state().occupied
    }

    /// Requests whose response is still to come.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Makes the connection look around again.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until something was put in, or the connection is to end.
    ///
    /// # Cancel safety
    ///
    /// Safe: a change that nobody saw wakes the next call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, frame: ServerFrame) {
        if let ServerFrame::Support(_) = &frame {
            // Before everything else, in the order of several.
            let at = self.queue.iter().take_while(|waiting| matches!(waiting, ServerFrame::Support(_))).count();
            self.bytes += weight(&frame);
            return self.queue.insert(at, frame);
        }
        if let ServerFrame::Delta { id, offset, text, exercise } = &frame {
            let end = offset + text.chars();
            if let Some(ServerFrame::Delta { id: back_id, text: back, exercise: back_exercise, .. }) =
                self.queue.back_mut()
                && *back_id == *id
                && self.delta_end == *offset
            {
                back.push(text);
                *back_exercise = exercise.or(*back_exercise);
                self.bytes += text.len_bytes();
                self.delta_end = end;
                return;
            }
            self.delta_end = end;
        }
        self.bytes += weight(&frame);
        self.queue.push_back(frame);
    }

    fn close_with(&mut self, reason: CloseReason) {
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.close = Some(reason);
    }
}

/// About how many bytes `frame` takes.
fn weight(frame: &ServerFrame) -> usize {
    let text = match frame {
        ServerFrame::Delta { text, .. } => text.len_bytes(),
        ServerFrame::Support(support) => support.text.len_bytes() + support.help.resources.len() * RESOURCE_BYTES,
        ServerFrame::Turn(entry) => {
            let resources = entry.help.as_ref().map_or(0, |help| help.resources.len());
            entry.text.len_bytes() + resources * RESOURCE_BYTES
        }
        // Bounded by their number: all of them may wait at once.
        ServerFrame::Response { .. } => return 0,
        ServerFrame::Welcome(_)
        | ServerFrame::Accepted { .. }
        | ServerFrame::Queued { .. }
        | ServerFrame::Done(_)
        | ServerFrame::Error(_)
        | ServerFrame::Notice { .. }
        | ServerFrame::Pong { .. } => 0,
    };
    FRAME_BYTES + text
}

/// A delta of `text` for message `id`.
pub(super) fn delta(id: protocol::MessageId, offset: usize, text: UserText) -> ServerFrame {
    ServerFrame::Delta { id, offset, text, exercise: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta_frame(id: &str, offset: usize, text: &str) -> ServerFrame {
        delta(id.parse().unwrap(), offset, UserText::new(text))
    }

    #[test]
    fn joins_waiting_deltas() {
        let outbox = Outbox::default();
        for (offset, text) in [(0, "a"), (1, "ñ"), (2, "o")] {
            outbox.push(delta_frame("x", offset, text));
        }
        outbox.push(delta_frame("y", 3, "z"));
        outbox.push(ServerFrame::Pong { id: None });
        outbox.push(delta_frame("y", 4, "z"));
        let frames: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!(
            frames,
            [
                delta_frame("x", 0, "año"),
                delta_frame("y", 3, "z"),
                ServerFrame::Pong { id: None },
                delta_frame("y", 4, "z")
            ]
        );
        assert_eq!(outbox.state().bytes, 0);
    }

    #[test]
    fn full_outbox_closes_connection_and_frees_its_queue() {
        let outbox = Outbox::default();
        let text = "x".repeat(1_000);
        let mut pushed = 0;
        while outbox.close_reason().is_none() {
            outbox.push(delta_frame("x", pushed * 2_000, &text));
            pushed += 1;
        }
        assert_eq!(outbox.close_reason(), Some(CloseReason::SlowConsumer));
        assert!((900..1_100).contains(&pushed), "{pushed}");
        outbox.push(delta_frame("x", 0, "late"));
        assert!(outbox.is_empty());
    }
}
