use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::*;
use crate::line_peer::LinePeer;

/// Scripted server: `say X` is answered by X, `later MS X` after a delay, `close` ends the connection.
async fn obey<S>(stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while 0 < stream.read_line(&mut line).await.unwrap_or_default() {
        let order = std::mem::take(&mut line);
        let order = order.trim_end_matches('\n');
        let answer = match order.split_once(' ') {
            Some(("say", text)) => text.to_owned(),
            Some(("later", rest)) => {
                let (ms, text) = rest.split_once(' ').unwrap();
                sleep(Duration::from_millis(ms.parse().unwrap())).await;
                text.to_owned()
            }
            _ => return,
        };
        let answer = answer.replace('|', "\n") + "\n";
        // Fails if the client has cut the connection.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// The scripted server in memory.
#[derive(Default)]
struct InProcess {
    tasks: TaskTracker,
    answers: Arc<AtomicUsize>,
}

impl ServerUnderTest for InProcess {
    type Peer = LinePeer<DuplexStream>;

    async fn connect(&mut self, _face: Face) -> Result<Self::Peer, PeerError> {
        let (client, server) = duplex(65_536);
        self.tasks.spawn(obey(server));
        std::future::ready(Ok(LinePeer::new(client))).await
    }

    fn push_answer(&mut self, _answer: Answer) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// The scripted server over TCP.
struct OverTcp {
    tasks: TaskTracker,
    listener: TcpListener,
}

impl ServerUnderTest for OverTcp {
    type Peer = LinePeer<TcpStream>;

    async fn connect(&mut self, _face: Face) -> Result<Self::Peer, PeerError> {
        let peer = LinePeer::connect(self.listener.local_addr()?).await?;
        let (server, _) = self.listener.accept().await?;
        self.tasks.spawn(obey(server));
        Ok(peer)
    }

    fn push_answer(&mut self, _answer: Answer) {}
}

fn parse(body: &str) -> Transcript {
    Transcript::parse("001-x.txt", &format!("# 001: x.\n@face plain\n{body}")).unwrap()
}

async fn play(body: &str) -> Result<(), Failure> {
    run(&parse(body), &mut InProcess::default()).await
}

const GOOD: &str = "\
@model [\"x\"]
> say Usuario-1 conectado.
< $user conectado.
@connect b
b> say hola, $user
b< hola, Usuario-1
> later 500 {\"type\":\"pong\",\"id\":\"x\"}
~ 500
< {\"type\":\"pong\"}
b! cut
> later 60000 tarde|más tarde
~ 61000
< tarde
< más tarde
> close
! closed bye
";

#[tokio::test(start_paused = true)]
async fn replays_in_process() {
    let mut world = InProcess::default();
    assert_eq!(run(&parse(GOOD), &mut world).await, Ok(()));
    assert_eq!(world.answers.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn replays_over_tcp() {
    let _frozen = FrozenClock::freeze();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = OverTcp { tasks: TaskTracker::new(), listener };
    assert_eq!(run(&parse(GOOD), &mut world).await, Ok(()));
}

fn delta(offset: usize, text: &str) -> String {
    format!(r#"{{"type":"delta","id":"a","offset":{offset},"text":"{text}","extra":1}}"#)
}

#[tokio::test(start_paused = true)]
async fn deltas_are_compared_joined() {
    let want = |offset: usize, text: &str| format!("< {}\n", delta(offset, text).replace(r#","extra":1"#, ""));
    let sent = |deltas: &[String]| format!("> say {}\n", deltas.join("|"));
    let pieces = [delta(0, "ñan"), delta(3, "dú "), delta(6, "va")];
    let done = r#"{"type":"done","id":"a"}"#;
    let good = [
        sent(&pieces) + &want(0, "ñandú va"),
        sent(&pieces) + &want(0, "ñandú") + &want(5, " va"),
        sent(&[delta(0, "ñandú va")]) + &want(0, "ñ") + &want(1, "andú ") + &want(6, "va"),
        sent(&pieces) + &want(0, "$_"),
        sent(&[pieces.join("|"), done.to_owned()]) + &want(0, "$_") + "< " + done + "\n",
        sent(&pieces) + &want(0, "$_") + "> close\n! closed bye\n",
    ];
    for body in good {
        assert_eq!(play(&body).await, Ok(()), "{body}");
    }
    let bad = [
        // Rows: a gap, an interleaved id, text beyond the end, a wrong offset, wrong text, an early end.
        sent(&[delta(0, "ñan"), delta(4, "dú")]) + &want(0, "ñandú"),
        sent(&[delta(0, "ñan"), delta(3, "dú").replace(r#""a""#, r#""b""#)]) + &want(0, "ñandú"),
        sent(&pieces) + &want(0, "ñandú"),
        sent(&pieces) + &want(1, "ñandú va"),
        sent(&pieces) + &want(0, "ñandu va"),
        sent(&[delta(0, "ñan")]) + "> close\n" + &want(0, "ñandú"),
        sent(&[delta(0, "a"), delta(2, "b")]) + &want(0, "$_"),
    ];
    for body in bad {
        assert!(play(&body).await.is_err(), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_name_line_and_difference() {
    let check = async |body: &str, line: usize, wanted: &str, got: &str| {
        let failure = play(body).await.unwrap_err();
        assert_eq!((failure.line, failure.wanted.as_str(), failure.got.as_str()), (line, wanted, got), "{body}");
        assert!(failure.to_string().starts_with(&format!("001-x.txt:{line}: connection a\nwant ")), "{failure}");
    };
    check("> say uno\n< dos\n", 4, "dos", "uno").await;
    check("> say uno|dos\n< uno\n", 0, "nothing more", "dos").await;
    check("> say uno\n! closed bye\n", 4, "closed bye", "uno").await;
    check("> close\n< uno\n", 4, "uno", "closed").await;
    check("> say uno\n< uno\n> close\n", 0, "nothing more", "closed").await;
    check("> say $x\n< x\n", 3, "to send say $x", "$x is not bound yet").await;
}
