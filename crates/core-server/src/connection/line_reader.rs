//! Line reader without a buffer for idle sockets.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use protocol::foreign::is_foreign;
use protocol::proxy_header::{self, ProxyHeaderParse};
use protocol::{Face, Inbound, LineCodec};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Buffer space reserved for one read.
const READ_BYTES: usize = 4_096;

/// Reads lines. Allocates only while part of a line is buffered: most connections are idle most of the time.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    codec: LineCodec,
    /// The bytes so far may be the beginning of a PROXY header. None of them is read as a line: the first four of one are
    /// two blank lines.
    may_be_header: bool,
    /// No line was read yet, and the client may speak another protocol.
    may_be_foreign: bool,
}

/// No line can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client speaks HTTP or TLS.
    #[error("HTTP or TLS in place of the first line")]
    ForeignProtocol,
    /// A PROXY header, or its unambiguous beginning, behind the preamble. Nothing behind it is read.
    #[error("PROXY header in place of the first line")]
    ProxyHeader {
        /// The sender understands the closing line.
        closing_line: bool,
    },
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads `source`, of which `first` was read already. Lines are tagged if a gateway announced `face`. Without one,
    /// the client may speak another protocol: a gateway has ended HTTP and TLS.
    pub(super) fn new(source: R, first: BytesMut, face: Option<Face>) -> Self {
        let mut codec = LineCodec::default();
        if face.is_some() {
            codec.expect_tags();
        }
        Self { source, buffer: first, codec, may_be_header: true, may_be_foreign: face.is_none() }
    }

    /// Returns true once a byte has arrived that is not the beginning of a PROXY header.
    pub(super) fn has_received(&self) -> bool {
        !self.may_be_header
    }

    /// Reads the next line; `None` at the end of the stream, where a cut line is dropped.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]; no line follows then.
    ///
    /// # Cancel safety
    ///
    /// Safe: bytes read stay in the buffer.
    pub(super) async fn next(&mut self) -> Result<Option<Inbound>, ReadError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Inbound>, ReadError>> {
        loop {
            if self.may_be_foreign && is_foreign(&self.buffer) {
                return Poll::Ready(Err(ReadError::ForeignProtocol));
            }
            self.may_be_header = self.may_be_header && may_be_header(&self.buffer)?;
            if !self.may_be_header
                && let Some(inbound) = self.codec.next_line(&mut self.buffer)
            {
                self.may_be_foreign = false;
                return Poll::Ready(Ok(Some(inbound)));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(None));
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(READ_BYTES);
        let filled = poll_read_buf(Pin::new(&mut self.source), cx, &mut self.buffer);
        if filled.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        filled
    }

    pub(super) fn into_source(self) -> R {
        self.source
    }
}

/// Returns true if more bytes may make `bytes` a PROXY header.
///
/// # Errors
///
/// They are one, or its unambiguous beginning, which must not be read as a line.
fn may_be_header(bytes: &[u8]) -> Result<bool, ReadError> {
    match proxy_header::parse(bytes) {
        ProxyHeaderParse::Header { header, .. } => Err(ReadError::ProxyHeader { closing_line: header.closing_line }),
        // Whether the sender understands the closing line is not known.
        ProxyHeaderParse::Incomplete { unambiguous: true } | ProxyHeaderParse::Invalid => {
            Err(ReadError::ProxyHeader { closing_line: false })
        }
        ProxyHeaderParse::Incomplete { unambiguous: false } => Ok(true),
        ProxyHeaderParse::Absent => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use protocol::trace::Traceparent;

    use super::*;

    /// Reads the whole of `input`; describes each line, and the end.
    async fn read(first: &str, input: &[u8], face: Option<Face>) -> Vec<String> {
        let mut reader = LineReader::new(input, BytesMut::from(first), face);
        let mut seen = Vec::new();
        loop {
            seen.push(match reader.next().await {
                Ok(Some(Inbound::Line { text, .. })) => text.expose().to_owned(),
                Ok(Some(Inbound::Rejected { code, .. })) => code.to_string(),
                Ok(None) => return seen,
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            });
        }
    }

    #[tokio::test]
    async fn first_bytes_decide() {
        let gateway = proxy_header::encode(
            "203.0.113.9:4711".parse().unwrap(),
            "127.0.0.1:5001".parse().unwrap(),
            Traceparent::random(),
            Face::Frames,
        );
        let cut = "ProxyHeader { closing_line: false }";
        let rows: &[(&str, &[u8], &[&str])] = &[
            ("", b"hola\r\nchau\nmedia l\xc3", &["hola", "chau"]),
            ("ho", b"la\n", &["hola"]),
            ("", b"\xff\n", &["invalid_utf8"]),
            ("", b"GET / HTTP/1.1\r\n", &["ForeignProtocol"]),
            ("hola\n", b"GET / HTTP/1.1\r\n", &["hola", "GET / HTTP/1.1"]),
            ("", &gateway, &["ProxyHeader { closing_line: true }"]),
            ("", &gateway[..20], &[cut]),
            ("", b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\nhola\n", &[cut]),
            ("", b"PROXY TCP4 nowhere\r\nhola\n", &[cut]),
            ("", b"PROXIMO\n", &["PROXIMO"]),
            // Only the very first bytes are a header.
            ("hola\n", b"PROXY UNKNOWN\r\n", &["hola", "PROXY UNKNOWN"]),
        ];
        for (first, input, want) in rows {
            assert_eq!(read(first, input, None).await, *want, "{first}{}", input.escape_ascii());
        }
    }

    #[tokio::test]
    async fn header_is_found_wherever_it_is_cut() {
        let header = b"\r\n\r\n\0\r\nQUIT\n";
        for cut in 1..header.len() {
            let (begin, rest) = header.split_at(cut);
            let source = tokio::io::AsyncReadExt::chain(begin, rest);
            let error = LineReader::new(source, BytesMut::new(), None).next().await.unwrap_err();
            assert!(matches!(error, ReadError::ProxyHeader { closing_line: false }), "{cut}");
            let first = BytesMut::from(begin);
            let error = LineReader::new(rest, first, None).next().await.unwrap_err();
            assert!(matches!(error, ReadError::ProxyHeader { closing_line: false }), "{cut} bytes before");
        }
        // The blank lines of a person are none.
        let mut reader = LineReader::new(&b"\r\n\r\nhola\r\n"[..], BytesMut::new(), None);
        let Ok(Some(Inbound::Line { text, .. })) = reader.next().await else { panic!("no line") };
        assert_eq!((text.expose(), reader.has_received()), ("hola", true));
    }

    #[tokio::test]
    async fn lines_of_a_gateway_are_tagged_and_never_foreign() {
        let tag = protocol::codec::encode_tag(Traceparent::random());
        let line = [&tag[..], b"GET / HTTP/1.1\n"].concat();
        assert_eq!(read("", &line, Some(Face::Frames)).await, ["GET / HTTP/1.1"]);
    }

    #[tokio::test]
    async fn idle_reader_holds_no_buffer() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = LineReader::new(server, BytesMut::new(), None);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"hola\n").await.unwrap();
        assert!(matches!(reader.next().await, Ok(Some(Inbound::Line { .. }))));
        assert!(reader.has_received());
        assert!(poll_fn(|cx| Poll::Ready(reader.poll_next(cx))).await.is_pending());
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
