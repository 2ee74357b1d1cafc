//! Drains response bodies so that their connections return to the pool: a connection is reusable only once its response
//! has been read to the end, which often arrives a moment after the end of the answer. No caller waits for it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::call_limiter::CallGuard;
use super::http::ResponseBody;

/// Timeout of a drain; after that a new connection costs less.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Limit on the bytes of an error body that are drained to keep its connection.
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// Drains of one provider's responses, cancelled on drop.
#[derive(Debug)]
pub(super) struct ResponseDrainer {
    tasks: TaskTracker,
    life: CancellationToken,
    _end: DropGuard,
}

impl ResponseDrainer {
    pub(super) fn new() -> Self {
        let life = CancellationToken::new();
        Self { tasks: TaskTracker::new(), _end: life.clone().drop_guard(), life }
    }

    /// Runs `rest`, the drain of a response, for at most [`DRAIN_TIMEOUT`], after which the connection is closed.
    /// `call` stays in flight until then, so that its connection counts.
    ///
    /// Spawns a task only if the end has not arrived yet, which is rare.
    pub(super) fn finish(&self, mut rest: BoxFuture<'static, ()>, call: CallGuard) {
        if rest.as_mut().now_or_never().is_none() {
            // Not tracked by the server's shutdown, which must not wait for it: nothing is lost with it.
            self.tasks.spawn(self.life.clone().run_until_cancelled_owned(async move {
                // Drained or timed out, the connection is settled either way.
                let _ = timeout(DRAIN_TIMEOUT, rest).await;
                drop(call);
            }));
        }
    }
}

/// Reads `body` to its end, up to [`MAX_DRAINED_BYTES`].
pub(super) async fn drain_body(mut body: ResponseBody) {
    let mut left = MAX_DRAINED_BYTES;
    while let Some(Ok(bytes)) = body.next().await {
        match left.checked_sub(bytes.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}
