//! Fixture: a core with a scripted model, a gateway, and a proxy that drops connections.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser as _;
use core_server::{Server, server};
use testkit::llm::{Answer, Fallback, LlmStandin, Options};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ws_gateway::{Gateway, Workers};

pub(crate) struct Fixture {
    pub(crate) core: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) standin: LlmStandin,
    tasks: TaskTracker,
    stop: CancellationToken,
    _workers: Arc<Workers>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn flags(settings: &[(&str, &str)]) -> Vec<String> {
    let flag = |(name, value): &(&str, &str)| format!("--{}={value}", name.to_lowercase().replace('_', "-"));
    ["program".to_owned()].into_iter().chain(settings.iter().map(flag)).collect()
}

/// Builds a core with an in-memory store.
fn new_core(config: core_server::Config) -> Server {
    Server::new(config, Arc::new(store::MemoryStore::default())).unwrap()
}

impl Fixture {
    /// Starts with a model that always answers `answer`, and these settings of the core.
    pub(crate) async fn start(answer: Answer, settings: &[(&str, &str)]) -> Self {
        let options = Options { fallback: Fallback::Answer(answer), ..Options::default() };
        let standin = LlmStandin::start(options).await.unwrap();
        let url = standin.url();
        let settings = [settings, &[("APP_PORT", "0"), ("LLM_URL", &url)]].concat();
        let config = core_server::Config::new(&core_server::Args::parse_from(flags(&settings))).unwrap();
        let listener = server::bind(&config).await.unwrap();
        let core = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(Arc::new(new_core(config)).serve(listener, stop.clone()));

        let args = ws_gateway::Args::parse_from(flags(&[("WS_PORT", "0"), ("TCP_PORT", &core.port().to_string())]));
        let config = ws_gateway::Config::new(&args).unwrap();
        let listener = ws_gateway::bind(&config).await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let workers = Arc::new(Workers::current());
        let (shared, stopped) = (Arc::clone(&workers), stop.clone());
        tasks.spawn(async move { Gateway::new(config, stopped).serve(listener, &shared).await });
        Self { core, gateway, standin, tasks, stop, _workers: workers }
    }

    /// Starts a TCP proxy in front of `target` whose connections can be dropped.
    pub(crate) async fn flaky_proxy(&self, target: SocketAddr) -> FlakyProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, cut) = watch::channel(0_u32);
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tasks.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        FlakyProxy { address, cuts }
    }
}

pub(crate) struct FlakyProxy {
    pub(crate) address: SocketAddr,
    cuts: watch::Sender<u32>,
}

impl FlakyProxy {
    /// Drops every connection without a closing handshake.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Answer of many deltas with 5 ms between them.
pub(crate) fn slow_answer() -> Answer {
    let pieces = (0..40).map(|number| format!("¿{number}? ñandú 🙂 ")).collect();
    Answer { pieces, gap_ms: 5, ..Answer::default() }
}

/// Answer of one delta.
pub(crate) fn one_piece(text: &str) -> Answer {
    Answer { pieces: vec![text.to_owned()], ..Answer::default() }
}
