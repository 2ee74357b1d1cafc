//! Command line of the load generator; see `loadgen --help`.

mod cli;

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Parser as _;
use loadgen::{LoadError, bridge, chat, echo, help, idle, overload, pressure};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use cli::{Args, Command};

#[expect(clippy::print_stderr, reason = "a command-line program says why it failed")]
fn main() -> ExitCode {
    let args = Args::parse();
    raise_fd_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(LoadError::Io).and_then(|runtime| runtime.block_on(run_until_signal(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command until it is done or a signal arrives; drop guards end all started processes in both cases.
async fn run_until_signal(args: Args) -> Result<(), LoadError> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = Box::pin(run(args)) => done,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

async fn run(args: Args) -> Result<(), LoadError> {
    match args.command {
        Command::Chat(chat) => print(&chat::run(&chat.options()).await?, args.json),
        Command::Idle(idle) => print(&idle::run(&idle.options()).await?, args.json),
        Command::Bridge(bridge) => print(&bridge::run(&bridge.options()?).await?, args.json),
        Command::Pressure(pressure) => print(&pressure::run(&pressure.options()).await?, args.json),
        Command::Overload(overload) => print(&overload::run(&overload.options()).await?, args.json),
        Command::Help(help) => {
            let report = help::run(&help.options()).await?;
            print(&report, args.json);
            return match report.not_helped() {
                0 => Ok(()),
                people => Err(LoadError::NotHelped(people)),
            };
        }
        Command::Echo { port } => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            print_ready(&listener)?;
            echo::serve(listener).await;
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is the output")]
fn print<R: Display + Serialize>(report: &R, json: bool) {
    if json {
        let json = serde_json::to_string(report).expect("reports have string keys and no other fallible parts");
        println!("{json}");
    } else {
        print!("{report}");
    }
}

#[expect(clippy::print_stdout, reason = "the line by which a starter knows that the echo is there")]
fn print_ready(listener: &TcpListener) -> Result<(), LoadError> {
    println!(r#"{{"message":"ready","listen":"{}"}}"#, listener.local_addr()?);
    Ok(())
}

/// Raises the limit of file descriptors to its maximum; child processes inherit it.
fn raise_fd_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // On failure, connecting reports the shortage.
    let _ = setrlimit(Resource::Nofile, limit);
}
