//! The round trip of one line through a bridge, in one run beside HAProxy and beside the
//! bare connection: absolute times differ from machine to machine, ratios do not.

mod report;
mod route;
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use testkit::footprint::Footprint;

pub use report::{BridgeReport, Measure, Row, Spread};
use report::{RouteSamples, Sample};
use route::Route;
use servers::Servers;

use crate::error::LoadError;
use crate::stats::{Latency, per, rate};

/// Connections opened at the same time.
const CONNECTING: usize = 64;
/// Round trips before those that count.
const WARM_UP: usize = 200;
/// How long a phase may take beyond its time.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is compared, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// This program's own binary, which is also the echo at the far end.
    pub loadgen: PathBuf,
    /// The gateway's binary.
    pub gateway: Option<PathBuf>,
    /// HAProxy's binary, or its name to be found in `PATH`.
    pub haproxy: Option<PathBuf>,
    /// How often each is measured, in turns.
    pub rounds: usize,
    /// Time of each phase of a round.
    pub phase: Duration,
    /// Connections in the throughput phase.
    pub connections: usize,
    /// Idle connections in the memory phase; 0 leaves it out.
    pub idle: usize,
    /// From the last idle connection to reading the memory.
    pub settle: Duration,
    /// Length of the line in bytes, its ending not counted.
    pub line_bytes: usize,
}

/// Runs every phase.
///
/// # Errors
///
/// A process cannot be started, or does not carry lines.
pub async fn run(options: &Options) -> Result<BridgeReport, LoadError> {
    let mut samples = Vec::new();
    {
        let servers = Servers::start(options).await?;
        samples.extend(servers.routes().iter().map(|route| RouteSamples::new(route.name)));
        for _ in 0..options.rounds {
            for (route, samples) in servers.routes().iter().zip(&mut samples) {
                samples.rounds.push(sample(route, options).await?);
            }
        }
    }
    if 0 < options.idle {
        // New processes: these have already grown to what the load needed.
        let servers = Servers::start(options).await?;
        for (route, samples) in servers.routes().iter().zip(&mut samples) {
            samples.idle_bytes_each = Some(idle(route, options).await?);
        }
    }
    Ok(BridgeReport::new(options, &samples))
}

async fn sample(route: &Route, options: &Options) -> Result<Sample, LoadError> {
    let latency = single(route, options.phase).await?;
    let (rate_per_second, cpu_us_each) = many(route, options).await?;
    let p50_us = latency.percentiles().map_or(0.0, |percentiles| percentiles.p50_ms * 1e3);
    Ok(Sample { p50_us, rate_per_second, cpu_us_each })
}

/// Round trips on one connection, on the blocking interface: the least a client can cost.
async fn single(route: &Route, phase: Duration) -> Result<Latency, LoadError> {
    let stream = route.connect().await?.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut latency = Latency::default();
    for _ in 0..WARM_UP {
        route.exchange_blocking(&stream)?;
    }
    let end = Instant::now() + phase;
    let mut before = Instant::now();
    while before < end {
        route.exchange_blocking(&stream)?;
        let after = Instant::now();
        latency.record(after - before);
        before = after;
    }
    Ok(latency)
}

/// Round trips on many connections at once: how many a second, and what each costs the bridge.
async fn many(route: &Route, options: &Options) -> Result<(f64, f64), LoadError> {
    let mut streams = open(route, options.connections).await?;
    let before = Footprint::of(route.pid)?;
    let (start, end) = (Instant::now(), Instant::now() + options.phase);
    let clients = streams.iter_mut().map(|stream| exchange_until(route, stream, end));
    let late = |_| route.problem("no answer");
    let counts = timeout(options.phase + PATIENCE, try_join_all(clients)).await.map_err(late)??;
    let elapsed = start.elapsed();
    let count = counts.iter().sum();
    let cpu = Footprint::of(route.pid)?.processor_time_since(&before);
    Ok((rate(count, elapsed), per(cpu.as_secs_f64() * 1e6, count)))
}

async fn exchange_until(route: &Route, stream: &mut TcpStream, end: Instant) -> Result<u64, LoadError> {
    let mut count = 0;
    while Instant::now() < end {
        route.exchange(stream).await?;
        count += 1;
    }
    Ok(count)
}

/// Memory that each idle connection costs the bridge, after one round trip on each.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
async fn idle(route: &Route, options: &Options) -> Result<f64, LoadError> {
    drop(open(route, options.connections).await?);
    sleep(options.settle).await;
    let before = Footprint::of(route.pid)?;
    let streams = open(route, options.idle).await?;
    sleep(options.settle).await;
    let grown = Footprint::of(route.pid)?.growth_since(&before);
    Ok(grown as f64 / streams.len() as f64)
}

/// Opens connections and makes one round trip on each.
async fn open(route: &Route, count: usize) -> Result<Vec<TcpStream>, LoadError> {
    let opening = (0..count).map(|_| async {
        let mut stream = route.connect().await?;
        let late = |_| route.problem("no answer on a new connection");
        timeout(PATIENCE, route.exchange(&mut stream)).await.map_err(late)??;
        Ok(stream)
    });
    stream::iter(opening).buffer_unordered(CONNECTING).try_collect().await
}
