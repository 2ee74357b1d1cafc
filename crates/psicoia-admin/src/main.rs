//! An operator's view of a running installation: `top` shows figures, `doctor` checks from outside.

mod args;
mod doctor;
mod endpoint;
mod http;
mod scrape;
mod top;

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use serde::Serialize;

use args::{Args, Command};

/// Exit code of a command line that cannot be read (`sysexits.h`); `doctor` uses 1 and 2 for its findings.
const USAGE: u8 = 64;
/// Exit code of a command that could not do its work.
const FAILED: u8 = 2;

#[expect(clippy::print_stderr, reason = "a command-line program says why it failed")]
fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing can be reported about a terminal that is gone.
            let _ = error.print();
            let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if is_asked_for { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    run(args).unwrap_or_else(|error| {
        eprintln!("psicoia-admin: {error}");
        ExitCode::from(FAILED)
    })
}

/// Failure of a command as a whole; that of a service is a finding.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

fn run(args: Args) -> Result<ExitCode, AdminError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match args.command {
        Command::Doctor(doctor) => {
            let report = runtime.block_on(doctor::examine(&doctor))?;
            print(&report, doctor.json)?;
            Ok(report.exit_code())
        }
        Command::Top(top) if top.once => {
            let overview = runtime.block_on(top::once(&top))?;
            print(&overview, top.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Top(top) => top::watch(&runtime, &top).map(|()| ExitCode::SUCCESS),
    }
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn print(report: &(impl Display + Serialize), json: bool) -> Result<(), AdminError> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
