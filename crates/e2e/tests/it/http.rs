//! Plain HTTP requests, as a load balancer sends them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Poll interval for state without a notification.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Sends a GET of `path` with `headers` (each ending with CR LF); returns the status.
pub(crate) async fn status(address: SocketAddr, path: &str, headers: &str) -> io::Result<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    let head = within(LIMIT, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut head).await?;
        Ok::<_, io::Error>(head)
    });
    let head = head.await.unwrap()?;
    let status = str::from_utf8(&head).ok().and_then(|text| text.split_once(' ')?.1.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends a GET of `path`; returns the status and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = within(LIMIT, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    });
    let answer = answer.await.unwrap()?;
    let parts = answer.split_once("\r\n\r\n").and_then(|(head, body)| Some((head.split(' ').nth(1)?, body)));
    let (status, body) = parts.ok_or(io::ErrorKind::InvalidData)?;
    Ok((status.parse().map_err(io::Error::other)?, body.to_owned()))
}

/// Waits until a GET of `path` at `address` returns `want`.
pub(crate) async fn until_status(address: SocketAddr, path: &str, want: u16) {
    let seen = within(LIMIT, async {
        while !status(address, path, "Connection: close\r\n").await.is_ok_and(|status| status == want) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    seen.await.unwrap_or_else(|expired| panic!("{path} of {address} is not {want}: {expired}"));
}
