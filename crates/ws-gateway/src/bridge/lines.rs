//! Client side of a bridge: lines over one HTTP exchange (`proto-line/SPEC.md` §6, "POST /lines").

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client_side::{ClientSide, Input};
use super::core::Core;
use super::line_splitter::LineFragment;
use super::pipe::Pipe;
use crate::close::CloseCause;

/// Format of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinesFormat {
    /// `application/x-ndjson`: lines as they are.
    Lines,
    /// `text/event-stream`: each line is the data of an event.
    Events,
}

/// Request body and response body of an exchange. Lines pass through as they come: no line is held here.
#[derive(Debug)]
pub(crate) struct LinesClient<S> {
    pub(crate) pipe: Pipe<S>,
    format: LinesFormat,
    /// State of the input after the end of the request body.
    after_body: Input,
    input: Input,
    /// A line of the core is incomplete.
    mid_line: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> LinesClient<S> {
    /// Creates the side; `listens` keeps the exchange open after the request body.
    pub(crate) fn new(stream: S, format: LinesFormat, listens: bool) -> Self {
        let after_body = if listens { Input::Listening } else { Input::Ended };
        Self { pipe: Pipe::new(stream), format, after_body, input: Input::Open, mid_line: false }
    }

    /// Queues the last line, which names the cause as a close frame does.
    pub(crate) fn close(&mut self, cause: CloseCause) {
        if self.mid_line {
            // The rest of the core's line is lost: what there is of it must not run into this one.
            self.send(LineFragment { bytes: b"", first: false, last: true });
        }
        let line = format!("{{\"type\":\"closed\",\"code\":{},\"reason\":\"{}\"}}", cause.code(), cause.name());
        self.send(LineFragment { bytes: line.as_bytes(), first: true, last: true });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientSide for LinesClient<S> {
    type Socket = S;

    fn pipe(&mut self) -> &mut Pipe<S> {
        &mut self.pipe
    }

    fn receive<U>(&mut self, input: &[u8], core: &mut Core<U>) -> Result<(), CloseCause>
    where
        U: AsyncRead + AsyncWrite + Unpin,
    {
        for part in input.split_inclusive(|&byte| byte == b'\n') {
            let line = part.strip_suffix(b"\n");
            core.forward_part(line.unwrap_or(part), line.is_some());
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), CloseCause> {
        self.input = self.after_body;
        Ok(())
    }

    fn input(&self) -> Input {
        self.input
    }

    fn send(&mut self, fragment: LineFragment<'_>) {
        let LineFragment { bytes, first, last } = fragment;
        let (before, after): (&[u8], &[u8]) = match self.format {
            LinesFormat::Lines => (b"", b"\n"),
            LinesFormat::Events => (b"data: ", b"\n\n"),
        };
        let out: &mut BytesMut = &mut self.pipe.out;
        out.reserve(before.len() + bytes.len() + after.len());
        out.put_slice(if first { before } else { b"" });
        out.put_slice(bytes);
        out.put_slice(if last { after } else { b"" });
        self.mid_line = !last;
    }

    /// An empty line, which every reader ignores. It shows proxies that the exchange lives, and the gateway that the
    /// client does: a write fails otherwise.
    fn ping(&mut self) -> bool {
        if !self.mid_line {
            let empty: &[u8] = if self.format == LinesFormat::Lines { b"\n" } else { b":\n\n" };
            self.pipe.out.extend_from_slice(empty);
        }
        false
    }

    fn is_greeted(&self) -> bool {
        false
    }

    /// The write buffer holds only what the core sent, which is bounded by itself.
    fn is_backlogged(&self) -> bool {
        false
    }

    fn awaits_line_end(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn client(format: LinesFormat) -> LinesClient<DuplexStream> {
        LinesClient::new(duplex(1).0, format, false)
    }

    fn fragments(client: &mut LinesClient<DuplexStream>, cut: bool) -> String {
        client.ping();
        client.send(LineFragment { bytes: b"{\"a\":", first: true, last: false });
        client.ping();
        if !cut {
            client.send(LineFragment { bytes: b"1}", first: false, last: true });
        }
        client.close(CloseCause::CoreLost);
        String::from_utf8(client.pipe.out.to_vec()).unwrap()
    }

    #[test]
    fn lines_and_events() {
        let closed = "{\"type\":\"closed\",\"code\":1012,\"reason\":\"core_lost\"}";
        for (format, cut, want) in [
            (LinesFormat::Lines, false, format!("\n{{\"a\":1}}\n{closed}\n")),
            (LinesFormat::Lines, true, format!("\n{{\"a\":\n{closed}\n")),
            (LinesFormat::Events, false, format!(":\n\ndata: {{\"a\":1}}\n\ndata: {closed}\n\n")),
            (LinesFormat::Events, true, format!(":\n\ndata: {{\"a\":\n\ndata: {closed}\n\n")),
        ] {
            assert_eq!(fragments(&mut client(format), cut), want, "{format:?}, cut: {cut}");
        }
    }
}
