//! What a client missed, page by page, before it hears what happens now.

use std::sync::Arc;

use protocol::{CloseReason, ServerFrame};

use super::{Attached, Connection};
use crate::store::{ReadableEntries, StoreError};

/// Entries read from the store at once.
const PAGE: usize = 50;

/// A replay under way: entries after `after`, up to `last`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replay {
    pub(super) after: u64,
    pub(super) last: u64,
}

impl Connection {
    /// Reads the next page of a replay.
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

    fn on_replay_page(&mut self, replay: Replay, page: Result<ReadableEntries, StoreError>) {
        self.replay = None;
        match page {
            Err(error) => {
                // What comes after it is not told either: the client would take it for all there is.
                self.attached = None;
                self.outbox = Arc::default();
                self.closing = Some(match error {
                    StoreError::NoSession { .. } => CloseReason::Erased,
                    error => {
                        tracing::error!(trace_id = %self.peer.trace.trace_id, %error, "replay failed");
                        CloseReason::Internal
                    }
                });
            }
            Ok(page) => {
                // Past what does not open, too: it is left out, and the replay goes on behind it.
                let after = page.last_seq().unwrap_or(replay.after).min(replay.last);
                for entry in page.entries.into_iter().take_while(|entry| entry.seq <= replay.last) {
                    ServerFrame::Turn(entry).encode_line(&mut self.out);
                }
                self.replay = (replay.after < after && after < replay.last).then_some(Replay { after, ..replay });
            }
        }
    }
}
