//! Connections of the simulation: lines up, frames down, cuts, and the replay before live frames.

use std::collections::VecDeque;

use protocol::server_frame::{Forgotten, Role};
use protocol::trace::Traceparent;
use protocol::{CloseReason, Country, Locale, MessageId, ResumeToken, ServerFrame, UserText};
use session::{Completed, ConnectionId, Effect, Failure, Input, Message, Recipients, StoredSession, Watch};

use super::owner::Call;
use super::world::World;

/// A message that calls for help.
pub(super) const WISH: &str = "quiero morirme";

/// Connection of a client to a core.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: usize,
    pub(super) core: usize,
    pub(super) boot: u64,
    /// Identifier in the session, once it is attached.
    pub(super) id: Option<ConnectionId>,
    /// The core holds it.
    pub(super) is_open: bool,
    /// Number of resume tokens before the one that has opened it.
    pub(super) rotations: u64,
    /// Highest `seq` of the client at its `hello`.
    since: u64,
    /// Live frames that wait for the replay.
    held: Option<Vec<ServerFrame>>,
    lines: VecDeque<(MessageId, UserText)>,
    /// The next line waits for a call.
    is_waiting: bool,
    up_at: u64,
    down_at: u64,
    /// Time after which everything on its way is lost.
    lost_after: u64,
}

/// Line of a client.
#[derive(Debug, Clone)]
pub(super) enum Line {
    Message(MessageId, UserText),
    Stop(MessageId),
    Locale(Locale),
    Country(Country),
    HalfClose,
    Erase,
    Rotate,
    ForgetLast,
    Bye,
}

/// Frame or close that a client receives.
#[derive(Debug)]
pub(super) enum Received {
    Welcome,
    Frame(ServerFrame),
    Closed(CloseReason),
}

impl Connection {
    pub(super) fn is_of(&self, core: usize, boot: u64) -> bool {
        (self.core, self.boot) == (core, boot)
    }
}

impl World {
    // ---- opening --------------------------------------------------------------------------------------

    /// Connects a client to a core that is up.
    pub(super) fn connect(&mut self, client: usize, core: usize, since: u64) -> usize {
        let number = self.connections.len();
        self.note(|| format!("client {client}: connects to core {core} as {number}, since {since}"));
        let boot = self.cores[core].boot;
        self.connections.push(Connection {
            client,
            core,
            boot,
            id: None,
            is_open: true,
            rotations: 0,
            since,
            held: None,
            lines: VecDeque::new(),
            is_waiting: false,
            up_at: 0,
            down_at: 0,
            lost_after: u64::MAX,
        });
        let delay = self.latency();
        self.after(delay, move |world| world.read_record(number));
        number
    }

    /// Schedules `event` for a connection, as long as its core holds it.
    fn for_connection(&mut self, number: usize, delay: u64, event: impl FnOnce(&mut World) + 'static) {
        self.after(delay, move |world| {
            let Connection { core, boot, is_open, .. } = world.connections[number];
            if is_open && world.cores[core].is_up && world.cores[core].boot == boot {
                event(world);
            }
        });
    }

    fn read_record(&mut self, number: usize) {
        let (there, back) = (self.latency(), self.latency());
        self.for_connection(number, there, move |world| {
            let core = world.connections[number].core;
            let record = (!world.store.is_down).then(|| world.store.record());
            let life = world.cores[core].life;
            world.for_connection(number, back, move |world| match record {
                None => world.close_connection(number, CloseReason::Internal),
                Some(None) => world.close_connection(number, CloseReason::Erased),
                // The live session may have been evicted since: the record may lack its last entries.
                Some(_) if world.cores[core].session.is_none() && world.cores[core].life != life => {
                    world.read_record(number);
                }
                Some(Some(record)) => world.on_record(number, record),
            });
        });
    }

    fn on_record(&mut self, number: usize, record: StoredSession) {
        let core = self.connections[number].core;
        self.connections[number].rotations = record.rotations;
        self.open_session(core, record);
        if self.cores[core].session.as_ref().is_some_and(|session| session.is_outdated(record)) {
            self.feed_call(core, Call::Open(number), Input::CatchUp);
        } else {
            self.opened(number, true);
        }
    }

    /// Attaches the connection, and replays what the client lacks.
    pub(super) fn opened(&mut self, number: usize, is_caught_up: bool) {
        let Connection { core, is_open, rotations, .. } = self.connections[number];
        if !is_open {
            return;
        }
        if !is_caught_up || self.store.is_down {
            return self.close_connection(number, CloseReason::Internal);
        }
        let now = self.now();
        let is_restored = std::mem::replace(&mut self.cores[core].is_restored, true);
        let Some(session) = &mut self.cores[core].session else {
            return;
        };
        if !is_restored {
            let mut watch = Watch::of_new();
            // Answers change the meaning of a "yes" alone.
            let entries = self.store.entries.iter().filter(|entry| entry.role != Role::Assistant);
            entries.for_each(|entry| watch.learn(entry));
            session.restore_risk(watch);
            self.cores[core].knows_help |= self.store.entries.iter().any(|entry| entry.help.is_some());
        }
        let mut out = Vec::new();
        let attached = self.cores[core].session.as_mut().and_then(|session| session.attach(now, rotations, &mut out));
        let Some((id, seq)) = attached else {
            let is_replaced = rotations < self.store.rotations && !self.store.is_erased;
            self.start(core, out);
            return self.close_connection(number, if is_replaced { CloseReason::Revoked } else { CloseReason::Erased });
        };
        let connection = &mut self.connections[number];
        (connection.id, connection.held) = (Some(id), Some(Vec::new()));
        self.note(|| format!("core {core}: attaches connection {number} at {seq}"));
        self.check_attached(core, &out);
        self.start(core, out);
        let delay = self.latency();
        self.for_connection(number, delay, move |world| world.replay(number, seq));
    }

    fn replay(&mut self, number: usize, last: u64) {
        let Connection { core, id, since, .. } = self.connections[number];
        if self.store.is_down {
            let detached = id.map(Input::Detach);
            self.close_connection(number, CloseReason::Internal);
            return detached.into_iter().for_each(|input| self.feed(core, input));
        }
        let entries = self.store.after(since).map(|entry| (entry.seq, ServerFrame::Turn(entry.clone())));
        let forgotten = self.store.forgotten.iter().filter(|it| since < it.seq);
        let forgotten = forgotten.map(|it| (it.seq, ServerFrame::Forgotten(it.clone())));
        let mut replayed: Vec<_> = entries.chain(forgotten).filter(|(seq, _)| *seq <= last).collect();
        replayed.sort_by_key(|(seq, _)| *seq);
        let held = self.connections[number].held.take().unwrap_or_default();
        self.send_down(number, Received::Welcome);
        let replayed = replayed.into_iter().map(|(_, frame)| frame);
        replayed.chain(held).for_each(|frame| self.send_down(number, Received::Frame(frame)));
    }

    // ---- frames ---------------------------------------------------------------------------------------

    pub(super) fn push(&mut self, number: usize, frame: ServerFrame) {
        match &mut self.connections[number].held {
            Some(held) => held.push(frame),
            None => self.send_down(number, Received::Frame(frame)),
        }
    }

    /// Sends the response to a request, which stands for the frame that the others get.
    pub(super) fn push_response(&mut self, number: usize, forgotten: Forgotten) {
        if self.connections[number].id.is_some() {
            self.push(number, ServerFrame::Forgotten(forgotten));
        }
    }

    fn send_down(&mut self, number: usize, received: Received) {
        let latency = self.latency();
        let at = self.connections[number].down_at.max(self.now_ms + latency);
        self.connections[number].down_at = at;
        self.after(at - self.now_ms, move |world| {
            if world.now_ms <= world.connections[number].lost_after {
                world.receive(number, received);
            }
        });
    }

    /// Closes a connection behind its queued frames. The session has detached it.
    pub(super) fn close_connection(&mut self, number: usize, reason: CloseReason) {
        let connection = &mut self.connections[number];
        (connection.id, connection.is_open) = (None, false);
        if let Some(held) = connection.held.take() {
            // The replay is incomplete: nothing may follow the gap.
            drop(held);
        }
        self.send_down(number, Received::Closed(reason));
    }

    // ---- losses ---------------------------------------------------------------------------------------

    /// The core of these connections is dead: queued frames are lost from some point on.
    pub(super) fn lose_connections(&mut self, core: usize) {
        for number in 0..self.connections.len() {
            if self.connections[number].core == core && self.connections[number].is_open {
                let lost_after = self.now_ms + self.rng.u64(0..10);
                let connection = &mut self.connections[number];
                (connection.id, connection.is_open) = (None, false);
                // It may be cut already.
                connection.lost_after = connection.lost_after.min(lost_after);
                let delay = self.rng.u64(10..=1_000);
                self.after(delay, move |world| world.lost(number));
            }
        }
    }

    /// Cuts a connection. The client notices it soon, the core perhaps much later.
    pub(super) fn cut(&mut self, number: usize) {
        let Some(connection) = self.connections.get_mut(number).filter(|connection| connection.is_open) else {
            return;
        };
        connection.lost_after = connection.lost_after.min(self.now_ms);
        self.note(|| format!("connection {number}: cut"));
        let (soon, late) = (self.rng.u64(0..=500), self.rng.u64(0..=6_000));
        self.after(soon, move |world| world.lost(number));
        self.for_connection(number, late, move |world| world.detach(number));
    }

    fn detach(&mut self, number: usize) {
        let Connection { core, id, .. } = self.connections[number];
        let connection = &mut self.connections[number];
        (connection.id, connection.is_open, connection.held) = (None, false, None);
        id.into_iter().for_each(|id| self.feed(core, Input::Detach(id)));
    }

    // ---- lines ----------------------------------------------------------------------------------------

    pub(super) fn send_line(&mut self, number: usize, line: Line) {
        let latency = self.latency();
        let at = self.connections[number].up_at.max(self.now_ms + latency);
        self.connections[number].up_at = at;
        self.for_connection(number, at - self.now_ms, move |world| {
            if world.now_ms <= world.connections[number].lost_after {
                world.on_line(number, line);
            }
        });
    }

    fn on_line(&mut self, number: usize, line: Line) {
        let Connection { core, id: Some(connection), .. } = self.connections[number] else {
            return;
        };
        self.note(|| format!("core {core}: line {line:?} of connection {number}"));
        match line {
            Line::Message(id, text) => {
                self.assess(core, &id, &text);
                self.connections[number].lines.push_back((id, text));
                self.submit_next(number);
            }
            Line::Stop(id) => {
                let is_here = self.cores[core].session.as_ref().is_some_and(|session| session.is_in_flight(&id));
                let now_ms = self.now_ms;
                if is_here {
                    self.feed(core, Input::Stop(id));
                } else if self.cores[core].link.is_connected && self.cluster.is_claimed(&id, now_ms) {
                    self.feed(core, Input::StopRemotely(id));
                }
            }
            Line::Locale(locale) => self.feed_call(core, Call::Choice, |ticket| Input::SetLocale(locale, ticket)),
            Line::Country(country) => self.feed_call(core, Call::Choice, |ticket| Input::SetCountry(country, ticket)),
            Line::HalfClose => self.feed(core, Input::HalfClose(connection)),
            Line::Erase => {
                if let Some(session) = &mut self.cores[core].session {
                    session.await_erasure(connection);
                    self.feed_call(core, Call::Erase(number), Input::Erase);
                }
            }
            Line::ForgetLast => {
                self.feed_call(core, Call::Forget(number), |ticket| Input::ForgetLast { from: connection, ticket });
            }
            Line::Rotate => {
                let ticket = |ticket| Input::RotateResume { from: connection, token: ResumeToken::random(), ticket };
                self.feed_call(core, Call::Rotate(number), ticket);
            }
            Line::Bye => {
                self.detach(number);
                self.send_down(number, Received::Closed(CloseReason::Bye));
            }
        }
    }

    /// Assesses a message as it arrives. Help must be sent in this step, whatever is pending.
    fn assess(&mut self, core: usize, id: &MessageId, text: &UserText) {
        let now = self.now();
        let Some(session) = &mut self.cores[core].session else {
            return;
        };
        let mut out = Vec::new();
        session.adopt_answered_country(now, text, &mut out);
        let is_shown = session.assess(now, id, text, &mut out);
        let is_in_risk = session.risk(now.wall).must_be_answered();
        let is_sent = out.iter().any(|effect| match effect {
            Effect::Send(Recipients::All, ServerFrame::Support(support)) => support.id == *id,
            _ => false,
        });
        let is_wish = text.expose() == WISH;
        let is_first = is_wish && !self.cores[core].knows_help;
        self.require(is_sent || !is_first, || format!("core {core}: no help at once for {id}"));
        self.require(is_sent == is_shown, || format!("core {core}: help for {id} is not sent to all"));
        self.require(is_in_risk || !is_wish, || format!("core {core}: {id} is not in risk"));
        self.cores[core].knows_help |= is_shown;
        self.start(core, out);
    }

    fn submit_next(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let Some(from) = connection.id.filter(|_| !connection.is_waiting) else {
            return;
        };
        let Some((id, text)) = connection.lines.pop_front() else {
            return;
        };
        connection.is_waiting = true;
        let core = connection.core;
        let wall = self.wall();
        let Some(risk) = self.cores[core].session.as_ref().map(|session| session.risk(wall)) else {
            return;
        };
        let trace = Traceparent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let message = Message { id, text, trace, address: [127, 0, 0, 1].into(), risk };
        self.feed_call(core, Call::Line(number), |ticket| Input::Submit { from, message, ticket });
    }

    pub(super) fn line_done(&mut self, number: usize) {
        self.connections[number].is_waiting = false;
        self.for_connection(number, 0, move |world| world.submit_next(number));
    }

    pub(super) fn erasure_done(&mut self, number: usize, result: Result<Completed, Failure>) {
        let Connection { core, id, .. } = self.connections[number];
        let (Some(id), Some(session)) = (id, &mut self.cores[core].session) else {
            return;
        };
        let ended = session.end_erasure(id);
        self.store.is_erasure_unknown |= result.is_err();
        self.require(result.is_err() || ended.is_some(), || format!("core {core}: erased, but not ended"));
        if ended.is_some() {
            self.close_connection(number, CloseReason::Erased);
        }
    }
}
