//! Scripted model provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::llm::{Answer, Fallback, LlmStandin, Options, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Script of a provider.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// One answer per call; further calls fail the test.
    Answers(Vec<Answer>),
    /// The same answer to every call.
    Always(Answer),
    /// Raw bytes to every call, then the end of the connection.
    Bytes(&'static str),
    /// Refuses connections.
    Gone,
}

/// Running provider.
pub(super) enum Provider {
    Standin(LlmStandin),
    Bytes {
        url: String,
        calls: Arc<AtomicUsize>,
        _stop: DropGuard,
    },
    /// Bound but not listening: reserves the port and refuses connections.
    Gone(TcpSocket),
}

impl Provider {
    pub(super) async fn start(script: Script) -> Self {
        match script {
            Script::Bytes(bytes) => Self::answering_with(bytes).await,
            Script::Gone => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
                Self::Gone(socket)
            }
            Script::Always(answer) => Self::standin(Fallback::Answer(answer)).await,
            Script::Answers(answers) => {
                // An unexpected call is answered, so that the answer fails the row.
                let provider = Self::standin(Fallback::Answer(Answer::text("one call too many"))).await;
                if let Self::Standin(standin) = &provider {
                    answers.into_iter().for_each(|answer| standin.push(answer));
                }
                provider
            }
        }
    }

    async fn standin(fallback: Fallback) -> Self {
        Self::Standin(LlmStandin::start(Options { fallback, ..Options::default() }).await.unwrap())
    }

    async fn answering_with(bytes: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
        let (calls, stop, tasks) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let serving = serve(listener, bytes, Arc::clone(&calls), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
        Self::Bytes { url, calls, _stop: stop.drop_guard() }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Standin(standin) => standin.url(),
            Self::Bytes { url, .. } => url.clone(),
            Self::Gone(socket) => format!("http://{}/v1/chat/completions", socket.local_addr().unwrap()),
        }
    }

    /// Request bodies as sent.
    pub(super) fn bodies(&self) -> Vec<String> {
        let Self::Standin(standin) = self else { return Vec::new() };
        standin.requests().iter().map(|call| call.body().to_string()).collect()
    }

    /// Outcome of each call; a running one fails the test.
    pub(super) async fn calls(&self) -> Vec<Outcome> {
        match self {
            Self::Standin(standin) => {
                let all_ended = standin.wait_for(|calls| calls.iter().all(|call| call.outcome != Outcome::Running));
                all_ended.await.unwrap().iter().map(|call| call.outcome).collect()
            }
            Self::Bytes { calls, .. } => vec![Outcome::Finished; calls.load(Ordering::Relaxed)],
            Self::Gone(_) => Vec::new(),
        }
    }
}

/// Each connection counts as a call: none is reused.
async fn serve(listener: TcpListener, bytes: &'static str, calls: Arc<AtomicUsize>, tasks: TaskTracker) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        calls.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(async move {
            let mut asked = [0; 4_096];
            assert_ne!(stream.read(&mut asked).await.unwrap(), 0);
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // Closing with unread input sends a reset, which discards the response.
            while stream.read(&mut asked).await.is_ok_and(|count| 0 < count) {}
        });
    }
}
