//! Others who talk as fast as they are answered.

use std::thread;
use std::time::Duration;

use protocol::Face;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::chat;
use crate::error::LoadError;
use crate::town::Town;

/// How many they are.
const PEOPLE: usize = 100;
const TEXT: &str = "hola, hoy fue un día largo";
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// People on a thread of their own, so that those who are measured do not wait for them. They stop when this is dropped.
#[derive(Debug)]
pub(super) struct Crowd {
    _stop: DropGuard,
}

impl Crowd {
    /// Sends them to the gateway.
    pub(super) fn start(town: &Town) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = chat::Options {
            via: town.via_gateway(),
            face: Face::Frames,
            people: PEOPLE,
            messages: usize::MAX,
            text: TEXT.to_owned(),
            rate: None,
            think: Duration::ZERO,
            timeout: FOR_EVER,
            limit: FOR_EVER,
            observed: Vec::new(),
            disk: None,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let talk = move || {
            // What becomes of them is not counted; that they talk shows at the model.
            runtime.block_on(async { drop(stopped.run_until_cancelled(chat::run(&options)).await) });
        };
        thread::Builder::new().name("crowd".to_owned()).spawn(talk)?;
        Ok(Self { _stop: stop.drop_guard() })
    }
}
