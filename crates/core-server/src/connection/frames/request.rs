//! Requests of a framed connection, and their responses.

use std::sync::Arc;

use limits::ClientSubnet;
use protocol::client_frame::Request;
use protocol::server_frame::ResponseResult;
use protocol::trace::Traceparent;
use protocol::{ErrorCode, Language, ServerFrame};
use safety::guide;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::{Frames, Phase};
use crate::connection::attached::{Attached, ai_notice};
use crate::connection::completion::Completion;
use crate::connection::link::Link;
use crate::connection::mode::PreSession;
use crate::connection::{Context, notices};
use crate::sessions::{LiveSession, Outbox, RequestError};
use session::{ConnectionId, MessageRejection};

impl Frames {
    /// Runs a request in a task of its own and responds from a second one, so that it delays no message and, below
    /// [`MAX_REQUESTS`](crate::connection::MAX_REQUESTS), no other request. The deadline ends the wait for a running
    /// request, never the request itself: an `erase` completes.
    pub(super) fn request(&mut self, request: Request, trace: Traceparent, link: &mut Link) {
        let Phase::Welcomed(welcomed) = &self.phase else { return };
        if let Some(response) = service_response(&request, &welcomed.attached, link) {
            return link.writer.push(response);
        }
        let (session, from) = (Arc::clone(&welcomed.attached.session), welcomed.attached.id);
        let (id, erases, deadline) = (request.id.clone(), request.method == "erase", Instant::now() + request.timeout);
        if erases {
            session.await_erasure(from);
        }
        let outbox = Arc::clone(link.writer.outbox());
        outbox.expect_response();
        // Held by both tasks: a short timeout must not let a client run more requests at once.
        let place = Outbox::occupy(&outbox);
        let run = RequestRun {
            session: Arc::clone(&session),
            from,
            request,
            deadline,
            permits: Arc::clone(&self.request_permits),
            context: Arc::clone(&link.context),
            subnet: link.client_subnet(),
        };
        let work = link.context.tasks.spawn(run.execute(Arc::clone(&place)));
        let answer = async move {
            let end = timeout_at(deadline, work).await;
            let erased = if erases { session.end_erasure(from) } else { None };
            let language = session.language();
            outbox.respond(match response(end, erased) {
                Ok(result) => ServerFrame::Response { id, result },
                Err(refusal) => {
                    ServerFrame::Error(refusal.frame(language).with_id(Some(id)).with_trace(trace.trace_id))
                }
            });
            drop(place);
            erased.map(|_| language)
        };
        if erases {
            // The next line waits: it must not find the erased session.
            link.spawn(async move { Completion::FramesErased(answer.await) });
        } else {
            link.context.tasks.spawn(answer);
        }
    }

    /// Leaves the session of a request `erase`, if it is gone: with its language.
    pub(in crate::connection) fn on_erased(&mut self, gone: Option<Language>) {
        if let Some(language) = gone {
            self.phase = Phase::BeforeWelcome(PreSession::new(language));
        }
    }
}

/// A request with all that its task needs.
struct RequestRun {
    session: Arc<LiveSession>,
    from: ConnectionId,
    request: Request,
    deadline: Instant,
    permits: Arc<Semaphore>,
    context: Arc<Context>,
    subnet: ClientSubnet,
}

impl RequestRun {
    /// Executes the request once it has its permits; holds `place` until its work has ended.
    async fn execute(self, place: impl Send) -> Result<ResponseResult, RequestError> {
        let Self { session, from, request, deadline, permits, context, subnet } = self;
        let permits_held = async { (permits.acquire().await.ok(), context.request_limiter.acquire(subnet).await) };
        // A request that has not begun by its deadline must not begin later: the client took it for failed.
        let result = match timeout_at(deadline, permits_held).await {
            Ok(_permit) => session.request(from, request).await,
            Err(_) => Err(RequestError::TooLate),
        };
        drop(place);
        result
    }
}

/// Builds the response to a request about the service; `None` for any other method. Uses no store.
fn service_response(request: &Request, attached: &Attached, link: &Link) -> Option<ServerFrame> {
    if request.method != "ai" {
        return notices::about(request, &link.context);
    }
    let text = guide::notice(attached.language());
    link.writer.push(ai_notice(text));
    Some(ServerFrame::Response { id: request.id.clone(), result: ResponseResult::Ai { text: text.to_owned() } })
}

/// Result of a request's task: done, panicked (`JoinError`), or past its deadline (`Elapsed`).
type RequestOutcome = Result<Result<Result<ResponseResult, RequestError>, JoinError>, Elapsed>;

/// Maps the end of a request to its response. `erased`: it was an `erase`, and the session with so many entries is
/// gone, by this request or by an earlier one whose deadline had passed.
fn response(end: RequestOutcome, erased: Option<u64>) -> Result<ResponseResult, MessageRejection> {
    let refused = |code| Err(MessageRejection::permanent(code));
    match (end, erased) {
        (Ok(Ok(Ok(result))), _) => Ok(result),
        (Ok(Ok(Err(error @ (RequestError::UnknownMethod | RequestError::BadParams)))), _) => Err(error.rejection()),
        (_, Some(erased)) => Ok(ResponseResult::Erased { erased }),
        (Ok(Ok(Err(error))), None) => Err(error.rejection()),
        (Ok(Err(_)), None) => refused(ErrorCode::Internal),
        (Err(_), None) => refused(ErrorCode::Timeout),
    }
}
