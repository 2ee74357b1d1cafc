//! Echo server: the cheapest upstream of a bridge.
//!
//! Parses a gateway's PROXY header and removes the line tags it announces; other connections
//! are echoed byte for byte. Idle connections hold no buffer.

use std::io;
use std::mem;

use protocol::codec::TAG_LEN;
use protocol::proxy_header::{self, ProxyHeaderParse};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// Size of a read: several lines of the benchmark.
const READ_BYTES: usize = 4_096;

/// Echoes on every connection until dropped.
pub async fn serve(listener: TcpListener) {
    let tasks = TaskTracker::new();
    loop {
        // Out of file descriptors: the client's connect fails visibly.
        let Ok((stream, _)) = listener.accept().await else { continue };
        tasks.spawn(async move {
            // The client checks the echo, so errors need no report here.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut state = State::Undecided;
    let mut pending = Vec::new();
    loop {
        stream.readable().await?;
        match read_and_turn(&stream, &mut state, &mut pending) {
            Ok(Some(back)) => stream.write_all(&back).await?,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Mode of a connection.
enum State {
    /// Too few bytes to decide.
    Undecided,
    /// Echoes everything.
    Raw,
    /// Echoes lines without their tags.
    Tagged,
}

/// Reads the available bytes and returns those to send back; `None` at end of stream.
/// Incomplete input is kept in `pending`.
fn read_and_turn(stream: &TcpStream, state: &mut State, pending: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = [0; READ_BYTES];
    let read = stream.try_read(&mut chunk)?;
    if read == 0 {
        return Ok(None);
    }
    let chunk = chunk.get(..read).unwrap_or_default();
    let bytes = if pending.is_empty() {
        chunk.to_vec()
    } else {
        pending.extend_from_slice(chunk);
        mem::take(pending)
    };
    turn(bytes, state, pending).map(Some)
}

fn turn(mut bytes: Vec<u8>, state: &mut State, pending: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    if matches!(state, State::Undecided) {
        match proxy_header::parse(&bytes) {
            ProxyHeaderParse::Absent => *state = State::Raw,
            ProxyHeaderParse::Header { header, len } => {
                bytes.drain(..len);
                *state = if header.face.is_some() { State::Tagged } else { State::Raw };
            }
            ProxyHeaderParse::Incomplete { .. } => {
                *pending = bytes;
                return Ok(Vec::new());
            }
            ProxyHeaderParse::Invalid => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    if matches!(state, State::Raw) {
        return Ok(bytes);
    }
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
    *pending = bytes.split_off(whole);
    Ok(untagged(&bytes))
}

/// Removes the tag of each complete line.
fn untagged(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(line.get(TAG_LEN..).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use protocol::Face;
    use protocol::codec::encode_tag;
    use protocol::trace::Traceparent;

    use super::*;

    #[test]
    fn echoes_at_any_read_boundary() {
        let trace = Traceparent::random();
        let address = "127.0.0.1:1".parse().unwrap();
        let mut tagged = proxy_header::encode(address, address, trace, Face::Plain);
        for line in ["uno\n", "dos\n"] {
            tagged.extend_from_slice(&encode_tag(trace));
            tagged.extend_from_slice(line.as_bytes());
        }
        for (input, want) in [(tagged.as_slice(), b"uno\ndos\n".as_slice()), (b"uno\nd", b"uno\nd")] {
            for cut in 0..=input.len() {
                let (mut state, mut pending, mut back) = (State::Undecided, Vec::new(), Vec::new());
                for piece in [&input[..cut], &input[cut..]] {
                    let mut bytes = mem::take(&mut pending);
                    bytes.extend_from_slice(piece);
                    back.extend(turn(bytes, &mut state, &mut pending).unwrap());
                }
                assert_eq!(back, want, "cut at {cut}");
            }
        }
    }
}
