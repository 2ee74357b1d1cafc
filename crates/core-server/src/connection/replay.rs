//! Replay of missed entries, page by page, before live frames.

use std::sync::Arc;

use protocol::{CloseReason, ServerFrame};
use store::ReadableEntries;

use super::{Attached, Connection};
use crate::sessions::SessionError;

/// Page size, in entries: bounds the memory of one replay.
const PAGE: usize = 50;

/// Replay in progress: entries with `after` < `seq` <= `last`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replay {
    pub(super) after: u64,
    pub(super) last: u64,
}

impl Connection {
    /// Reads the next page, unless a task is running: its completion comes back here.
    pub(super) fn continue_replay(&mut self, replay: Replay) {
        if self.task.is_some() {
            return;
        }
        let Some(Attached { session, .. }) = &self.attached else {
            self.replay = None;
            return;
        };
        let session = Arc::clone(session);
        self.spawn_then(async move {
            let page = session.entries_after(replay.after, PAGE).await;
            move |connection: &mut Self| connection.on_replay_page(replay, page)
        });
    }

    fn on_replay_page(&mut self, replay: Replay, page: Result<ReadableEntries, SessionError>) {
        self.replay = None;
        match page {
            Err(error) => {
                // Live frames must not follow the gap: the client would take them for the next entries.
                self.attached = None;
                self.outbox = Arc::default();
                self.closing = Some(match error {
                    SessionError::Gone => CloseReason::Erased,
                    error => {
                        tracing::error!(trace_id = %self.peer.trace.trace_id, %error, "replay failed");
                        CloseReason::Internal
                    }
                });
            }
            Ok(page) => {
                // Also past entries that cannot be decrypted, which are left out.
                let after = page.last_seq().unwrap_or(replay.after).min(replay.last);
                for entry in page.entries.into_iter().take_while(|entry| entry.seq <= replay.last) {
                    ServerFrame::Turn(entry).encode_line(&mut self.out);
                }
                self.replay = (replay.after < after && after < replay.last).then_some(Replay { after, ..replay });
            }
        }
    }
}
