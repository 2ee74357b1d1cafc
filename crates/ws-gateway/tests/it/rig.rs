//! A gateway in this process, with a core scripted by the test.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use clap::Parser as _;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::codec::TAG_LEN;
use protocol::proxy_header::{self, ProxyHeader, ProxyHeaderParse};
use protocol::trace::Traceparent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use ws_gateway::{Args, Config, CoreAddresses, DrainReport, Gateway, Workers};

/// Longer than any step: reached only by a failing test.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Awaits `future`, or fails the test when it hangs.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(TEST_TIMEOUT, future).await.expect("it should not take this long")
}

/// Returns the default configuration on free local ports.
pub(crate) fn config() -> Config {
    Config::new(&Args::parse_from(["ws-gateway", "--ws-port", "0"])).unwrap()
}

/// Returns the address of a local core.
pub(crate) fn core_at(port: u16) -> CoreAddresses {
    CoreAddresses::parse("127.0.0.1", port).unwrap()
}

pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<DrainReport>,
    cores: TcpListener,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let cores = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = config();
        config.cores = core_at(cores.local_addr().unwrap().port());
        change(&mut config);
        let listener = ws_gateway::bind(&config).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let serve = async move { Gateway::new(config, stop).serve(listener, &Workers::current()).await };
        Self { address, shutdown, served: tokio::runtime::Handle::current().spawn(serve), cores }
    }

    /// Accepts the next connection to the core and reads its header.
    pub(crate) async fn core(&self) -> CorePeer {
        let stream = self.raw_core().await;
        stream.set_nodelay(true).unwrap();
        CorePeer::greet(stream).await
    }

    /// Accepts the next connection to the core and reads nothing.
    pub(crate) async fn raw_core(&self) -> TcpStream {
        within(self.cores.accept()).await.unwrap().0
    }

    /// Closes the core's port.
    pub(crate) fn lose_core(self) -> (SocketAddr, CancellationToken) {
        (self.address, self.shutdown)
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Returns the response status of a GET of `path`.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        let mut stream = self.tcp().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = [0; "HTTP/1.1 200".len()];
        within(stream.read_exact(&mut head)).await.unwrap();
        str::from_utf8(&head[9..]).unwrap().parse().unwrap()
    }

    /// Returns a client and the core's end of its connection.
    pub(crate) async fn pair(&self, subprotocol: Option<&'static str>) -> (Client, CorePeer) {
        let client = self.connect(subprotocol).await;
        (client, self.core().await)
    }

    pub(crate) async fn connect(&self, subprotocol: Option<&'static str>) -> Client {
        let headers: Vec<_> = subprotocol.into_iter().map(|name| ("sec-websocket-protocol", name)).collect();
        self.request("/ws", &headers).await.unwrap().0
    }

    pub(crate) async fn request(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<(Client, Response), Box<Error>> {
        upgrade(self.address, path, headers).await
    }
}

pub(crate) async fn upgrade(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<(Client, Response), Box<Error>> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let config = WebSocketConfig::default().max_write_buffer_size(usize::MAX);
    let upgraded = within(tokio_tungstenite::client_async_with_config(request, stream, Some(config))).await?;
    Ok((Client { websocket: upgraded.0 }, upgraded.1))
}

pub(crate) struct Client {
    pub(crate) websocket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn send(&mut self, message: impl Into<Message>) {
        within(self.websocket.send(message.into())).await.unwrap();
    }

    /// Returns the next text message.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match within(self.websocket.next()).await.unwrap().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("wanted a text message, got {other:?}"),
            }
        }
    }

    /// Returns close code and reason; no other message may come first.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let closed = match within(self.websocket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => (frame.code.into(), frame.reason.to_string()),
            other => panic!("wanted a close frame, got {other:?}"),
        };
        // The stream must end without a reset.
        match within(self.websocket.next()).await {
            None | Some(Err(Error::ConnectionClosed)) => closed,
            other => panic!("wanted the end after {closed:?}, got {other:?}"),
        }
    }
}

pub(crate) struct CorePeer {
    pub(crate) stream: TcpStream,
    pub(crate) header: ProxyHeader,
    unread: BytesMut,
}

impl CorePeer {
    /// Reads the header.
    pub(crate) async fn greet(mut stream: TcpStream) -> Self {
        let mut unread = BytesMut::new();
        loop {
            match proxy_header::parse(&unread) {
                ProxyHeaderParse::Header { header, len } => {
                    let unread = unread.split_off(len);
                    return Self { stream, header, unread };
                }
                ProxyHeaderParse::Incomplete { .. } => {
                    assert_ne!(within(stream.read_buf(&mut unread)).await.unwrap(), 0, "no header");
                }
                other => panic!("{other:?} at the start of {unread:?}"),
            }
        }
    }

    /// Returns the next line and the trace of its tag.
    pub(crate) async fn tagged(&mut self) -> (Traceparent, String) {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line = self.unread.split_to(end + 1);
                assert_eq!((line[0], line[TAG_LEN - 1]), (b'@', b' '), "{line:?}");
                let trace = Traceparent::parse(&line[1..TAG_LEN - 1]).unwrap();
                return (trace, String::from_utf8(line[TAG_LEN..end].to_vec()).unwrap());
            }
            assert_ne!(within(self.stream.read_buf(&mut self.unread)).await.unwrap(), 0, "cut off");
        }
    }

    pub(crate) async fn line(&mut self) -> String {
        self.tagged().await.1
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Awaits the end of the stream; no line may come first.
    pub(crate) async fn ended(&mut self) {
        assert!(self.unread.is_empty(), "{:?}", self.unread);
        assert_eq!(within(self.stream.read_buf(&mut self.unread)).await.unwrap_or(0), 0, "{:?}", self.unread);
    }
}
