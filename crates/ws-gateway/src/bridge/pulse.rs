//! The clock of a connection: pings, missing pongs and writes that get nowhere.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long a silent client is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two pings.
    pub ping: Duration,
    /// For a pong after a ping, and for the client to take what is written to it.
    pub pong: Duration,
}

/// What the clock asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Send a ping.
    Ping,
    /// Nothing came since the last ping.
    Silent,
    /// The client has not taken what was written to it.
    Stalled,
}

/// What is known of the client when the clock is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signs {
    /// Something waits to be written to the client.
    pub(crate) writing: bool,
    /// The client is being read. While it is not, its pong cannot be heard.
    pub(crate) listening: bool,
}

/// One timer for every deadline of a connection.
#[derive(Debug)]
pub(crate) struct Pulse<'a> {
    sleep: Pin<&'a mut Sleep>,
    patience: Patience,
    /// When to send the next ping, or to look for the pong of the last.
    tick_at: Instant,
    awaits_pong: bool,
    heard: bool,
    /// When a write that waits has waited too long.
    stalled_at: Option<Instant>,
}

impl<'a> Pulse<'a> {
    pub(crate) fn new(sleep: Pin<&'a mut Sleep>, patience: Patience) -> Self {
        let tick_at = Instant::now() + patience.ping;
        let mut pulse = Self { sleep, patience, tick_at, awaits_pong: false, heard: false, stalled_at: None };
        pulse.sleep.as_mut().reset(tick_at);
        pulse
    }

    /// Something came from the client.
    pub(crate) fn hear(&mut self) {
        self.heard = true;
    }

    /// What is due. Pending until something is; to be asked after every change of `signs`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, signs: Signs) -> Poll<Beat> {
        self.note_writing(signs.writing);
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if self.stalled_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Beat::Stalled);
            }
            let beat = if self.tick_at <= now { self.tick(now, signs) } else { None };
            let next = self.stalled_at.map_or(self.tick_at, |at| at.min(self.tick_at));
            self.sleep.as_mut().reset(next);
            if let Some(beat) = beat {
                return Poll::Ready(beat);
            }
        }
    }

    fn note_writing(&mut self, writing: bool) {
        if !writing {
            self.stalled_at = None;
        } else if self.stalled_at.is_none() {
            let at = Instant::now() + self.patience.pong;
            self.stalled_at = Some(at);
            if at < self.sleep.deadline() {
                self.sleep.as_mut().reset(at);
            }
        }
    }

    fn tick(&mut self, now: Instant, signs: Signs) -> Option<Beat> {
        if !self.awaits_pong {
            self.tick_at = now + self.patience.pong;
            (self.awaits_pong, self.heard) = (true, false);
            // A ping behind bytes that wait would not be answered sooner than they are taken.
            return (!signs.writing).then_some(Beat::Ping);
        }
        if !self.heard && signs.listening {
            return Some(Beat::Silent);
        }
        if self.heard {
            self.awaits_pong = false;
            self.tick_at = now + self.patience.ping.saturating_sub(self.patience.pong);
        } else {
            self.tick_at = now + self.patience.pong;
        }
        None
    }
}
