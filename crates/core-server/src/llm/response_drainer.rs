//! What a provider sends after all that was wanted of it. A connection can be used again only once the response has
//! been read to its end, and that often comes after the answer's: a moment later, by itself. Nobody waits for it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::call_limiter::CallGuard;
use super::http::ResponseBody;

/// How long the end of a response may take after what was wanted of it; later, to connect anew costs less.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Most bytes of an error's description that are read to keep its connection.
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// The ends of one provider's responses. None of them outlives it.
#[derive(Debug)]
pub(super) struct ResponseDrainer {
    tasks: TaskTracker,
    life: CancellationToken,
    _end: DropGuard,
}

impl ResponseDrainer {
    /// None is awaited.
    pub(super) fn new() -> Self {
        let life = CancellationToken::new();
        Self { tasks: TaskTracker::new(), _end: life.clone().drop_guard(), life }
    }

    /// Lets `rest`, which reads what is left of a response, come to its end in at most [`DRAIN_TIMEOUT`]; given up, it is
    /// dropped and its connection closed. `call` is under way until then, so that its connection counts.
    ///
    /// Most often the end is there already: then this is all there is to it.
    pub(super) fn finish(&self, mut rest: BoxFuture<'static, ()>, call: CallGuard) {
        if rest.as_mut().now_or_never().is_none() {
            // Not among the tasks a drain waits for: nothing is lost with it.
            self.tasks.spawn(self.life.clone().run_until_cancelled_owned(async move {
                // Read or given up, the connection is seen to either way.
                let _ = timeout(DRAIN_TIMEOUT, rest).await;
                drop(call);
            }));
        }
    }
}

/// Reads `body`, which nobody wants, to its end, unless it is long.
pub(super) async fn drain_body(mut body: ResponseBody) {
    let mut left = MAX_DRAINED_BYTES;
    while let Some(Ok(bytes)) = body.next().await {
        match left.checked_sub(bytes.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}
