//! Model stand-in as a program, for demonstrations and load tests.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use testkit::llm::{Answer, Fallback, LlmStandin, Options};

/// Answers OpenAI-style streamed chat completions from a script.
///
/// Prints the address to configure as its first line.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Answers to give first, one JSON value a line: an array of pieces or an object.
    #[arg(long)]
    script: Option<PathBuf>,
    /// After the script: number of pieces in every answer.
    #[arg(long, default_value_t = 8, conflicts_with = "echo")]
    chunks: usize,
    /// After the script: echo the last user message.
    #[arg(long)]
    echo: bool,
    /// Milliseconds to the first piece.
    #[arg(long, default_value_t = 0)]
    first_ms: u64,
    /// Milliseconds between groups of pieces.
    #[arg(long, default_value_t = 0)]
    gap_ms: u64,
    /// Pieces in a group.
    #[arg(long, default_value_t = 1)]
    burst: usize,
}

/// Failure of the stand-in.
#[derive(Debug, thiserror::Error)]
enum StandinError {
    #[error("cannot read the script")]
    Script(#[source] io::Error),
    #[error("line {line} of the script: {source}")]
    Answer { line: usize, source: serde_json::Error },
    #[error("cannot run: {0}")]
    Io(#[from] io::Error),
}

#[expect(clippy::print_stderr, reason = "a command-line program says why it failed")]
fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llm-standin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), StandinError> {
    let script = read_script(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options(args), script))
}

#[expect(clippy::print_stdout, reason = "the address is this program's output")]
async fn serve(options: Options, script: Vec<Answer>) -> Result<(), StandinError> {
    let standin = LlmStandin::start(options).await?;
    for answer in script {
        standin.push(answer);
    }
    println!("{}", standin.url());
    tokio::signal::ctrl_c().await?;
    standin.stop().await;
    Ok(())
}

fn options(args: &Args) -> Options {
    let fallback = if args.echo {
        Fallback::Echo
    } else {
        let answer = Answer::chunks(args.chunks).paced(args.first_ms, args.gap_ms);
        Fallback::Answer(Answer { burst: args.burst, ..answer })
    };
    // The calls of a separate process cannot be queried.
    Options { listen: SocketAddr::new(args.listen, args.port), fallback, keep: 0 }
}

fn read_script(args: &Args) -> Result<Vec<Answer>, StandinError> {
    let Some(path) = &args.script else { return Ok(Vec::new()) };
    let text = fs::read_to_string(path).map_err(StandinError::Script)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let answers = lines.map(|(index, line)| {
        serde_json::from_str(line).map_err(|source| StandinError::Answer { line: index + 1, source })
    });
    answers.collect()
}
