//! The bridge over in-memory streams, with a paused clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use proptest::prelude::*;
use protocol::codec::TAG_LEN;
use protocol::trace::Traceparent;
use protocol::{CloseReason, Face};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream, duplex,
};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::{BridgeSettings, CORE_READ_BYTES, Client, Core, CoreObserver, KeepaliveSettings, run};
use crate::close::CloseCause;

const HEADER: &[u8] = b"header\n";
const KEEPALIVE: KeepaliveSettings =
    KeepaliveSettings { ping_interval: Duration::from_secs(25), pong_timeout: Duration::from_secs(10) };
/// For tests that run in real time: no timer fires.
const ENDLESS: KeepaliveSettings =
    KeepaliveSettings { ping_interval: Duration::from_secs(3_600), pong_timeout: Duration::from_secs(3_600) };

struct Bridge {
    client: DuplexStream,
    core: DuplexStream,
    cause: JoinHandle<CloseCause>,
    health: Arc<Mutex<Vec<Health>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Answered,
    Silent,
    Lost,
}

/// Records the health reports.
struct Observer {
    health: Arc<Mutex<Vec<Health>>>,
    has_better_core: bool,
}

impl CoreObserver for Observer {
    fn answered(&mut self) {
        self.health.lock().unwrap().push(Health::Answered);
    }

    fn silent(&mut self) -> bool {
        self.health.lock().unwrap().push(Health::Silent);
        self.has_better_core
    }

    fn lost(&mut self) {
        self.health.lock().unwrap().push(Health::Lost);
    }
}

/// Starts a bridge whose two sockets buffer `buffer` bytes each way.
fn bridge(face: Face, keepalive: KeepaliveSettings, buffer: usize) -> Bridge {
    bridge_after(Bytes::new(), face, keepalive, buffer)
}

fn bridge_after(leftover: Bytes, face: Face, keepalive: KeepaliveSettings, buffer: usize) -> Bridge {
    bridge_beside(false, leftover, face, keepalive, buffer)
}

/// Starts a bridge; `has_better_core` is the observer's reply to a report of silence.
fn bridge_beside(
    has_better_core: bool,
    leftover: Bytes,
    face: Face,
    keepalive: KeepaliveSettings,
    buffer: usize,
) -> Bridge {
    let (client, client_end) = duplex(buffer);
    let (core, core_end) = duplex(buffer);
    let health = Arc::<Mutex<Vec<Health>>>::default();
    let mut observer = Observer { health: Arc::clone(&health), has_better_core };
    let cause = Handle::current().spawn(async move {
        let mut client = Client::new(client_end, face);
        let mut core = Core::new(core_end, HEADER, Traceparent::random(), face);
        let drain = CancellationToken::new();
        run(&mut client, &mut core, leftover, BridgeSettings { keepalive, drain: &drain }, &mut observer).await
    });
    Bridge { client, core, cause, health }
}

async fn websocket(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// Encodes a client's text frame, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).ok().filter(|len| *len < 126).expect("short");
    [&[0x81, 0x80 | len, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// Yields until every task is blocked.
async fn settle() {
    for _ in 0..1_000 {
        yield_now().await;
    }
}

/// Writes `unit` repeatedly until the stream blocks; returns the number of bytes written.
async fn fill(stream: &mut DuplexStream, unit: &[u8]) -> usize {
    let (mut taken, mut settled) = (0, false);
    loop {
        let rest = &unit[taken % unit.len()..];
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_write(cx, rest))).await {
            Poll::Ready(written) => {
                taken += written.unwrap();
                settled = false;
            }
            Poll::Pending if settled => return taken,
            Poll::Pending => {
                settle().await;
                settled = true;
            }
        }
    }
}

/// Reads `count` tagged lines and removes their tags.
async fn read_lines(core: DuplexStream, count: usize) -> Vec<String> {
    let mut lines = BufReader::new(core).split(b'\n');
    assert_eq!(lines.next_segment().await.unwrap().unwrap(), HEADER.trim_ascii_end());
    let mut seen = Vec::new();
    while seen.len() < count {
        let mut line = lines.next_segment().await.unwrap().unwrap();
        seen.push(String::from_utf8(line.split_off(TAG_LEN)).unwrap());
    }
    seen
}

#[tokio::test]
async fn coalesces_header_with_first_line() {
    let mut with_line = bridge_after(frame("hola").into(), Face::Plain, ENDLESS, 1_024);
    let mut bytes = [0; 1_024];
    let len = with_line.core.read(&mut bytes).await.unwrap();
    assert_eq!(len, HEADER.len() + TAG_LEN + "hola\n".len(), "one write");
    let mut alone = bridge(Face::Plain, ENDLESS, 1_024);
    let len = alone.core.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..len], HEADER);
}

#[tokio::test]
async fn coalesces_batches_into_one_write() {
    let mut bridge = bridge(Face::Plain, ENDLESS, 1_024);
    let mut bytes = [0; 1_024];
    bridge.core.read_exact(&mut bytes[..HEADER.len()]).await.unwrap();
    bridge.client.write_all(&[frame("a"), frame("b"), frame("c")].concat()).await.unwrap();
    assert_eq!(bridge.core.read(&mut bytes).await.unwrap(), 3 * (TAG_LEN + 2));
    bridge.core.write_all(b"a\nb\nc\n").await.unwrap();
    let len = bridge.client.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..len], b"\x81\x01a\x81\x01b\x81\x01c");
}

#[tokio::test]
async fn fragments_long_lines() {
    let mut bridge = bridge(Face::Plain, ENDLESS, 1 << 20);
    let line = "x".repeat(100_000);
    bridge.core.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let (mut fragments, mut whole, mut last) = (0, 0, false);
    while !last {
        let head = bridge.client.read_u16().await.unwrap();
        let len = match head & 0x7f {
            126 => usize::from(bridge.client.read_u16().await.unwrap()),
            len => usize::from(len),
        };
        assert_eq!(head >> 8 & 0xf, u16::from(fragments == 0), "text first, then continuation");
        assert!(len <= CORE_READ_BYTES);
        bridge.client.read_exact(&mut vec![0; len]).await.unwrap();
        (fragments, whole, last) = (fragments + 1, whole + len, head & 0x8000 != 0);
    }
    assert_eq!(whole, line.len());
    assert!(100_000 / CORE_READ_BYTES < fragments);
}

#[tokio::test]
async fn defers_bad_frame_errors_past_fragmented_line() {
    let mut bridge = bridge(Face::Frames, ENDLESS, 4_096);
    bridge.core.write_all(b"first ").await.unwrap();
    let mut bytes = [0; 8];
    bridge.client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\x01\x06first ");
    bridge.client.write_all(&[frame("\n"), frame("{}"), frame("\n")].concat()).await.unwrap();
    settle().await;
    bridge.core.write_all(b"line\nsecond\n").await.unwrap();
    let mut client = websocket(bridge.client).await;
    let mut bytes = [0; 6];
    client.get_mut().read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\x80\x04line");
    for want in ["bad_frame", "bad_frame", "second"] {
        let text = client.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(text.contains(want), "wanted {want}, got {text}");
    }
    assert_eq!(read_lines(bridge.core, 1).await, ["{}"]);
}

#[tokio::test]
async fn slow_client_applies_backpressure_without_loss() {
    let mut bridge = bridge(Face::Plain, ENDLESS, 4_096);
    let taken = fill(&mut bridge.core, b"a line of the core\n").await;
    assert!(4_096 < taken && taken < 2 * 4_096 + 3 * CORE_READ_BYTES, "{taken} bytes piled up");
    // The other direction is not blocked.
    bridge.client.write_all(&frame("hola")).await.unwrap();
    let mut head = vec![0; HEADER.len() + TAG_LEN + 5];
    bridge.core.read_exact(&mut head).await.unwrap();
    assert!(head.ends_with(b" hola\n"));
    let mut client = websocket(bridge.client).await;
    for _ in 0..taken / b"a line of the core\n".len() {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text("a line of the core"));
    }
}

#[tokio::test]
async fn slow_core_applies_backpressure_without_loss() {
    let mut bridge = bridge(Face::Plain, ENDLESS, 4_096);
    let frame = frame("a message of the client");
    let taken = fill(&mut bridge.client, &frame).await;
    assert!(4_096 < taken && taken < 8 * 4_096, "{taken} bytes piled up");
    // The other direction is not blocked.
    bridge.core.write_all(b"hola\n").await.unwrap();
    let mut hello = [0; 6];
    bridge.client.read_exact(&mut hello).await.unwrap();
    let whole = taken / frame.len();
    let lines = read_lines(bridge.core, whole).await;
    assert!(lines.iter().all(|line| line == "a message of the client"));
}

#[tokio::test(start_paused = true)]
async fn keeps_client_that_answers_pings() {
    let bridge = bridge(Face::Frames, KEEPALIVE, 4_096);
    let client = websocket(bridge.client).await;
    let (mut sink, mut stream) = client.split();
    let reader = Handle::current().spawn(async move {
        let mut pings = 0;
        while let Some(Ok(Message::Ping(_))) = stream.next().await {
            pings += 1;
        }
        pings
    });
    sleep(Duration::from_secs(25 * 10 + 1)).await;
    sink.send("still here".into()).await.unwrap();
    assert_eq!(read_lines(bridge.core, 1).await, ["still here"]);
    assert_eq!(bridge.cause.await.unwrap(), CloseCause::CoreLost, "ends only because the test drops the core");
    assert_eq!(reader.await.unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn times_out_silent_client() {
    let (start, bridge) = (Instant::now(), bridge(Face::Plain, KEEPALIVE, 4_096));
    // Not 1000, after which clients do not reconnect: this one may only have been unreachable.
    assert_eq!(bridge.cause.await.unwrap(), CloseReason::Idle.into());
    assert_eq!(start.elapsed().as_secs(), 35);
}

#[tokio::test(start_paused = true)]
async fn any_client_bytes_count_as_pong() {
    let mut bridge = bridge(Face::Plain, KEEPALIVE, 64 * 1_024);
    bridge.core.write_all(b"hola\n").await.unwrap();
    for _ in 0..100 {
        sleep(Duration::from_secs(9)).await;
        bridge.client.write_all(&frame("no pong")).await.unwrap();
    }
    assert!(!bridge.cause.is_finished());
}

#[tokio::test(start_paused = true)]
async fn disconnects_slow_consumer() {
    let (start, mut bridge) = (Instant::now(), bridge(Face::Plain, KEEPALIVE, 256));
    sleep(Duration::from_secs(3)).await;
    bridge.core.write_all(&[b'x'; 500]).await.unwrap();
    assert_eq!(bridge.cause.await.unwrap(), CloseReason::SlowConsumer.into());
    assert_eq!(start.elapsed().as_secs(), 13);
}

/// Writes `pieces` lines of `fragment` bytes, pausing after each.
async fn trickle(mut core: DuplexStream, pieces: usize, fragment: usize, pause: Duration) -> DuplexStream {
    let line = [vec![b'x'; fragment - 1], vec![b'\n']].concat();
    for _ in 0..pieces {
        core.write_all(&line).await.unwrap();
        sleep(pause).await;
    }
    core
}

#[tokio::test(start_paused = true)]
async fn keeps_slow_client_that_makes_progress() {
    let bridge = bridge(Face::Plain, KEEPALIVE, 256);
    let Bridge { mut client, core, cause, .. } = bridge;
    // Five times as much as the client reads: the write stays blocked for 100 s.
    let writing = Handle::current().spawn(trickle(core, 200, 1_000, Duration::from_millis(100)));
    let mut read = 0;
    for _ in 0..1_000 {
        sleep(Duration::from_millis(100)).await;
        read += client.read(&mut [0; 200]).await.unwrap();
        assert!(!cause.is_finished(), "given up after {read} bytes: {:?}", cause.await);
    }
    assert!(!writing.is_finished(), "back-pressure all the time");
}

#[tokio::test(start_paused = true)]
async fn defers_ping_behind_blocked_write() {
    let mut bridge = bridge(Face::Plain, KEEPALIVE, 256);
    sleep(Duration::from_secs(24)).await;
    bridge.core.write_all(&[&[b'x'; 499][..], b"\n"].concat()).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    // Reads everything and sends nothing.
    let mut client = websocket(bridge.client).await;
    assert!(client.next().await.unwrap().unwrap().is_text());
    let free = Instant::now();
    assert!(client.next().await.unwrap().unwrap().is_ping());
    assert_eq!(free.elapsed().as_secs(), 8, "as soon as one is due again");
    client.flush().await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert!(!bridge.cause.is_finished());
}

#[tokio::test(start_paused = true)]
async fn leaves_silent_core_for_a_healthier_one() {
    for (face, leftover) in [(Face::Plain, Vec::new()), (Face::Frames, frame("{}"))] {
        let start = Instant::now();
        let bridge = bridge_beside(true, leftover.into(), face, KEEPALIVE, 1_024);
        assert_eq!(bridge.cause.await.unwrap(), CloseCause::CoreLost);
        assert_eq!(start.elapsed().as_secs(), 5, "{face}");
        assert_eq!(*bridge.health.lock().unwrap(), [Health::Silent]);
    }
}

#[tokio::test(start_paused = true)]
async fn expects_no_reply_to_blank_lines() {
    let mut bridge = bridge_beside(true, Bytes::new(), Face::Frames, KEEPALIVE, 1_024);
    for _ in 0..9 {
        sleep(Duration::from_secs(9)).await;
        bridge.client.write_all(&frame(" \u{a0}\t")).await.unwrap();
    }
    assert!(!bridge.cause.is_finished());
    assert_eq!(*bridge.health.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn first_byte_marks_core_healthy() {
    let mut bridge = bridge_beside(true, frame("{}").into(), Face::Frames, KEEPALIVE, 1_024);
    sleep(Duration::from_secs(4)).await;
    bridge.core.write_all(b"{").await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert!(!bridge.cause.is_finished());
    assert_eq!(*bridge.health.lock().unwrap(), [Health::Answered]);
}

#[tokio::test(start_paused = true)]
async fn reports_silent_core_when_waiting_client_leaves() {
    for (waits_ms, want) in [(900, None), (1_100, Some(Health::Silent))] {
        let bridge = bridge_after(frame("{}").into(), Face::Frames, KEEPALIVE, 1_024);
        sleep(Duration::from_millis(waits_ms)).await;
        drop(bridge.client);
        assert_eq!(bridge.cause.await.unwrap(), CloseReason::ClientGone.into());
        assert_eq!(bridge.health.lock().unwrap().first().copied(), want, "{waits_ms} ms");
    }
}

/// Starts a bridge whose core has replied at once but is not read, because the client reads none of the queued pongs.
async fn unread_core() -> Bridge {
    let mut bridge = bridge_beside(true, Bytes::new(), Face::Frames, KEEPALIVE, 1_024);
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0], &[b'p'; 125][..]].concat();
    for _ in 0..20 {
        bridge.client.write_all(&ping).await.unwrap();
    }
    bridge.client.write_all(&frame("{}")).await.unwrap();
    bridge.core.write_all(b"{}\n").await.unwrap();
    settle().await;
    bridge
}

#[tokio::test(start_paused = true)]
async fn slow_consumer_is_no_evidence_against_core() {
    let (start, bridge) = (Instant::now(), unread_core().await);
    assert_eq!(bridge.cause.await.unwrap(), CloseReason::SlowConsumer.into());
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(*bridge.health.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn departing_slow_consumer_is_no_evidence_against_core() {
    let bridge = unread_core().await;
    sleep(Duration::from_secs(4)).await;
    drop(bridge.client);
    assert_eq!(bridge.cause.await.unwrap(), CloseReason::ClientGone.into());
    assert_eq!(*bridge.health.lock().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn reports_core_lost_before_first_byte() {
    for (last_words, want) in [(&b""[..], &[Health::Lost][..]), (b"hola\n", &[Health::Answered])] {
        let mut bridge = bridge(Face::Plain, KEEPALIVE, 1_024);
        bridge.core.write_all(last_words).await.unwrap();
        drop(bridge.core);
        assert_eq!(bridge.cause.await.unwrap(), CloseCause::CoreLost);
        assert_eq!(*bridge.health.lock().unwrap(), want, "{last_words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn times_out_the_only_core() {
    let (start, mut bridge) = (Instant::now(), bridge(Face::Plain, KEEPALIVE, 1_024));
    while !bridge.cause.is_finished() {
        sleep(Duration::from_secs(5)).await;
        // Fails once the bridge has ended.
        let _ended = bridge.client.write_all(&frame("hola")).await;
    }
    assert_eq!(bridge.cause.await.unwrap(), CloseCause::CoreLost);
    assert!((120..=125).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn times_out_core_that_stops_reading() {
    let mut bridge = bridge(Face::Plain, KEEPALIVE, 256);
    bridge.core.write_all(b"hola\n").await.unwrap();
    let frame = frame("a message of the client");
    while tokio::time::timeout(Duration::from_secs(1), bridge.client.write_all(&frame)).await.is_ok() {}
    let start = Instant::now();
    assert_eq!(bridge.cause.await.unwrap(), CloseCause::CoreLost);
    assert!((110..=120).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn keeps_client_while_core_is_busy() {
    let mut bridge = bridge(Face::Plain, KEEPALIVE, 256);
    let (frame, mut sent) = (frame("a message of the client"), 0);
    while tokio::time::timeout(Duration::from_secs(1), bridge.client.write_all(&frame)).await.is_ok() {
        sent += 1;
    }
    // Its pongs may go unread, because reading from it is paused.
    sleep(Duration::from_secs(100)).await;
    assert!(!bridge.cause.is_finished());
    assert_eq!(read_lines(bridge.core, sent).await.len(), sent);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// A buffer of one byte splits at every byte, a larger one at its size.
    #[test]
    fn lines_survive_any_split(
        up in proptest::collection::vec("[^\n]{0,30}", 0..20),
        down in proptest::collection::vec("[^\n\u{4}]{0,30}", 0..20),
        buffer in 1usize..100,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bridge = bridge(Face::Frames, ENDLESS, buffer);
            let (mut sink, mut stream) = websocket(bridge.client).await.split();
            let (core_read, mut core_write) = tokio::io::split(bridge.core);
            let send_up = async {
                for text in &up {
                    sink.send(Message::text(text.as_str())).await.unwrap();
                }
            };
            let send_down = async {
                for line in &down {
                    core_write.write_all(format!("{line}\n").as_bytes()).await.unwrap();
                }
            };
            let read_up = async {
                let mut lines = BufReader::new(core_read).split(b'\n');
                assert!(lines.next_segment().await.unwrap().is_some());
                for text in &up {
                    assert_eq!(&lines.next_segment().await.unwrap().unwrap()[TAG_LEN..], text.as_bytes());
                }
            };
            let read_down = async {
                for line in &down {
                    assert_eq!(&stream.next().await.unwrap().unwrap(), &Message::text(line.as_str()));
                }
            };
            tokio::join!(send_up, send_down, read_up, read_down);
        });
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        up in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x80), Just(0x00), Just(b'\n')], 0..300),
        down in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x04), Just(b'\n')], 0..300),
        buffer in 1usize..400,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bridge = bridge(Face::Frames, ENDLESS, buffer);
            let (client, core) = (bridge.client, bridge.core);
            let flood = |mut stream: DuplexStream, bytes: Vec<u8>| async move {
                let (mut read, mut write) = tokio::io::split(&mut stream);
                let send = async {
                    // Fails if the bridge ended first.
                    let _closed = write.write_all(&bytes).await;
                    let _closed = write.shutdown().await;
                };
                let mut sink = tokio::io::sink();
                let (_, read) = tokio::join!(send, tokio::io::copy(&mut read, &mut sink));
                read.unwrap();
            };
            tokio::join!(flood(client, up), flood(core, down));
            bridge.cause.await.expect("no panic");
        });
    }
}
