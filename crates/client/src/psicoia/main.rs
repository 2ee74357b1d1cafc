//! PsicoIA in a terminal: `psicoia --help` says what there is.

mod cli;
mod commands;
mod exit;
mod help;
mod input;
mod piped;
mod printable;
mod screen;
mod session_file;
mod talk;
mod typed;
mod words;
mod wrap;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use client::{Client, Closed};

use cli::{Args, Setup};
use exit::Exit;
use help::Place;

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
    let client = if setup.is_talk() { at_keyboard(setup).await? } else { piped::run(setup).await? };
    tokio::select! {
        () = client.leave() => {}
        // The person does not want to wait for the good-bye either.
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}

async fn at_keyboard(setup: &Setup) -> Result<Client, Exit> {
    // An empty line is where the greeting will be if it takes a while.
    let _ = writeln!(io::stderr().lock(), "{}", setup.words().connecting);
    let connected = connect(setup).await;
    if let Err(Exit::Closed(Closed::GaveUp { .. })) = &connected {
        // There will be no prompt to ask for them.
        writeln!(io::stdout().lock(), "{}", Place::new(setup.country).lines(setup.language()))?;
    }
    let mut client = connected?;
    talk::run(&mut client, setup).await?;
    Ok(client)
}

async fn connect(setup: &Setup) -> Result<Client, Exit> {
    let client = setup.builder()?.connect().await.map_err(|error| Exit::Closed(error.closed))?;
    setup.remember(&client)?;
    Ok(client)
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
