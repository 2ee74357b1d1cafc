//! Command-line arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use loadgen::{Binaries, LoadError, Target, WatchedProcess, bridge, chat, help, idle, overload, pressure};
use protocol::Face;

/// Generates load for PsicoIA and measures latency and resources.
#[derive(Debug, Parser)]
// `help` is a measurement.
#[command(version, about, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Print the result as one JSON object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Users who write and wait for answers: throughput and latency.
    Chat(ChatArgs),
    /// Connected users who send nothing: memory.
    Idle(IdleArgs),
    /// Round trip of one line through the gateway, HAProxy and a bare connection.
    Bridge(BridgeArgs),
    /// Users during connection floods, slowloris and stalled readers: their latency.
    Pressure(PressureArgs),
    /// More messages than the model can answer: goodput, refusals and recovery.
    Overload(OverloadArgs),
    /// Users in risk under one fault after another: time to help. Fails if a user gets none.
    Help(HelpArgs),
    /// Upstream of `bridge`: echoes every line.
    #[command(hide = true)]
    Echo {
        /// Port to listen on; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    users: UserArgs,
    /// Messages per user.
    #[arg(long, default_value_t = 10)]
    messages: usize,
    /// Turns per second of all users together, independent of answers (open loop). Without it each
    /// user writes once the last answer has arrived (closed loop).
    #[arg(long)]
    rate: Option<f64>,
    /// Pause of a user between an answer and the next message, in milliseconds.
    #[arg(long, default_value_t = 0)]
    think_ms: u64,
    /// Text of every message.
    #[arg(long, default_value = "hola, hoy fue un día largo")]
    text: String,
    /// Timeout of an answer, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout_seconds: u64,
    /// No message is sent after this many seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Folder beside the database: the latency of its disk is reported with `accepted`.
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    users: UserArgs,
    /// Delay from the last greeting to reading the memory, in milliseconds.
    #[arg(long, default_value_t = 3_000)]
    settle_ms: u64,
}

/// Users and their target.
#[derive(Debug, clap::Args)]
struct UserArgs {
    /// Target: ws://host:port/ws or tcp://host:port.
    #[arg(long = "via", value_name = "ADDRESS")]
    target: Target,
    /// Face: frames or plain.
    #[arg(long, default_value = "frames", value_parser = face)]
    face: Face,
    /// Number of users.
    #[arg(long, default_value_t = 100)]
    people: usize,
    /// Process to measure, as name=PID; may be repeated.
    #[arg(long = "pid", value_name = "NAME=PID")]
    watched: Vec<WatchedProcess>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BridgeArgs {
    /// Binary of the gateway; without it only the others are measured.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Binary or name of HAProxy.
    #[arg(long, default_value = "haproxy")]
    haproxy: PathBuf,
    /// Skip HAProxy, and with it the ratios.
    #[arg(long)]
    no_haproxy: bool,
    /// Interleaved measurements of each route.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Duration of each phase of a round, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections in the throughput phase.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Idle connections in the memory phase; 0 skips it.
    #[arg(long, default_value_t = 3_000)]
    idle: usize,
    /// Length of the line in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=125))]
    line_bytes: u8,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PressureArgs {
    #[command(flatten)]
    programs: ProgramArgs,
    /// Number of users.
    #[arg(long, default_value_t = 200)]
    people: usize,
    /// Mean pause of a user between an answer and the next message, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    think_ms: u64,
    /// Duration of each phase, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Phases of each kind: quiet, attack on other services of this machine, attack on the users' services.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Connections per second of the flood.
    #[arg(long, default_value_t = 2_000)]
    flood: u32,
    /// Niceness of the attackers' thread. At 0 users compete with it for processors, although real attackers bring their
    /// own.
    #[arg(long = "siege-nice", default_value_t = 19, value_parser = clap::value_parser!(u8).range(0..=19))]
    attack_nice: u8,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OverloadArgs {
    #[command(flatten)]
    programs: ProgramArgs,
    /// Concurrent calls to the model.
    #[arg(long, default_value_t = 20)]
    slots: usize,
    /// Length of the queue.
    #[arg(long, default_value_t = 40)]
    queue: usize,
    /// Duration of an answer, in milliseconds.
    #[arg(long, default_value_t = 200)]
    answer_ms: u64,
    /// Offered load as a multiple of the capacity.
    #[arg(long, default_value_t = 10.0)]
    factor: f64,
    /// Number of users.
    #[arg(long, default_value_t = 300)]
    people: usize,
    /// Duration of the overload, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HelpArgs {
    #[command(flatten)]
    programs: ProgramArgs,
    /// Users per entry point and condition; each sends one message in risk.
    #[arg(long, default_value_t = 200)]
    people: usize,
    /// Binary or name of the Redis server.
    #[arg(long, value_name = "BIN", default_value = "redis-server")]
    redis_server: PathBuf,
    /// Skip the conditions with PostgreSQL and Redis.
    #[arg(long)]
    no_postgres: bool,
}

impl HelpArgs {
    pub(crate) fn options(self) -> help::Options {
        let (binaries, disk) = self.programs.into_parts();
        help::Options {
            binaries,
            disk,
            people: self.people.max(1),
            redis_server: self.redis_server,
            postgres: !self.no_postgres,
        }
    }
}

impl OverloadArgs {
    pub(crate) fn options(self) -> overload::Options {
        let (binaries, disk) = self.programs.into_parts();
        overload::Options {
            binaries,
            disk,
            slots: self.slots.max(1),
            queue: self.queue,
            answer: Duration::from_millis(self.answer_ms.max(1)),
            factor: self.factor.max(0.1),
            people: self.people.max(1),
            time: Duration::from_secs(self.seconds.max(1)),
        }
    }
}

/// Binaries and folder of a run.
#[derive(Debug, clap::Args)]
struct ProgramArgs {
    /// Binary of the core [default: beside this one]
    #[arg(long)]
    core: Option<PathBuf>,
    /// Binary of the gateway [default: beside this one]
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Folder on the database's disk [default: the folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
}

impl ProgramArgs {
    fn into_parts(self) -> (Binaries, PathBuf) {
        let Self { core, gateway, disk } = self;
        (Binaries { core, gateway }, disk.unwrap_or_else(std::env::temp_dir))
    }
}

impl PressureArgs {
    pub(crate) fn options(self) -> pressure::Options {
        let (binaries, disk) = self.programs.into_parts();
        pressure::Options {
            binaries,
            disk,
            people: self.people,
            think: Duration::from_millis(self.think_ms),
            phase: Duration::from_secs(self.seconds.max(1)),
            pause: Duration::from_secs(2),
            rounds: self.rounds.max(1),
            flood_per_second: self.flood,
            attack_nice: self.attack_nice,
            seed: self.seed,
        }
    }
}

impl ChatArgs {
    pub(crate) fn options(self) -> chat::Options {
        chat::Options {
            target: self.users.target,
            face: self.users.face,
            people: self.users.people,
            messages: self.messages,
            text: self.text,
            rate: self.rate.filter(|rate| 0.0 < *rate),
            think: Duration::from_millis(self.think_ms),
            timeout: Duration::from_secs(self.timeout_seconds),
            limit: Duration::from_secs(self.seconds),
            disk: self.disk,
            watched: self.users.watched,
        }
    }
}

impl IdleArgs {
    pub(crate) fn options(self) -> idle::Options {
        let UserArgs { target, face, people, watched } = self.users;
        idle::Options { target, face, people, settle: Duration::from_millis(self.settle_ms), watched }
    }
}

impl BridgeArgs {
    pub(crate) fn options(self) -> Result<bridge::Options, LoadError> {
        Ok(bridge::Options {
            loadgen: std::env::current_exe()?,
            gateway: self.gateway,
            haproxy: (!self.no_haproxy).then_some(self.haproxy),
            rounds: self.rounds.max(1),
            phase: Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(2)),
            connections: self.connections.max(1),
            idle: self.idle,
            settle: Duration::from_secs(1),
            line_bytes: self.line_bytes.into(),
        })
    }
}

fn face(name: &str) -> Result<Face, String> {
    Face::from_name(name.as_bytes()).ok_or_else(|| "frames or plain".to_owned())
}
