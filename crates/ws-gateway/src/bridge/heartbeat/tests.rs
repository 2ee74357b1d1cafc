use HeartbeatEvent::{ClientSilent, ClientStalled, CoreSilent, CoreStalled, Ping};

use super::*;

const KEEPALIVE: KeepaliveSettings =
    KeepaliveSettings { ping_interval: Duration::from_secs(25), pong_timeout: Duration::from_secs(10) };

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Bytes written while more are blocked.
    Write(usize),
    Flush,
    Recv,
    Reading(bool),
    Request,
    CoreWrite(usize),
    CoreFlush,
    CoreRecv,
}

/// Runs `steps`, fires every deadline up to `end` seconds, and returns each event with its second; of repeated silence
/// reports only the first.
fn run(keepalive: KeepaliveSettings, steps: &[(u64, Step)], end: u64) -> Vec<(u64, HeartbeatEvent)> {
    let start = Instant::now();
    let mut heartbeat = Heartbeat::new(start, keepalive);
    let mut seen = Vec::new();
    let steps = steps.iter().map(|&(at, step)| (at, Some(step))).chain([(end, None)]);
    for (at, step) in steps {
        let at = start + Duration::from_secs(at);
        while heartbeat.next() <= at {
            let now = heartbeat.next();
            while let Some(event) = heartbeat.due(now) {
                if !(event == CoreSilent && seen.iter().any(|(_, event)| *event == CoreSilent)) {
                    seen.push(((now - start).as_secs(), event));
                }
                match event {
                    Ping => heartbeat.on_ping_sent(now),
                    CoreSilent => {}
                    ClientSilent | ClientStalled | CoreStalled => return seen,
                }
            }
            assert!(now < heartbeat.next(), "a deadline that has been reported is gone");
        }
        match step {
            Some(Step::Write(bytes)) => heartbeat.on_client_write(at, bytes),
            Some(Step::Flush) => heartbeat.on_client_flushed(at),
            Some(Step::Recv) => heartbeat.on_client_bytes(),
            Some(Step::Reading(reading)) => heartbeat.set_reading(reading),
            Some(Step::Request) => heartbeat.on_request(at),
            Some(Step::CoreWrite(bytes)) => heartbeat.on_core_write(at, bytes),
            Some(Step::CoreFlush) => heartbeat.on_core_flushed(),
            Some(Step::CoreRecv) => {
                heartbeat.on_core_bytes(at);
            }
            None => {}
        }
    }
    seen
}

/// Name, steps, end in seconds, expected events.
type Row<'a> = (&'a str, &'a [(u64, Step)], u64, &'a [(u64, HeartbeatEvent)]);

#[test]
fn deadlines_match_table() {
    use Step::{CoreFlush, CoreRecv, CoreWrite, Flush, Reading, Recv, Request, Write};
    let rows: &[Row<'_>] = &[
        ("silent from the start", &[], 99, &[(25, Ping), (35, ClientSilent)]),
        ("answers", &[(26, Recv), (51, Recv)], 59, &[(25, Ping), (50, Ping)]),
        ("answers at the last moment", &[(34, Recv)], 49, &[(25, Ping)]),
        ("spoke only before the ping", &[(24, Recv)], 99, &[(25, Ping), (35, ClientSilent)]),
        ("takes nothing", &[(3, Write(0))], 99, &[(13, ClientStalled)]),
        ("takes nothing after some", &[(3, Write(9)), (8, Write(0)), (12, Write(0))], 99, &[(13, ClientStalled)]),
        ("takes all, then nothing", &[(3, Write(0)), (12, Flush), (12, Write(0))], 99, &[(22, ClientStalled)]),
        ("takes a little all the time", &[(3, Write(0)), (12, Write(1)), (21, Write(1))], 30, &[]),
        (
            "no pong is awaited for a ping that was not sent",
            &[(24, Write(0)), (27, Flush), (40, Recv)],
            59,
            &[(35, Ping)],
        ),
        (
            "a ping behind bytes that go slowly",
            &[(26, Write(5)), (33, Write(5)), (40, Write(5)), (48, Flush), (57, Recv)],
            59,
            &[(25, Ping), (50, Ping)],
        ),
        ("all taken, and then silent", &[(26, Write(5)), (33, Flush)], 99, &[(25, Ping), (43, ClientSilent)]),
        ("not read: not heard", &[(20, Reading(false)), (44, Reading(true)), (44, Recv)], 49, &[(25, Ping)]),
        ("read again, and silent", &[(20, Reading(false)), (44, Reading(true))], 99, &[(25, Ping), (45, ClientSilent)]),
        ("a core that is not asked", &[], 24, &[]),
        ("a core that does not answer", &[(2, Request), (4, Request)], 20, &[(7, CoreSilent)]),
        ("a core that answers", &[(2, Request), (6, CoreRecv)], 20, &[]),
        ("only the first byte counts", &[(2, CoreRecv), (4, Request)], 20, &[]),
        ("a core that is not read", &[(1, Write(0)), (2, Request)], 20, &[(11, ClientStalled)]),
        ("a core that is not read for long", &[(1, Write(0)), (2, Request), (9, Write(1))], 20, &[(19, ClientStalled)]),
        ("a core that is read again", &[(1, Write(0)), (2, Request), (6, Flush)], 20, &[(11, CoreSilent)]),
        ("a core that is not read in between", &[(2, Request), (4, Write(0)), (8, Flush)], 20, &[(13, CoreSilent)]),
        ("a core that is read again and answers", &[(2, Request), (4, Write(0)), (8, Flush), (9, CoreRecv)], 20, &[]),
        ("a core that takes nothing", &[(1, CoreWrite(0)), (2, CoreFlush)], 20, &[]),
    ];
    for (name, steps, end, want) in rows {
        assert_eq!(run(KEEPALIVE, steps, *end), *want, "{name}");
    }
}

/// The client answers every ping; only the core's timeouts fire.
#[test]
fn core_deadlines_match_table() {
    use Step::{CoreRecv, CoreWrite, Request};
    let keepalive = KeepaliveSettings { ping_interval: Duration::from_secs(3_600), ..KEEPALIVE };
    let rows: &[Row<'_>] = &[
        ("takes nothing", &[(1, CoreWrite(0)), (99, CoreWrite(0))], 999, &[(121, CoreStalled)]),
        ("takes a little", &[(1, CoreWrite(0)), (99, CoreWrite(1))], 999, &[(219, CoreStalled)]),
        ("sends", &[(1, CoreWrite(0)), (99, CoreRecv)], 999, &[(219, CoreStalled)]),
        ("never answers", &[(1, Request)], 999, &[(6, CoreSilent), (121, CoreStalled)]),
    ];
    for (name, steps, end, want) in rows {
        assert_eq!(run(keepalive, steps, *end), *want, "{name}");
    }
}

#[test]
fn repeats_silence_reports() {
    let start = Instant::now();
    let mut heartbeat = Heartbeat::new(start, KEEPALIVE);
    heartbeat.on_request(start);
    for seconds in 5..20 {
        let now = start + Duration::from_secs(seconds);
        assert_eq!((heartbeat.next(), heartbeat.due(now)), (now, Some(CoreSilent)));
        assert_eq!(heartbeat.due(now), None);
    }
    heartbeat.on_core_bytes(start + Duration::from_secs(20));
    assert_eq!(heartbeat.next(), start + KEEPALIVE.ping_interval);
}

#[test]
fn pauses_first_byte_timeout_while_client_blocks() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut heartbeat = Heartbeat::new(start, KEEPALIVE);
    heartbeat.on_request(at(1));
    assert_eq!(heartbeat.unanswered(at(3)), Some(Duration::from_secs(2)));
    heartbeat.on_client_write(at(3), 0);
    assert_eq!(heartbeat.unanswered(at(7)), None);
    heartbeat.on_client_flushed(at(7));
    assert_eq!(heartbeat.unanswered(at(8)), Some(Duration::from_secs(1)));
    heartbeat.on_core_bytes(at(8));
    assert_eq!(heartbeat.unanswered(at(9)), None);
}

#[test]
fn pings_more_often_than_pong_timeout() {
    let often = KeepaliveSettings { ping_interval: Duration::from_secs(4), pong_timeout: Duration::from_secs(10) };
    let pings = [(4, Ping), (8, Ping), (12, Ping)];
    assert_eq!(run(often, &[(13, Step::Recv)], 15), pings);
    assert_eq!(run(often, &[], 99), [&pings[..], &[(14, ClientSilent)]].concat());
}
