//! Clients of other protocols at the line port get one error line and no model call.

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::http;
use crate::single_node::{Plan, SingleNode};

const HEADER: &str = "PROXY TCP4 203.0.113.9 203.0.113.1 4711 5001\r\n";
const FORM: &str = "a=1\r\nhola\r\nme siento mal\r\n";

/// Response to `bytes`, sent in two parts.
async fn answer(node: &SingleNode, bytes: &[u8], first: usize) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(node.core.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (one, two) = bytes.split_at(first);
        stream.write_all(one).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(two).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    within(LIMIT, exchange).await.unwrap()
}

fn is_the_line(answer: &str) -> bool {
    answer.lines().count() == 1 && answer.ends_with('\n') && answer.contains("neither HTTP nor TLS")
}

#[tokio::test]
async fn rejects_other_protocols_with_one_line() {
    // Long enough for bytes sent in parts.
    let node = Plan::default().core("GREET_DELAY_MS", 60_000).start().await;
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 28\r\n\r\n{FORM}");
    let behind_proxy = format!("{HEADER}{post}");
    let mut client_hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    client_hello.resize(512, b'x');
    for (bytes, first) in [
        (post.as_bytes(), 3),
        (post.as_bytes(), 30),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 5),
        (behind_proxy.as_bytes(), 3),
        (behind_proxy.as_bytes(), HEADER.len()),
        (&client_hello, 1),
        (&client_hello[..2], 1),
    ] {
        let answer = answer(&node, bytes, first).await;
        assert!(is_the_line(&answer), "{answer:?} for {:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(node.standin.total(), 0);
    let (_, metrics) = http::get(node.core.admin(), "/metrics").await.unwrap();
    for line in [
        "psicoia_core_connections_closed_total{reason=\"version_unsupported\"} 7",
        "psicoia_core_messages_accepted_total 0",
    ] {
        assert!(metrics.lines().any(|got| got == line), "no {line} in {metrics}");
    }
    // No session was created: the next user gets the first label.
    let mut person = node.at_core().await;
    assert_eq!(person.hello().await["user"], "Usuario-1");
}

#[tokio::test]
async fn http_and_tls_clients_end_at_once() {
    let node = Plan::default().core("GREET_DELAY_MS", 60_000).start().await;
    let url = format!("http://{}/", node.core.address()).parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<String>();
    let refused = within(LIMIT, client.get(url)).await.unwrap().unwrap_err();
    assert!(
        std::error::Error::source(&refused).is_some_and(|cause| cause.to_string().contains("invalid HTTP")),
        "{refused:?}"
    );
    let port = node.core.address().port();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).stdin(std::process::Stdio::null());
    // Where it is not installed, the bytes of the other test cover it.
    if let Ok(output) = within(LIMIT, openssl.output()).await.unwrap() {
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("wrong version number"), "{output:?}");
    }
    assert_eq!(node.standin.total(), 0);
}
