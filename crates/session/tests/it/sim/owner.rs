//! The owner of a session on one core: passes inputs, starts effects in their order, and checks both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::server_frame::{Forgotten, Source};
use protocol::{CloseReason, MessageId, ServerFrame, UserLabel};
use session::{
    Completed, ConnectionId, Effect, Failure, Input, Opening, Recipients, Session, SessionEvent, Settings, Stored,
    StoredSession, Ticket,
};

use super::bus::Link;
use super::turn::ModelTurn;
use super::world::World;

const SETTINGS: Settings = Settings {
    per_user_max: 2,
    abandoned_after: Duration::from_secs(20),
    risk_window: Duration::from_secs(60),
    source: Source::Llm,
};

/// A core, with the one session that may be live on it.
pub(super) struct Core {
    number: usize,
    pub(super) is_up: bool,
    /// Distinguishes processes.
    pub(super) boot: u64,
    /// Distinguishes live sessions: results for an earlier one are dropped.
    pub(super) life: u64,
    pub(super) session: Option<Session>,
    pub(super) link: Link,
    /// Claims of the session's messages in flight here.
    pub(super) permits: Vec<(MessageId, u64)>,
    /// Messages that the person stopped, as this process remembers them.
    pub(super) stopped: BTreeSet<String>,
    pub(super) turn: Option<ModelTurn>,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) is_storing: bool,
    /// The session has ended.
    pub(super) is_over: bool,
    /// This session has sent help, or knows of help.
    pub(super) knows_help: bool,
    /// Its memory of risk is restored from the store.
    pub(super) is_restored: bool,
    next_timer: u64,
}

/// Call that awaits its completion.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// The next line of this connection waits for it.
    Line(usize),
    /// This connection is opened after it.
    Open(usize),
    Erase(usize),
    Rotate(usize),
    Forget(usize),
    /// A chosen language or country.
    Choice,
}

impl Core {
    pub(super) fn new(number: usize, cores: usize) -> Self {
        Self {
            number,
            is_up: true,
            boot: 0,
            life: 0,
            session: None,
            link: Link::new(cores),
            permits: Vec::new(),
            stopped: BTreeSet::new(),
            turn: None,
            calls: BTreeMap::new(),
            is_storing: false,
            is_over: false,
            knows_help: false,
            is_restored: false,
            next_timer: 0,
        }
    }

    /// Forgets the session, and everything that belongs to it.
    fn reset(&mut self) {
        self.life += 1;
        self.session = None;
        self.turn = None;
        self.permits.clear();
        self.calls.clear();
        self.link.is_subscribed = false;
        (self.is_storing, self.is_over) = (false, false);
        (self.knows_help, self.is_restored) = (false, false);
    }

    pub(super) fn has_permit(&self, id: &MessageId) -> bool {
        self.permits.iter().any(|(permit, _)| permit == id)
    }

    pub(super) fn take_permit(&mut self, id: &MessageId) -> Option<u64> {
        let at = self.permits.iter().position(|(permit, _)| permit == id)?;
        Some(self.permits.remove(at).1)
    }
}

impl World {
    // ---- life of a core -----------------------------------------------------------------------------

    pub(super) fn kill(&mut self, core: usize) {
        if !self.cores[core].is_up {
            return;
        }
        self.note(|| format!("core {core}: dies"));
        self.store.is_unsure = true;
        self.drop_link(core);
        self.cores[core].reset();
        self.cores[core].stopped.clear();
        self.cores[core].boot += 1;
        self.cores[core].is_up = false;
        self.lose_connections(core);
        let delay = self.rng.u64(10..=5_000);
        self.after(delay, move |world| world.boot(core));
    }

    pub(super) fn boot(&mut self, core: usize) {
        if !self.cores[core].is_up {
            self.note(|| format!("core {core}: starts"));
            self.cores[core].is_up = true;
            self.connect_link(core);
        }
    }

    /// The core goes away in order, but within a time limit.
    pub(super) fn drain(&mut self, core: usize) {
        self.note(|| format!("core {core}: drains"));
        self.feed(core, Input::Drain);
        let (delay, boot) = (self.rng.u64(0..=2_000), self.cores[core].boot);
        self.after(delay, move |world| {
            if world.cores[core].boot == boot {
                world.kill(core);
            }
        });
    }

    /// Creates the session if it is not live, from its record, which was read just now.
    pub(super) fn open_session(&mut self, core: usize, StoredSession { seq, rotations, .. }: StoredSession) {
        if self.cores[core].session.is_some() {
            return;
        }
        let messages = self.store.entries.iter().filter(|it| it.role == protocol::server_frame::Role::User).count();
        let opening = Opening {
            user: UserLabel(1),
            seq,
            messages: messages as u64,
            locale: self.store.locale,
            country: self.store.country,
            rotations,
            is_new: self.now_ms == 0,
            cluster: Some(self.cores[core].link.is_connected),
        };
        self.note(|| format!("core {core}: session live from {seq}"));
        let now = self.now();
        self.cores[core].session = Some(Session::new(SETTINGS, opening, now.instant));
        self.subscribe(core);
    }

    /// Evicts an idle session without connections, after a while.
    fn evict_if_idle(&mut self, core: usize) {
        if self.is_in_use(core) {
            return;
        }
        let delay = self.rng.u64(1..=300);
        self.for_session(core, delay, move |world| {
            if !world.is_in_use(core) {
                world.note(|| format!("core {core}: session evicted"));
                let claims = world.cores[core].permits.len();
                world.require(claims == 0, || format!("core {core}: idle session keeps {claims} claims"));
                world.cores[core].reset();
            }
        });
    }

    fn is_in_use(&self, core: usize) -> bool {
        let Core { session, calls, turn, is_storing, number, boot, .. } = &self.cores[core];
        let is_attached = |connection: &super::connection::Connection| {
            connection.core == *number && connection.boot == *boot && connection.is_open
        };
        let Some(session) = session else { return false };
        session.is_busy()
            || session.has_unsaved_help()
            || !calls.is_empty()
            || turn.is_some()
            || *is_storing
            || self.connections.iter().any(is_attached)
    }

    // ---- inputs ---------------------------------------------------------------------------------------

    pub(super) fn feed(&mut self, core: usize, input: Input) {
        let now = self.now();
        let mut out = Vec::new();
        if self.cores[core].session.is_none() {
            return;
        }
        self.note(|| format!("core {core} < {input:?}"));
        match &input {
            Input::Remote(_, SessionEvent::Frame(frame)) if is_help(frame) => self.cores[core].knows_help = true,
            Input::Stored(result) => {
                let is_help =
                    matches!(result, Ok(Stored::Entries(page)) if page.entries.iter().any(|it| it.help.is_some()));
                self.cores[core].knows_help |= is_help;
                self.cores[core].is_storing = false;
            }
            _ => {}
        }
        let Some(session) = &mut self.cores[core].session else {
            return;
        };
        session.on(now, input, &mut out);
        let deadline = session.deadline();
        let is_in_future = deadline.is_none_or(|at| now.instant < at);
        self.require(is_in_future, || format!("core {core}: spins, because its deadline has passed"));
        self.start(core, out);
    }

    /// Passes an input that completes call `call`.
    pub(super) fn feed_call(&mut self, core: usize, call: Call, input: impl FnOnce(Ticket) -> Input) {
        let ticket = self.number();
        self.cores[core].calls.insert(ticket, call);
        self.feed(core, input(Ticket(ticket)));
    }

    // ---- effects --------------------------------------------------------------------------------------

    /// Starts effects in their order. The core may die between any two.
    pub(super) fn start(&mut self, core: usize, effects: Vec<Effect>) {
        let life = self.cores[core].life;
        let was_over = self.cores[core].is_over;
        for effect in effects {
            if self.is_fault(self.profile.death_per_mille) {
                return self.kill(core);
            }
            self.note(|| format!("core {core} > {effect:?}"));
            let is_output = matches!(&effect, Effect::Send(..) | Effect::SendDelta(_) | Effect::Publish { .. });
            self.require(!(was_over && is_output), || format!("core {core}: {effect:?} after the end"));
            self.start_one(core, effect);
            if self.cores[core].life != life {
                return;
            }
        }
        self.arm(core);
        self.evict_if_idle(core);
    }

    fn start_one(&mut self, core: usize, effect: Effect) {
        match effect {
            Effect::Send(to, frame) => self.send(core, to, &frame),
            Effect::SendDelta(delta) => self.send(core, Recipients::All, &delta.into_frame()),
            Effect::Close(id, reason) => self.close(core, id, reason),
            Effect::Wake | Effect::Count(_) => {}
            Effect::Store(request) => {
                let was_storing = std::mem::replace(&mut self.cores[core].is_storing, true);
                self.require(!was_storing, || format!("core {core}: two operations on the store at once"));
                self.execute(core, request);
            }
            Effect::StartTurn(turn) => self.start_turn(core, &turn),
            Effect::CancelTurn(id) => self.cancel_turn(core, &id),
            Effect::RecordTurn { id, after } => self.record_turn(core, &id, after),
            Effect::Release { id, is_stopped } => match self.cores[core].take_permit(&id) {
                Some(number) => self.release_claim(core, id, number, is_stopped),
                None => self.fail(|| format!("core {core}: releases {id} without a claim")),
            },
            Effect::ReadClaims(query) => self.read_claims(core, query),
            Effect::ReadAnswer(query) => self.read_answer(core, query),
            Effect::Publish { event, revision } => {
                if event == SessionEvent::Erased {
                    self.cores[core].is_over = true;
                }
                self.check_published(core, &event);
                self.publish(core, event, revision);
            }
            Effect::Complete(ticket, result) => self.complete(core, ticket, result),
        }
    }

    /// Sends a frame to connections, and checks that it agrees with the store.
    fn send(&mut self, core: usize, to: Recipients, frame: &ServerFrame) {
        self.check_frame(core, frame);
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            let Some(id) = connection.id.filter(|_| connection.is_of(core, self.cores[core].boot)) else {
                continue;
            };
            let is_recipient = match to {
                Recipients::All => true,
                Recipients::AllExcept(other) => other != id,
                Recipients::Only(only) => only == id,
            };
            if is_recipient {
                self.push(number, frame.clone());
            }
        }
    }

    fn close(&mut self, core: usize, id: ConnectionId, reason: CloseReason) {
        if reason == CloseReason::Erased {
            self.cores[core].is_over = true;
        }
        let boot = self.cores[core].boot;
        let number = self.connections.iter().position(|it| it.id == Some(id) && it.is_of(core, boot));
        match number {
            Some(number) => self.close_connection(number, reason),
            None => self.fail(|| format!("core {core}: closes an unknown connection")),
        }
    }

    fn complete(&mut self, core: usize, ticket: Ticket, result: Result<Completed, Failure>) {
        match self.cores[core].calls.remove(&ticket.0) {
            Some(Call::Line(connection)) => self.line_done(connection),
            Some(Call::Open(connection)) => {
                self.for_session(core, 0, move |world| world.opened(connection, result.is_ok()));
            }
            Some(Call::Erase(connection)) => {
                self.for_session(core, 0, move |world| world.erasure_done(connection, result));
            }
            Some(Call::Rotate(connection)) => {
                self.store.completed_rotations += u64::from(result.is_ok());
                if result.is_ok() && self.connections[connection].id.is_some() {
                    self.connections[connection].rotations = self.store.rotations;
                }
            }
            Some(Call::Forget(connection)) => {
                if let Ok(Completed::Forgotten { id: Some(id), seq, .. }) = result {
                    self.push_response(connection, Forgotten { seq, id, from_seq: 0 });
                }
            }
            Some(Call::Choice) => {}
            None => self.fail(|| format!("core {core}: completes {ticket:?} twice")),
        }
    }

    /// Arms the timer for the session's deadline.
    fn arm(&mut self, core: usize) {
        self.cores[core].next_timer += 1;
        let timer = self.cores[core].next_timer;
        let Some(at) = self.cores[core].session.as_ref().and_then(Session::deadline) else {
            return;
        };
        let delay = self.ms_until(at);
        self.for_session(core, delay, move |world| {
            if world.cores[core].next_timer == timer {
                world.feed(core, Input::Timeout);
            }
        });
    }
}

pub(super) fn is_help(frame: &ServerFrame) -> bool {
    match frame {
        ServerFrame::Support(_) => true,
        ServerFrame::Turn(entry) => entry.help.is_some(),
        _ => false,
    }
}
