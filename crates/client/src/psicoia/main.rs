//! PsicoIA in a terminal: `psicoia --help` says what there is.

mod cli;
mod commands;
mod exit;
mod input;
mod piped;
mod printable;
mod screen;
mod session_file;
mod talk;
mod words;
mod wrap;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use client::{Client, Closed};

use cli::{Args, Setup};
use exit::Exit;

fn main() -> ExitCode {
    let setup = Setup::new(Args::parse());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(Exit::Other(error.to_string()).report(setup.words())),
    };
    let done = runtime.block_on(run(&setup));
    // A thread may wait for the keyboard for ever: nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(done.err().map_or(0, |exit| exit.report(setup.words())))
}

async fn run(setup: &Setup) -> Result<(), Exit> {
    let mut client = connect(setup).await?;
    setup.remember(&client)?;
    if setup.is_talk() {
        talk::run(&mut client, setup).await?;
    } else {
        piped::run(&mut client, setup).await?;
    }
    tokio::select! {
        () = client.leave() => {}
        // The person does not want to wait for the good-bye either.
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}

async fn connect(setup: &Setup) -> Result<Client, Exit> {
    if setup.is_talk() {
        // An empty line is where the greeting will be if it takes a while.
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{}", setup.words().connecting);
    }
    setup.builder()?.connect().await.map_err(|error| Exit::Closed(error.closed))
}

/// Whether a person sits at both ends.
fn at_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// How a conversation that is over ends the program.
fn over(reason: Closed) -> Result<(), Exit> {
    match reason {
        Closed::Bye | Closed::Erased | Closed::Ended => Ok(()),
        reason => Err(Exit::Closed(reason)),
    }
}
