//! Every transcript of `proto-line/transcripts` on every transport, as a test of its own: `transcripts::tcp::029-framed-ping`.
//!
//! Each starts its own servers in this process, under a paused clock.

use std::error::Error;
use std::process::ExitCode;

use e2e::in_process_stack::InProcessStack;
use libtest_mimic::{Arguments, Failed, Trial};
use testkit::clock::FrozenClock;
use testkit::transcript::{self, Transcript, Transport};
use tokio::runtime;

/// Lower bound: a moved folder must fail the run, not pass without transcripts.
const MIN_TRANSCRIPTS: usize = 70;

#[expect(clippy::print_stderr, reason = "no test has begun that could fail")]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("transcripts: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns a trial for each transcript and each transport on which it runs.
fn trials() -> Result<Vec<Trial>, Box<dyn Error>> {
    let transcripts = transcript::load_all(&transcript::folder())?;
    if transcripts.len() < MIN_TRANSCRIPTS {
        return Err(format!("found only {} transcripts", transcripts.len()).into());
    }
    let on_each = |transcript: Transcript| {
        let transports = Transport::ALL.into_iter().filter(|transport| transcript.runs_over(*transport));
        transports.map(|transport| trial(transcript.clone(), transport)).collect::<Vec<_>>()
    };
    Ok(transcripts.into_iter().flat_map(on_each).collect())
}

fn trial(transcript: Transcript, transport: Transport) -> Trial {
    let name = transcript.file.strip_suffix(".txt").unwrap_or(&transcript.file);
    Trial::test(format!("transcripts::{}::{name}", transport.name()), move || replay(&transcript, transport))
}

fn replay(transcript: &Transcript, transport: Transport) -> Result<(), Failed> {
    // The paused clock requires a runtime of one thread, and each transcript a clock of its own.
    let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(async {
        let _frozen = FrozenClock::freeze();
        let mut stack = InProcessStack::start(transcript, transport).await;
        Ok(transcript::run(transcript, &mut stack).await?)
    })
}
