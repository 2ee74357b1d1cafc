//! Terminal program of PsicoIA; see `psicoia --help`.

mod cli;
mod commands;
mod exit;
mod help;
mod input;
mod interactive;
mod piped;
mod sanitize;
mod screen;
mod session_file;
mod strings;
mod type_ahead;
mod wrap;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use client::{Client, Closed};

use cli::{Args, Setup};
use exit::Exit;
use help::Location;

fn main() -> ExitCode {
    let setup = Setup::new(Args::parse());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(Exit::Other(error.to_string()).report(setup.strings())),
    };
    let done = runtime.block_on(run(&setup));
    // The editor's thread may block on the keyboard: shutdown must not join it.
    runtime.shutdown_background();
    ExitCode::from(done.err().map_or(0, |exit| exit.report(setup.strings())))
}

async fn run(setup: &Setup) -> Result<(), Exit> {
    let client = if setup.is_interactive() { run_interactive(setup).await? } else { piped::run(setup).await? };
    tokio::select! {
        () = client.leave() => {}
        // Ctrl-C skips the closing handshake.
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}

async fn run_interactive(setup: &Setup) -> Result<Client, Exit> {
    // Printed first, so that a slow connect does not look like a hang.
    let _ = writeln!(io::stderr().lock(), "{}", setup.strings().connecting);
    let connected = connect(setup).await;
    if let Err(Exit::Closed(Closed::Unreachable { .. })) = &connected {
        // Without a prompt `/crisis` cannot be typed, so the help lines are printed now.
        writeln!(io::stdout().lock(), "{}", Location::new(setup.country).lines(setup.language()))?;
    }
    let mut client = connected?;
    interactive::run(&mut client, setup).await?;
    Ok(client)
}

async fn connect(setup: &Setup) -> Result<Client, Exit> {
    let client = setup.builder()?.connect().await.map_err(|error| Exit::Closed(error.closed))?;
    setup.remember(&client)?;
    Ok(client)
}

/// True if input and output are terminals.
fn at_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Maps the final condition to the program's result.
fn exit_result(reason: Closed) -> Result<(), Exit> {
    match reason {
        Closed::Bye | Closed::Erased | Closed::Ended => Ok(()),
        reason => Err(Exit::Closed(reason)),
    }
}
