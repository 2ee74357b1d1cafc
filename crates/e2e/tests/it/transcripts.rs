//! Every transcript of `proto-line/transcripts`, in process, over TCP and through the gateway.

use testkit::clock::FrozenClock;
use testkit::transcript::{self, Transport};

use crate::in_process_stack::InProcessStack;

/// Lower bound: a moved folder must fail the run, not pass without transcripts.
const MIN_TRANSCRIPTS: usize = 70;

fn replay_all(transport: Transport) {
    let transcripts = transcript::load_all(&transcript::folder()).unwrap();
    assert!(MIN_TRANSCRIPTS <= transcripts.len(), "found only {} transcripts", transcripts.len());
    let mut failures = Vec::new();
    for transcript in transcripts.iter().filter(|transcript| transcript.runs_over(transport)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let played = runtime.block_on(async {
            let _frozen = FrozenClock::freeze();
            let mut whole = InProcessStack::start(transcript, transport).await;
            transcript::run(transcript, &mut whole).await
        });
        failures.extend(played.err().map(|failure| failure.to_string()));
    }
    assert!(failures.is_empty(), "{} failed over {}:\n{}", failures.len(), transport.name(), failures.join("\n"));
}

#[test]
fn in_process() {
    replay_all(Transport::Process);
}

#[test]
fn over_tcp() {
    replay_all(Transport::Tcp);
}

#[test]
fn through_the_gateway() {
    replay_all(Transport::Gateway);
}
