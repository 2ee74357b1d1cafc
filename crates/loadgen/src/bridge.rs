//! Round trip of one line through the gateway, HAProxy and a bare connection, in one run:
//! absolute times differ between machines, ratios do not.

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

const MAX_CONCURRENT_CONNECTS: usize = 64;
/// Round trips before the measurement.
const WARM_UP_ROUND_TRIPS: usize = 200;
/// Grace of a phase beyond its duration.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Options of a comparison.
#[derive(Debug, Clone)]
pub struct Options {
    /// This program's binary, which also provides the echo server.
    pub loadgen: PathBuf,
    /// The gateway's binary.
    pub gateway: Option<PathBuf>,
    /// HAProxy's binary, or its name in `PATH`.
    pub haproxy: Option<PathBuf>,
    /// Number of interleaved measurements of each route.
    pub rounds: usize,
    /// Duration of each phase of a round.
    pub phase: Duration,
    /// Connections in the throughput phase.
    pub connections: usize,
    /// Idle connections in the memory phase; 0 skips it.
    pub idle: usize,
    /// Delay from the last idle connection to reading the memory.
    pub settle: Duration,
    /// Length of the line in bytes, without its newline.
    pub line_bytes: usize,
}

/// Runs every phase.
///
/// # Errors
///
/// A process cannot be started, or does not forward lines.
pub async fn run(options: &Options) -> Result<BridgeReport, LoadError> {
    let mut samples = Vec::new();
    {
        let servers = Servers::start(options).await?;
        samples.extend(servers.routes().iter().map(|route| RouteSamples::new(route.name)));
        // Routes alternate, so that drift of the machine affects all alike.
        for _ in 0..options.rounds {
            for (route, samples) in servers.routes().iter().zip(&mut samples) {
                samples.rounds.push(sample(route, options).await?);
            }
        }
    }
    if 0 < options.idle {
        // New processes: the memory of these has grown under load.
        let servers = Servers::start(options).await?;
        for (route, samples) in servers.routes().iter().zip(&mut samples) {
            samples.idle_bytes_each = Some(measure_idle_memory(route, options).await?);
        }
    }
    Ok(BridgeReport::new(options, &samples))
}

async fn sample(route: &Route, options: &Options) -> Result<Sample, LoadError> {
    let latency = measure_latency(route, options.phase).await?;
    let (rate_per_second, cpu_us_each) = measure_throughput(route, options).await?;
    let p50_us = latency.percentiles().map_or(0.0, |percentiles| percentiles.p50_ms * 1e3);
    Ok(Sample { p50_us, rate_per_second, cpu_us_each })
}

/// Measures round trips on one connection with blocking I/O, the cheapest client.
async fn measure_latency(route: &Route, phase: Duration) -> Result<Latency, LoadError> {
    let stream = route.connect().await?.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut latency = Latency::default();
    for _ in 0..WARM_UP_ROUND_TRIPS {
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

/// Measures round trips per second on concurrent connections, and CPU time of the bridge per round trip
/// in microseconds.
async fn measure_throughput(route: &Route, options: &Options) -> Result<(f64, f64), LoadError> {
    let mut streams = open(route, options.connections).await?;
    let before = Footprint::of(route.pid)?;
    let (start, end) = (Instant::now(), Instant::now() + options.phase);
    let clients = streams.iter_mut().map(|stream| exchange_until(route, stream, end));
    let late = |_| route.problem("no answer");
    let counts = timeout(options.phase + TIMEOUT, try_join_all(clients)).await.map_err(late)??;
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

/// Measures memory of the bridge per idle connection in bytes, after one round trip on each.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
async fn measure_idle_memory(route: &Route, options: &Options) -> Result<f64, LoadError> {
    drop(open(route, options.connections).await?);
    sleep(options.settle).await;
    let before = Footprint::of(route.pid)?;
    let streams = open(route, options.idle).await?;
    sleep(options.settle).await;
    let grown = Footprint::of(route.pid)?.growth_since(&before);
    Ok(grown as f64 / streams.len() as f64)
}

/// Opens connections with one round trip on each.
async fn open(route: &Route, count: usize) -> Result<Vec<TcpStream>, LoadError> {
    let opening = (0..count).map(|_| async {
        let mut stream = route.connect().await?;
        let late = |_| route.problem("no answer on a new connection");
        timeout(TIMEOUT, route.exchange(&mut stream)).await.map_err(late)??;
        Ok(stream)
    });
    stream::iter(opening).buffer_unordered(MAX_CONCURRENT_CONNECTS).try_collect().await
}
