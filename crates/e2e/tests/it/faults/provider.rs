//! A provider of the model that does as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::llm::{Answer, Fallback, LlmStandin, Options, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What a provider is told to do.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// These answers, one a call, and none after them.
    Answers(Vec<Answer>),
    /// The same answer to every call.
    Always(Answer),
    /// These bytes to every call, then the end of the connection.
    Bytes(&'static str),
    /// Nobody listens there.
    Gone,
}

/// One provider, as it was told.
pub(super) enum Provider {
    Standin(LlmStandin),
    Bytes {
        url: String,
        calls: Arc<AtomicUsize>,
        _stop: DropGuard,
    },
    /// The socket keeps the port from being given to somebody else, and refuses connections.
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
                // A call too many is answered, so that a row that does not expect it sees the answer.
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

    /// Bodies of the calls, as they were sent.
    pub(super) fn bodies(&self) -> Vec<String> {
        let Self::Standin(standin) = self else { return Vec::new() };
        standin.requests().iter().map(|call| call.body().to_string()).collect()
    }

    /// How each call ended; none may still be running.
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

/// Each connection counts as a call: none is used for two.
async fn serve(listener: TcpListener, bytes: &'static str, calls: Arc<AtomicUsize>, tasks: TaskTracker) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        calls.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(async move {
            let mut asked = [0; 4_096];
            assert_ne!(stream.read(&mut asked).await.unwrap(), 0);
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // To close with something unread would take back what was just written.
            while stream.read(&mut asked).await.is_ok_and(|count| 0 < count) {}
        });
    }
}
