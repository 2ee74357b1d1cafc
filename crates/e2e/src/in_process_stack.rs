//! Fixture: core, model and optional gateway in this process, under a paused clock.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Parser as _;
use core_server::{Server, server};
use protocol::Face;
use store::MemoryStore;
use testkit::http_peer::HttpPeer;
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Fallback, LlmStandin, Options};
use testkit::peer::{ConnectionEnd, Peer, PeerError};
use testkit::transcript::{ServerUnderTest, Transcript, Transport};
use testkit::ws_peer::WsPeer;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ws_gateway::{Gateway, Workers};

/// Capacity of an in-memory connection: less than a long line, so that writes block.
const PIPE_BYTES: usize = 4_096;

/// Core with an in-memory store. Stops on drop.
#[expect(missing_debug_implementations, reason = "a server has no useful representation")]
pub struct Core {
    server: Arc<Server>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Core {
    /// Starts a core at a free port of loopback, with `settings` by the names of their variables.
    ///
    /// # Panics
    ///
    /// A setting is invalid.
    pub async fn start<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let args = core_server::Args::parse_from(flags(settings.into_iter().chain([("APP_PORT", "0")])));
        let config = core_server::Config::new(&args).unwrap();
        let listener = server::bind(&config).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server::new(config, Arc::new(MemoryStore::default())).unwrap());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(Arc::clone(&server).serve(listener, stop.clone()));
        Self { server, address, stop, tasks }
    }

    /// Opens an in-memory connection.
    pub fn connect(&self) -> LinePeer<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let server = Arc::clone(&self.server);
        self.tasks.spawn(async move { server.handle(theirs, IpAddr::V4(Ipv4Addr::LOCALHOST)).await });
        LinePeer::new(ours)
    }
}

/// Core, scripted model and, for the transports through it, gateway: the servers of one transcript.
#[expect(missing_debug_implementations, reason = "a server has no useful representation")]
pub struct InProcessStack {
    transport: Transport,
    standin: LlmStandin,
    core: Core,
    gateway: Option<SocketAddr>,
    workers: Arc<Workers>,
}

/// Builds arguments such as `--app-port=0` from pairs such as (`APP_PORT`, `0`).
fn flags<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let flag = |(name, value): (&str, &str)| format!("--{}={value}", name.to_lowercase().replace('_', "-"));
    ["program".to_owned()].into_iter().chain(settings.into_iter().map(flag)).collect()
}

impl InProcessStack {
    /// Starts the servers that `transcript` needs over `transport`, with its settings.
    ///
    /// # Panics
    ///
    /// A setting is invalid.
    pub async fn start(transcript: &Transcript, transport: Transport) -> Self {
        // An unscripted call is a defect: it fails, so that the transcript shows it.
        let unscripted: Answer = broken_down();
        let options = Options { fallback: Fallback::Answer(unscripted), ..Options::default() };
        let standin = LlmStandin::start(options).await.unwrap();
        let url = standin.url();
        let model = transcript.has_model().then_some(("LLM_URL", url.as_str()));
        let settings = transcript.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let core = Core::start(settings.chain(model)).await;
        let workers = Arc::new(Workers::current());
        let mut whole = Self { transport, standin, core, gateway: None, workers };
        if matches!(transport, Transport::Gateway | Transport::Http) {
            whole.start_gateway().await;
        }
        whole
    }

    async fn start_gateway(&mut self) {
        let port = self.core.address.port().to_string();
        let args = ws_gateway::Args::parse_from(flags([
            ("WS_PORT", "0"),
            ("TCP_PORT", &port),
            // Transcripts advance the clock by up to an hour, and their clients answer no pings meanwhile.
            ("PING_SECONDS", "3600"),
        ]));
        let config = ws_gateway::Config::new(&args).unwrap();
        let listener = ws_gateway::bind(&config).await.unwrap();
        self.gateway = Some(listener.local_addr().unwrap());
        let (stop, workers) = (self.core.stop.clone(), Arc::clone(&self.workers));
        self.core.tasks.spawn(async move { Gateway::new(config, stop).serve(listener, &workers).await });
    }
}

/// Answer with status 500.
fn broken_down() -> Answer {
    Answer { status: 500, ..Answer::default() }
}

impl ServerUnderTest for InProcessStack {
    type Peer = Client;

    async fn connect(&mut self, face: Face) -> Result<Client, PeerError> {
        match (self.transport, self.gateway) {
            (Transport::Gateway, Some(gateway)) => {
                Ok(Client::WebSocket(Box::new(WsPeer::connect(gateway, face).await?)))
            }
            (Transport::Http, Some(gateway)) => Ok(Client::Http(HttpPeer::connect(gateway).await?)),
            (Transport::Tcp | Transport::Gateway | Transport::Http, _) => {
                Ok(Client::Tcp(LinePeer::connect(self.core.address).await?))
            }
            (Transport::Process, _) => Ok(Client::Memory(self.core.connect())),
        }
    }

    fn push_answer(&mut self, answer: Answer) {
        self.standin.push(answer);
    }
}

/// Client over one of the transports.
#[derive(Debug)]
pub enum Client {
    /// In memory.
    Memory(LinePeer<DuplexStream>),
    /// Over TCP, to the core.
    Tcp(LinePeer<TcpStream>),
    /// Over a WebSocket, to the gateway.
    WebSocket(Box<WsPeer>),
    /// Over an HTTP exchange, to the gateway.
    Http(HttpPeer),
}

/// Forwards to the client's variant.
macro_rules! any {
    ($client:expr, $peer:ident => $do:expr) => {
        match $client {
            Client::Memory($peer) => $do,
            Client::Tcp($peer) => $do,
            Client::WebSocket($peer) => $do,
            Client::Http($peer) => $do,
        }
    };
}

impl Peer for Client {
    async fn send_line(&mut self, line: &str) -> Result<(), PeerError> {
        any!(self, peer => peer.send_line(line).await)
    }

    async fn next_line(&mut self) -> Result<Option<String>, PeerError> {
        any!(self, peer => peer.next_line().await)
    }

    async fn half_close(&mut self) -> Result<(), PeerError> {
        any!(self, peer => peer.half_close().await)
    }

    fn cut(&mut self) {
        any!(self, peer => peer.cut());
    }

    fn ending(&self) -> Option<ConnectionEnd> {
        any!(self, peer => peer.ending())
    }
}
