//! Background load: other users in a closed loop.

use std::thread;
use std::time::Duration;

use protocol::Face;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::chat;
use crate::error::LoadError;
use crate::service_stack::ServiceStack;

const PEOPLE: usize = 100;
const TEXT: &str = "hola, hoy fue un día largo";
/// Longer than any run.
const LONGER_THAN_RUN: Duration = Duration::from_secs(3_600);

/// Users on a thread of their own, so that they do not delay the measured ones. Stopped on drop.
#[derive(Debug)]
pub(super) struct BackgroundLoad {
    _stop: DropGuard,
}

impl BackgroundLoad {
    /// Starts users at the gateway.
    pub(super) fn start(stack: &ServiceStack) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = chat::Options {
            target: stack.gateway_target(),
            face: Face::Frames,
            people: PEOPLE,
            messages: usize::MAX,
            text: TEXT.to_owned(),
            rate: None,
            think: Duration::ZERO,
            timeout: LONGER_THAN_RUN,
            limit: LONGER_THAN_RUN,
            watched: Vec::new(),
            disk: None,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let talk = move || {
            // Their outcomes are not counted; the model's call count proves the load.
            runtime.block_on(async { drop(stopped.run_until_cancelled(chat::run(&options)).await) });
        };
        thread::Builder::new().name("background-load".to_owned()).spawn(talk)?;
        Ok(Self { _stop: stop.drop_guard() })
    }
}
