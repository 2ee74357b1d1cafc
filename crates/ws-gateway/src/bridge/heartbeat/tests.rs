use HeartbeatEvent::{ClientSilent, ClientStalled, CoreSilent, CoreStalled, Ping};

use super::*;

const PATIENCE: Patience = Patience { ping: Duration::from_secs(25), pong: Duration::from_secs(10) };

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Bytes taken while more wait.
    Wrote(usize),
    Flushed,
    Heard,
    Reading(bool),
    Asked,
    CoreTook(usize),
    CoreFlushed,
    CoreSpoke,
}

/// Lets time pass from step to step, as a timer on `next` does, up to `end` seconds; every event with its second, of
/// the reports of one silence the first.
fn run(patience: Patience, steps: &[(u64, Step)], end: u64) -> Vec<(u64, HeartbeatEvent)> {
    let start = Instant::now();
    let mut heartbeat = Heartbeat::new(start, patience);
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
                    Ping => heartbeat.pinged(now),
                    CoreSilent => {}
                    ClientSilent | ClientStalled | CoreStalled => return seen,
                }
            }
            assert!(now < heartbeat.next(), "a deadline that has been reported is gone");
        }
        match step {
            Some(Step::Wrote(bytes)) => heartbeat.wrote(at, bytes),
            Some(Step::Flushed) => heartbeat.flushed(at),
            Some(Step::Heard) => heartbeat.heard(),
            Some(Step::Reading(reading)) => heartbeat.set_reading(reading),
            Some(Step::Asked) => heartbeat.asked(at),
            Some(Step::CoreTook(bytes)) => heartbeat.core_took(at, bytes),
            Some(Step::CoreFlushed) => heartbeat.core_flushed(),
            Some(Step::CoreSpoke) => {
                heartbeat.core_spoke(at);
            }
            None => {}
        }
    }
    seen
}

/// Name, steps, end, and what comes of them.
type Row<'a> = (&'a str, &'a [(u64, Step)], u64, &'a [(u64, HeartbeatEvent)]);

#[test]
fn events_and_times() {
    use Step::{Asked, CoreFlushed, CoreSpoke, CoreTook, Flushed, Heard, Reading, Wrote};
    let rows: &[Row<'_>] = &[
        ("silent from the start", &[], 99, &[(25, Ping), (35, ClientSilent)]),
        ("answers", &[(26, Heard), (51, Heard)], 59, &[(25, Ping), (50, Ping)]),
        ("answers at the last moment", &[(34, Heard)], 49, &[(25, Ping)]),
        ("spoke only before the ping", &[(24, Heard)], 99, &[(25, Ping), (35, ClientSilent)]),
        ("takes nothing", &[(3, Wrote(0))], 99, &[(13, ClientStalled)]),
        ("takes nothing after some", &[(3, Wrote(9)), (8, Wrote(0)), (12, Wrote(0))], 99, &[(13, ClientStalled)]),
        ("takes all, then nothing", &[(3, Wrote(0)), (12, Flushed), (12, Wrote(0))], 99, &[(22, ClientStalled)]),
        ("takes a little all the time", &[(3, Wrote(0)), (12, Wrote(1)), (21, Wrote(1))], 30, &[]),
        (
            "no pong is awaited for a ping that was not sent",
            &[(24, Wrote(0)), (27, Flushed), (40, Heard)],
            59,
            &[(35, Ping)],
        ),
        (
            "a ping behind bytes that go slowly",
            &[(26, Wrote(5)), (33, Wrote(5)), (40, Wrote(5)), (48, Flushed), (57, Heard)],
            59,
            &[(25, Ping), (50, Ping)],
        ),
        ("all taken, and then silent", &[(26, Wrote(5)), (33, Flushed)], 99, &[(25, Ping), (43, ClientSilent)]),
        ("not read: not heard", &[(20, Reading(false)), (44, Reading(true)), (44, Heard)], 49, &[(25, Ping)]),
        ("read again, and silent", &[(20, Reading(false)), (44, Reading(true))], 99, &[(25, Ping), (45, ClientSilent)]),
        ("a core that is not asked", &[], 24, &[]),
        ("a core that does not answer", &[(2, Asked), (4, Asked)], 20, &[(7, CoreSilent)]),
        ("a core that answers", &[(2, Asked), (6, CoreSpoke)], 20, &[]),
        ("only the first byte counts", &[(2, CoreSpoke), (4, Asked)], 20, &[]),
        ("a core that is not read", &[(1, Wrote(0)), (2, Asked)], 20, &[(11, ClientStalled)]),
        ("a core that is not read for long", &[(1, Wrote(0)), (2, Asked), (9, Wrote(1))], 20, &[(19, ClientStalled)]),
        ("a core that is read again", &[(1, Wrote(0)), (2, Asked), (6, Flushed)], 20, &[(11, CoreSilent)]),
        ("a core that is not read in between", &[(2, Asked), (4, Wrote(0)), (8, Flushed)], 20, &[(13, CoreSilent)]),
        ("a core that is read again and answers", &[(2, Asked), (4, Wrote(0)), (8, Flushed), (9, CoreSpoke)], 20, &[]),
        ("a core that takes nothing", &[(1, CoreTook(0)), (2, CoreFlushed)], 20, &[]),
    ];
    for (name, steps, end, want) in rows {
        assert_eq!(run(PATIENCE, steps, *end), *want, "{name}");
    }
}

/// The client answers every ping; the core is the one that is waited for.
#[test]
fn a_core_has_a_limit_too() {
    use Step::{Asked, CoreSpoke, CoreTook};
    let patience = Patience { ping: Duration::from_secs(3_600), ..PATIENCE };
    let rows: &[Row<'_>] = &[
        ("takes nothing", &[(1, CoreTook(0)), (99, CoreTook(0))], 999, &[(121, CoreStalled)]),
        ("takes a little", &[(1, CoreTook(0)), (99, CoreTook(1))], 999, &[(219, CoreStalled)]),
        ("sends", &[(1, CoreTook(0)), (99, CoreSpoke)], 999, &[(219, CoreStalled)]),
        ("never answers", &[(1, Asked)], 999, &[(6, CoreSilent), (121, CoreStalled)]),
    ];
    for (name, steps, end, want) in rows {
        assert_eq!(run(patience, steps, *end), *want, "{name}");
    }
}

#[test]
fn silence_is_reported_until_it_ends() {
    let start = Instant::now();
    let mut heartbeat = Heartbeat::new(start, PATIENCE);
    heartbeat.asked(start);
    for seconds in 5..20 {
        let now = start + Duration::from_secs(seconds);
        assert_eq!((heartbeat.next(), heartbeat.due(now)), (now, Some(CoreSilent)));
        assert_eq!(heartbeat.due(now), None);
    }
    heartbeat.core_spoke(start + Duration::from_secs(20));
    assert_eq!(heartbeat.next(), start + PATIENCE.ping);
}

#[test]
fn a_core_owes_nothing_while_it_is_not_read() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut heartbeat = Heartbeat::new(start, PATIENCE);
    heartbeat.asked(at(1));
    assert_eq!(heartbeat.unanswered(at(3)), Some(Duration::from_secs(2)));
    heartbeat.wrote(at(3), 0);
    assert_eq!(heartbeat.unanswered(at(7)), None);
    heartbeat.flushed(at(7));
    assert_eq!(heartbeat.unanswered(at(8)), Some(Duration::from_secs(1)));
    heartbeat.core_spoke(at(8));
    assert_eq!(heartbeat.unanswered(at(9)), None);
}

#[test]
fn pings_may_be_more_frequent_than_pongs_are_due() {
    let often = Patience { ping: Duration::from_secs(4), pong: Duration::from_secs(10) };
    let pings = [(4, Ping), (8, Ping), (12, Ping)];
    assert_eq!(run(often, &[(13, Step::Heard)], 15), pings);
    assert_eq!(run(often, &[], 99), [&pings[..], &[(14, ClientSilent)]].concat());
}
