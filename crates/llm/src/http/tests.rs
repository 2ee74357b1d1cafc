//! Requests through proxies and past them.

use futures_util::StreamExt as _;
use testkit::watchdog;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const TARGET: &str = "provider.test/v1/chat/completions";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhola";

pub(crate) async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn client(target: &str, proxies: &Matcher) -> HttpClient {
    let connections = PoolSettings { connect: Duration::from_secs(20), max_idle: 1 };
    HttpClient::new(target.parse().unwrap(), proxies, connections, Arc::default()).unwrap()
}

/// Runs a call against `server`; returns the answer and the server's observation.
async fn call<T>(client: &HttpClient, server: impl Future<Output = T>) -> (Result<Vec<u8>, Error>, T) {
    let calling = async {
        let response = client.post(HeaderMap::new(), b"{}".to_vec()).await?;
        Ok(response.into_body().map(|bytes| bytes.unwrap().to_vec()).concat().await)
    };
    watchdog::within(watchdog::LIMIT, async { tokio::join!(calling, server) }).await.unwrap()
}

/// Reads lines up to the first empty one.
pub(crate) async fn head(stream: &mut BufReader<TcpStream>) -> Vec<String> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => return head,
            line => head.push(line.to_lowercase()),
        }
    }
}

/// Answers one request and returns its head.
pub(crate) async fn answer(listener: &TcpListener) -> Vec<String> {
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    let head = head(&mut stream).await;
    stream.write_all(RESPONSE.as_bytes()).await.unwrap();
    head
}

#[tokio::test]
async fn forwards_http() {
    let (proxy, address) = listener().await;
    let proxies = Matcher::builder().http(format!("http://quien:clave@{address}")).build();
    let client = client(&format!("http://{TARGET}"), &proxies);
    let (answered, head) = call(&client, answer(&proxy)).await;
    assert_eq!(answered.unwrap(), b"hola");
    assert_eq!(head[0], format!("post http://{TARGET} http/1.1"));
    assert!(head.contains(&"host: provider.test".to_owned()), "{head:?}");
    assert!(head.contains(&"proxy-authorization: basic cxvpzw46y2xhdmu=".to_owned()), "{head:?}");
}

#[tokio::test]
async fn tunnels_https() {
    let (proxy, address) = listener().await;
    let proxies = Matcher::builder().all(format!("http://quien:clave@{address}")).build();
    let client = client(&format!("https://{TARGET}"), &proxies);
    let tunnel = async {
        let mut stream = BufReader::new(proxy.accept().await.unwrap().0);
        let head = head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        (head, stream.read_u8().await.unwrap())
    };
    let (answered, (head, first)) = call(&client, tunnel).await;
    assert!(answered.is_err(), "the peer does not speak TLS");
    assert_eq!(head[0], "connect provider.test:443 http/1.1");
    assert!(head.contains(&"proxy-authorization: basic cxvpzw46y2xhdmu=".to_owned()), "{head:?}");
    assert_eq!(first, 0x16, "a TLS handshake");
}

#[tokio::test]
async fn bypasses_the_proxy_for_exceptions() {
    let (provider, address) = listener().await;
    for exceptions in ["127.0.0.1", "127.0.0.0/8", "*", "example.org, *"] {
        let proxies = Matcher::builder().all("http://quien:clave@127.0.0.1:1").no(exceptions).build();
        let client = client(&format!("http://{address}/v1"), &proxies);
        let (answered, head) = call(&client, answer(&provider)).await;
        assert_eq!(answered.unwrap(), b"hola", "{exceptions}");
        assert_eq!(head[0], "post /v1 http/1.1");
        assert!(!head.iter().any(|line| line.starts_with("proxy-authorization")), "{head:?}");
    }
}

#[tokio::test]
async fn follows_no_redirect() {
    let (provider, address) = listener().await;
    let client = client(&format!("http://{address}/v1"), &Matcher::builder().build());
    let server = async {
        let mut stream = BufReader::new(provider.accept().await.unwrap().0);
        head(&mut stream).await;
        let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(moved.as_bytes()).await.unwrap();
    };
    let calling = client.post(HeaderMap::new(), Vec::new());
    let (response, ()) = tokio::join!(calling, server);
    assert_eq!(response.unwrap().status(), 307);
}
