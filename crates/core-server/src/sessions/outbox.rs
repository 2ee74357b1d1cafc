//! Bounded queue of frames to one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{CloseReason, ServerFrame};
use session::Delta;
use tokio::sync::Notify;

/// Capacity in bytes, estimated: several of the longest server lines. A full outbox closes its connection with
/// `slow_consumer`; the client resumes without loss. Responses come on top: the client asked for them, and a
/// connection has a bounded number of requests at once.
const MAX_BYTES: usize = 4 * protocol::limits::MAX_SERVER_LINE_BYTES;

/// Estimated bytes of a frame besides its text.
const FRAME_BYTES: usize = 128;
/// Estimated bytes of a help line.
const RESOURCE_BYTES: usize = 384;

/// Bounded queue from a session to one of its connections. Producers never wait: they run under the session's lock.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<ServerFrame>,
    bytes: usize,
    /// End of the delta at the back of the queue, in characters.
    delta_end: usize,
    close: Option<CloseReason>,
    /// Requests whose response is still to come.
    requests: usize,
    /// Requests without a response, or whose work continues after it.
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
    /// Appends `frame`, and wakes the connection's task.
    pub fn push(&self, frame: ServerFrame) {
        self.queue(frame);
        self.wake();
    }

    /// Appends `frame`; [`Outbox::wake`] is up to the caller.
    pub fn queue(&self, frame: ServerFrame) {
        self.add(|state| state.add(frame));
    }

    /// Appends a delta; [`Outbox::wake`] is up to the caller. One that continues the delta at the back of the queue is
    /// joined to it: a single delta is never delayed, and a backlog becomes one frame.
    pub fn queue_delta(&self, delta: Delta) {
        self.add(|state| state.add_delta(delta));
    }

    fn add(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.close.is_some() {
            return;
        }
        add(&mut state);
        if MAX_BYTES < state.bytes {
            state.close_with(CloseReason::SlowConsumer);
        }
    }

    /// Closes the connection for `reason` after the queue is written. The first reason wins.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        if state.close.is_none() {
            state.close = Some(reason);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Removes the next frame.
    pub fn take(&self) -> Option<ServerFrame> {
        let mut state = self.state();
        let frame = state.queue.pop_front()?;
        state.bytes = state.bytes.saturating_sub(weight(&frame));
        if state.queue.is_empty() {
            // Frees the buffer: most connections are idle.
            state.queue = VecDeque::new();
            state.bytes = 0;
        }
        Some(frame)
    }

    /// Removes the next frame if it is help.
    pub fn take_help(&self) -> Option<ServerFrame> {
        let is_help = matches!(self.state().queue.front(), Some(ServerFrame::Support(_)));
        if is_help { self.take() } else { None }
    }

    pub fn is_empty(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Returns the reason to close the connection, if there is one.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.state().close
    }

    /// Counts a request whose response will come through [`Outbox::respond`].
    pub fn expect_response(&self) {
        self.state().requests += 1;
    }

    pub fn respond(&self, frame: ServerFrame) {
        self.state().requests -= 1;
        self.push(frame);
    }

    /// Counts a request until the last clone of the permit is dropped.
    pub fn occupy(outbox: &Arc<Self>) -> Arc<RequestPermit> {
        outbox.state().occupied += 1;
        Arc::new(RequestPermit(Arc::clone(outbox)))
    }

    /// Returns the number of requests that occupy this connection.
    pub fn occupied(&self) -> usize {
        self.state().occupied
    }

    /// Returns the number of requests without a response.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits for a frame, a close reason, or a wake-up.
    ///
    /// # Cancel safety
    ///
    /// Safe: a notification without a waiter wakes the next call.
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
            // Help overtakes everything but earlier help: it must not wait behind a backlog.
            let at = self.queue.iter().take_while(|waiting| matches!(waiting, ServerFrame::Support(_))).count();
            self.bytes += weight(&frame);
            return self.queue.insert(at, frame);
        }
        self.bytes += weight(&frame);
        self.queue.push_back(frame);
    }

    fn add_delta(&mut self, delta: Delta) {
        let end = delta.offset + delta.chars;
        let is_continued = self.delta_end == delta.offset;
        self.delta_end = end;
        if let Some(ServerFrame::Delta { id, text, exercise, .. }) = self.queue.back_mut()
            && *id == delta.id
            && is_continued
        {
            text.push(&delta.text);
            *exercise = delta.exercise.or(*exercise);
            self.bytes += delta.text.len_bytes();
        } else {
            self.add(delta.into_frame());
        }
    }

    fn close_with(&mut self, reason: CloseReason) {
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.close = Some(reason);
    }
}

/// Estimates the bytes of `frame`.
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
        | ServerFrame::Forgotten(_)
        | ServerFrame::Error(_)
        | ServerFrame::Notice { .. }
        | ServerFrame::Pong { .. } => 0,
    };
    FRAME_BYTES + text
}

#[cfg(test)]
mod tests {
    use protocol::UserText;

    use super::*;

    fn delta(id: &str, offset: usize, text: &str) -> Delta {
        let text = UserText::new(text);
        Delta { id: id.parse().unwrap(), offset, chars: text.chars(), text, exercise: None }
    }

    #[test]
    fn joins_waiting_deltas() {
        let outbox = Outbox::default();
        for (offset, text) in [(0, "a"), (1, "ñ"), (2, "o")] {
            outbox.queue_delta(delta("x", offset, text));
        }
        outbox.queue_delta(delta("y", 3, "z"));
        outbox.push(ServerFrame::Pong { id: None });
        outbox.queue_delta(delta("y", 4, "z"));
        let frames: Vec<_> = std::iter::from_fn(|| outbox.take()).collect();
        assert_eq!(
            frames,
            [
                delta("x", 0, "año").into_frame(),
                delta("y", 3, "z").into_frame(),
                ServerFrame::Pong { id: None },
                delta("y", 4, "z").into_frame()
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
            outbox.queue_delta(delta("x", pushed * 2_000, &text));
            pushed += 1;
        }
        assert_eq!(outbox.close_reason(), Some(CloseReason::SlowConsumer));
        assert!((900..1_100).contains(&pushed), "{pushed}");
        outbox.queue_delta(delta("x", 0, "late"));
        assert!(outbox.is_empty());
    }
}
