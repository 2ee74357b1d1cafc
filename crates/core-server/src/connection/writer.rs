//! Output of a connection: the outbox, and the write buffer that is filled from it.

use std::sync::Arc;

use bytes::BytesMut;
use protocol::{CloseReason, ServerFrame};
use tokio::time::Instant;

use crate::sessions::Outbox;

/// Bytes buffered for one write. Further frames wait in the outbox, where deltas are joined.
const WRITE_BYTES: usize = 16 * 1_024;

/// Everything that goes to the client. Holds no buffer while there is nothing to write.
#[derive(Debug, Default)]
pub(super) struct Writer {
    outbox: Arc<Outbox>,
    buffer: BytesMut,
    /// Time of the last progress of `buffer`; `None` while it is empty. Base of the write timeout.
    stalled_since: Option<Instant>,
}

impl Writer {
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Returns the buffer for a write to the socket.
    pub(super) fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Returns true if the buffer takes another frame.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() < WRITE_BYTES
    }

    /// Returns true if the buffer is empty; frames may still wait in the outbox.
    pub(super) fn is_flushed(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Returns true if the buffer and the outbox are empty.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.outbox.is_empty()
    }

    /// Queues a frame behind those of the session.
    pub(super) fn push(&self, frame: ServerFrame) {
        self.outbox.push(frame);
    }

    /// Appends a frame to the buffer, ahead of the outbox.
    pub(super) fn write_frame(&mut self, frame: &ServerFrame) {
        frame.encode_line(&mut self.buffer);
    }

    /// Appends a line of the plain face to the buffer.
    pub(super) fn write_line(&mut self, line: &str) {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.extend_from_slice(b"\n");
    }

    pub(super) fn write_lines<L: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = L>) {
        lines.into_iter().for_each(|line| self.write_line(line.as_ref()));
    }

    /// Starts, or ends, the wait for progress: called once the buffer is filled.
    pub(super) fn on_filled(&mut self, now: Instant) {
        if self.buffer.is_empty() {
            self.stalled_since = None;
            // Frees the buffer: most connections are idle.
            self.buffer = BytesMut::new();
        } else {
            self.stalled_since.get_or_insert(now);
        }
    }

    /// Records that the socket accepted bytes.
    pub(super) fn on_progress(&mut self, now: Instant) {
        self.stalled_since = Some(now);
    }

    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// Returns the session's reason to close the connection, if there is one.
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.outbox.close_reason()
    }

    /// Drops the frames that wait in the outbox, and every later one of the session.
    pub(super) fn abandon_outbox(&mut self) {
        self.outbox = Arc::default();
    }

    /// Takes the unwritten bytes.
    pub(super) fn take_rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stalls_from_the_first_unwritten_byte_to_the_last() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut writer = Writer::default();
        writer.on_filled(begin);
        assert_eq!(writer.stalled_since(), None);
        writer.write_line("hola");
        writer.on_filled(begin);
        writer.on_filled(begin + second);
        assert_eq!(writer.stalled_since(), Some(begin), "more output is no progress");
        writer.on_progress(begin + second * 2);
        assert_eq!(writer.stalled_since(), Some(begin + second * 2));
        assert_eq!(writer.take_rest(), "hola\n");
        writer.on_filled(begin + second * 3);
        assert_eq!((writer.stalled_since(), writer.buffer.capacity()), (None, 0));
    }

    #[test]
    fn buffer_is_full_at_its_limit() {
        let mut writer = Writer::default();
        while writer.has_room() {
            writer.write_line(&"x".repeat(1_023));
        }
        assert_eq!(writer.take_rest().len(), WRITE_BYTES);
    }
}
