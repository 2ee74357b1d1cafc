//! Checks of the entrances: the page, the WebSocket behind it, the core's port.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use service_runtime::tls;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use url::Url;

use super::findings::Finding;
use crate::http::{Http, Response};

/// Request that a core answers without a session (SPEC §5), so that nothing is stored.
const ABOUT: &str = r#"{"type":"request","id":"doctor","method":"about"}"#;
/// Bound of a core's answer: a server line is far below it.
const MAX_LINE_BYTES: u64 = 1_024 * 1_024;
/// Differences between two clocks of which nothing depends.
const MAX_SKEW: Duration = Duration::from_secs(5);

const START_GATEWAY: &str = "is the balancer, or the gateway, running (docker compose ps)? Is --url its address?";
const SEE_READINESS: &str = "see /readyz of the gateway: it names the cores that it cannot reach, and the reason";
const START_CORE: &str =
    "is the core running? Is --core its APP_HOST and APP_PORT? Where it is not published: --core none";
const SET_CLOCK: &str = "let both machines take their time from NTP (timedatectl): limits and retention go by it";

/// Checks from outside.
#[derive(Debug)]
pub(super) struct Entrances<'a> {
    pub(super) http: &'a Http,
    pub(super) timeout: Duration,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Entrances<'_> {
    /// Loads the page, and compares the clocks.
    pub(super) async fn page(&self, url: &Url) -> Vec<Finding> {
        match self.http.get(url.as_str()).await {
            Err(error) => vec![Finding::failure("page", format!("{url}: {error}"), START_GATEWAY)],
            Ok(response) => vec![page(url, &response), clock(response.date, now())],
        }
    }

    /// Opens a WebSocket as the page does, and wants an answer of a core through it.
    pub(super) async fn web_socket(&self, url: &Url) -> Finding {
        match within(self.timeout, ask_over_web_socket(url)).await {
            Ok(answer) => answered("WebSocket", &answer),
            Err(error) => Finding::failure("WebSocket", error.to_string(), SEE_READINESS),
        }
    }

    /// Connects to the line protocol.
    pub(super) async fn core(&self, address: &str) -> Finding {
        if address == "none" {
            return Finding::ok("core port", "not published");
        }
        match within(self.timeout, ask_over_tcp(address)).await {
            Ok(answer) => answered("core port", &answer),
            Err(error) => Finding::failure("core port", format!("{address}: {error}"), START_CORE),
        }
    }
}

fn page(url: &Url, response: &Response) -> Finding {
    match response {
        Response { status: 200, body, .. } if body.contains("PsicoIA") => Finding::ok("page", format!("{url} loads")),
        Response { status: 200, .. } => Finding::failure("page", format!("{url} is another page"), "check --url"),
        Response { status, .. } => {
            Finding::failure("page", format!("{url} answers with status {status}"), SEE_READINESS)
        }
    }
}

/// Compares the server's clock, of which a response shows whole seconds, with this machine's.
fn clock(server: Option<SystemTime>, own: SystemTime) -> Finding {
    let Some(server) = server else {
        return Finding::ok("clock", "the response has no date (a balancer may remove it)");
    };
    let skew = own.duration_since(server).or_else(|_| server.duration_since(own)).unwrap_or_default();
    if skew <= MAX_SKEW {
        Finding::ok("clock", "agrees with this machine's")
    } else {
        Finding::warning("clock", format!("{} s from this machine's", skew.as_secs()), SET_CLOCK)
    }
}

/// Judges the answer to [`ABOUT`].
fn answered(check: &'static str, answer: &str) -> Finding {
    let frame: Value = serde_json::from_str(answer).unwrap_or_default();
    match frame["type"].as_str() {
        Some("response") => Finding::ok(check, "a core answers"),
        Some("error") => {
            let code = frame["code"].as_str().unwrap_or_default();
            Finding::failure(check, format!("a core answers with the error {code}"), SEE_READINESS)
        }
        _ => {
            Finding::failure(check, "the answer is none of a core", "check the address: another program answers there")
        }
    }
}

async fn ask_over_web_socket(url: &Url) -> Result<String, Failure> {
    let stream = connect(url).await?;
    let mut target = url.join("/ws")?;
    let (scheme, origin) = (if url.scheme() == "https" { "wss" } else { "ws" }, url.origin().ascii_serialization());
    target.set_scheme(scheme).map_err(|()| "the page's address is neither http nor https")?;
    let mut request = target.as_str().into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("psicoia.v1"));
    request.headers_mut().insert("origin", HeaderValue::from_str(&origin)?);
    let (mut socket, _) = client_async(request, stream).await?;
    socket.send(Message::text(ABOUT)).await?;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            // The answer is there; the closing handshake is a courtesy.
            let _ = socket.close(None).await;
            return Ok(text.as_str().to_owned());
        }
    }
    Err("the connection was closed without an answer".into())
}

async fn ask_over_tcp(address: &str) -> Result<String, Failure> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?.take(MAX_LINE_BYTES));
    stream.get_mut().get_mut().write_all(format!("{ABOUT}\n").as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line)
}

/// Connection to a page's server, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(url: &Url) -> Result<Box<dyn Stream>, Failure> {
    let host = url.host_str().ok_or("the page's address has no host")?;
    let port = url.port_or_known_default().ok_or("the page's address has no port")?;
    let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    if url.scheme() != "https" {
        return Ok(Box::new(tcp));
    }
    let connector = TlsConnector::from(Arc::new(tls::client_config()?));
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    Ok(Box::new(connector.connect(name, tcp).await?))
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

#[expect(clippy::disallowed_methods, reason = "the edge: compared with the calendar time of a server")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::super::findings::State;
    use super::*;

    #[test]
    fn judges_pages_clocks_and_answers() {
        let url = "http://a/".parse().unwrap();
        let response = |status, body: &str| Response { status, date: None, body: body.to_owned() };
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let own = at(100).unwrap();
        for (finding, want) in [
            (page(&url, &response(200, "<title>PsicoIA")), State::Ok),
            (page(&url, &response(200, "nginx")), State::Failure),
            (page(&url, &response(503, "PsicoIA")), State::Failure),
            (clock(at(98), own), State::Ok),
            (clock(at(104), own), State::Ok),
            (clock(at(60), own), State::Warning),
            (clock(at(160), own), State::Warning),
            (clock(None, own), State::Ok),
            (answered("x", r#"{"type":"response","id":"doctor","ok":true}"#), State::Ok),
            (answered("x", r#"{"type":"error","code":"too_many_connections"}"#), State::Failure),
            (answered("x", "Usuario-1 conectado."), State::Failure),
        ] {
            assert_eq!(finding.state, want, "{finding:?}");
        }
    }
}
