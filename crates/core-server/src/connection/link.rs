//! Parts of a connection that every mode uses: shared state, the peer, output and the running task.

use std::sync::Arc;

use limits::ClientSubnet;
use protocol::server_frame::ErrorFrame;
use protocol::{CloseReason, ErrorCode, Language, MessageId, ServerFrame};
use tokio::task::JoinHandle;

use super::attached::Attached;
use super::completion::Completion;
use super::line_reader::ReadError;
use super::writer::Writer;
use super::{Context, Peer, texts};
use crate::sessions::{Call, Opened, SessionError};

/// Connection as its mode sees it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) context: Arc<Context>,
    pub(super) peer: Peer,
    pub(super) writer: Writer,
    /// Work that the next line waits for, so that lines take effect in their order.
    pub(super) work: Option<Work>,
    /// Ends the connection, once everything is written.
    pub(super) closing: Option<CloseReason>,
}

/// Work in progress for a connection.
#[derive(Debug)]
pub(super) enum Work {
    Task(JoinHandle<Completion>),
    /// A submitted message, which needs no task: the session handles it.
    Submission(Call),
}

impl Work {
    /// Waits for the end of the work. Returns `None` if its task panicked.
    ///
    /// # Cancel safety
    ///
    /// Safe: the work continues, and the next call waits for it.
    pub(super) async fn completion(&mut self) -> Option<Completion> {
        match self {
            Self::Task(task) => task.await.ok(),
            Self::Submission(submission) => {
                // The session has published the result.
                let _ = submission.await;
                Some(Completion::Submitted)
            }
        }
    }
}

impl Link {
    pub(super) fn new(peer: Peer, context: Arc<Context>) -> Self {
        Self { context, peer, writer: Writer::default(), work: None, closing: None }
    }

    /// Spawns `work`; the next line waits for its completion. If the connection ends first, `work` still completes, and
    /// its completion is dropped.
    pub(super) fn spawn(&mut self, work: impl Future<Output = Completion> + Send + 'static) {
        self.work = Some(Work::Task(self.context.tasks.spawn(work)));
    }

    /// Makes the next line wait for the result of a submitted message.
    pub(super) fn await_submission(&mut self, submission: Call) {
        self.work = Some(Work::Submission(submission));
    }

    /// Joins a session. Returns its highest `seq` too; `None` if it was erased, or has another token by now.
    pub(super) fn attach(&self, opened: Opened, resumed: bool) -> Option<(Attached, u64)> {
        let Opened { session, key, .. } = opened;
        let (id, seq) = session.attach(key, Arc::clone(self.writer.outbox()))?;
        self.in_span(|| tracing::info!(user = %session.user(), session.resumed = resumed, "session opened"));
        Some((Attached::new(session, id), seq))
    }

    /// Runs `log`, whose lines get the ids of the connection.
    pub(super) fn in_span(&self, log: impl FnOnce()) {
        super::span(self.peer.trace.trace_id).in_scope(log);
    }

    pub(super) fn client_subnet(&self) -> ClientSubnet {
        ClientSubnet::of(self.peer.address)
    }

    pub(super) fn error_frame(&self, code: ErrorCode, id: Option<MessageId>, language: Language) -> ServerFrame {
        ServerFrame::Error(ErrorFrame::new(code, language).with_id(id).with_trace(self.peer.trace.trace_id))
    }

    /// Closes after a read error; a client of another protocol (HTTP, TLS) gets an explanation first.
    pub(super) fn on_read_error(&mut self, error: &ReadError) {
        self.closing = Some(match error {
            ReadError::Io(_) => CloseReason::ClientGone,
            ReadError::ForeignProtocol => {
                self.writer.write_line(texts::FOREIGN_PROTOCOL);
                CloseReason::VersionUnsupported
            }
            ReadError::ProxyHeader { closing_line } => {
                self.peer.closing_line |= closing_line;
                self.peer.late_header
            }
        });
    }

    /// Writes an error as a line of the plain face.
    pub(super) fn write_error(&mut self, code: ErrorCode, language: Language) {
        self.writer.write_line(&code.message(language, None));
    }

    /// Writes a failure of the store as a line of the plain face.
    pub(super) fn write_store_error(&mut self, error: &SessionError, language: Language) {
        if let SessionError::Gone = error {
            // Erased; the session closes this connection.
            return self.writer.write_line(texts::erased_meanwhile(language));
        }
        self.in_span(|| tracing::error!(%error, "store operation failed"));
        self.writer.write_line(&error.rejection().frame(language).message);
    }
}
