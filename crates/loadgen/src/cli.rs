//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use loadgen::{Binaries, LoadError, Observed, Via, bridge, chat, help, idle, overload, pressure};
use protocol::Face;

/// Makes load for PsicoIA and measures what it costs.
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
    /// People who write and wait for answers: throughput and latency.
    Chat(ChatArgs),
    /// People who are connected and say nothing: memory.
    Idle(IdleArgs),
    /// One line through the gateway, through HAProxy and through nothing.
    Bridge(BridgeArgs),
    /// People who talk while others flood, crawl and hoard: what that costs the people.
    Pressure(PressureArgs),
    /// More messages than the model can answer: what is served, refused, and when it is over.
    Overload(OverloadArgs),
    /// People in risk while one thing after another is wrong: how soon each gets help. Fails if somebody gets none.
    Help(HelpArgs),
    /// The far end of `bridge`: sends every line back.
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
    crowd: Crowd,
    /// Messages of each person.
    #[arg(long, default_value_t = 10)]
    messages: usize,
    /// Turns per second of all people together, whatever the answers take. Without it each
    /// writes when the last answer is there.
    #[arg(long)]
    rate: Option<f64>,
    /// How long each person waits between an answer and the next message.
    #[arg(long, default_value_t = 0)]
    think_ms: u64,
    /// What people write.
    #[arg(long, default_value = "hola, hoy fue un día largo")]
    text: String,
    /// How long an answer may take.
    #[arg(long, default_value_t = 60)]
    timeout_seconds: u64,
    /// No message is sent after this long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// A folder beside the database: what its disk takes to keep a block is told with `accepted`.
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    crowd: Crowd,
    /// How long after the last greeting the memory is read.
    #[arg(long, default_value_t = 3_000)]
    settle_ms: u64,
}

/// Who connects where.
#[derive(Debug, clap::Args)]
struct Crowd {
    /// Where to connect: ws://host:port/ws or tcp://host:port.
    #[arg(long)]
    via: Via,
    /// What to speak: frames or plain.
    #[arg(long, default_value = "frames", value_parser = face)]
    face: Face,
    /// How many people.
    #[arg(long, default_value_t = 100)]
    people: usize,
    /// A process to watch, as name=PID; may be repeated.
    #[arg(long = "pid", value_name = "NAME=PID")]
    observed: Vec<Observed>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BridgeArgs {
    /// The gateway's binary; without it only the others are measured.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// HAProxy's binary or name.
    #[arg(long, default_value = "haproxy")]
    haproxy: PathBuf,
    /// Leave HAProxy out, and with it the ratios.
    #[arg(long)]
    no_haproxy: bool,
    /// How often each is measured, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Time of each phase of a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections in the throughput phase.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Idle connections in the memory phase; 0 leaves it out.
    #[arg(long, default_value_t = 3_000)]
    idle: usize,
    /// Length of the line.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=125))]
    line_bytes: u8,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PressureArgs {
    #[command(flatten)]
    programs: Programs,
    /// People who talk.
    #[arg(long, default_value_t = 200)]
    people: usize,
    /// How long each waits between an answer and the next message, on average.
    #[arg(long, default_value_t = 2_000)]
    think_ms: u64,
    /// Time of each phase.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Phases of each kind: quiet, pressure on others' services on this machine, pressure on those that people use.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Connections a second that the flood makes.
    #[arg(long, default_value_t = 2_000)]
    flood: u32,
    /// How far those in the way come behind others for a processor; at 0 people wait for what in life would be somebody
    /// else's.
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(0..=19))]
    siege_nice: u8,
    /// Where randomness begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OverloadArgs {
    #[command(flatten)]
    programs: Programs,
    /// Calls to the model at once.
    #[arg(long, default_value_t = 20)]
    slots: usize,
    /// Messages that may wait for one.
    #[arg(long, default_value_t = 40)]
    queue: usize,
    /// How long the model takes for an answer.
    #[arg(long, default_value_t = 200)]
    answer_ms: u64,
    /// How many times the capacity is offered.
    #[arg(long, default_value_t = 10.0)]
    factor: f64,
    /// People who offer it.
    #[arg(long, default_value_t = 300)]
    people: usize,
    /// For how long.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HelpArgs {
    #[command(flatten)]
    programs: Programs,
    /// People at each door, in each condition; each sends one message in risk.
    #[arg(long, default_value_t = 200)]
    people: usize,
    /// Redis's binary or name.
    #[arg(long, value_name = "BIN", default_value = "redis-server")]
    redis_server: PathBuf,
    /// Leave PostgreSQL out, and with it Redis.
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

/// What is started for a run, and where.
#[derive(Debug, clap::Args)]
struct Programs {
    /// The core's binary [default: the one beside this one]
    #[arg(long)]
    core: Option<PathBuf>,
    /// The gateway's binary [default: the one beside this one]
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// A folder on the disk that the database is to be on [default: the one for temporary files]
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
}

impl Programs {
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
            siege_nice: self.siege_nice,
            seed: self.seed,
        }
    }
}

impl ChatArgs {
    pub(crate) fn options(self) -> chat::Options {
        chat::Options {
            via: self.crowd.via,
            face: self.crowd.face,
            people: self.crowd.people,
            messages: self.messages,
            text: self.text,
            rate: self.rate.filter(|rate| 0.0 < *rate),
            think: Duration::from_millis(self.think_ms),
            timeout: Duration::from_secs(self.timeout_seconds),
            limit: Duration::from_secs(self.seconds),
            disk: self.disk,
            observed: self.crowd.observed,
        }
    }
}

impl IdleArgs {
    pub(crate) fn options(self) -> idle::Options {
        let Crowd { via, face, people, observed } = self.crowd;
        idle::Options { via, face, people, settle: Duration::from_millis(self.settle_ms), observed }
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
