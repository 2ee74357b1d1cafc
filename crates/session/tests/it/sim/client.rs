//! Client of the simulation: does what SPEC §4 says, and keeps what it was sent.

use std::collections::{BTreeMap, BTreeSet};

use protocol::server_frame::{Done, Entry, ErrorFrame, Forgotten, Role};
use protocol::{CloseReason, MessageId, ServerFrame, UserText};

use super::connection::{Line, Received, WISH};
use super::world::World;

/// Own messages that a client sends at once.
const WINDOW: usize = 2;

/// A client, over all of its connections.
#[derive(Debug)]
pub(super) struct Client {
    /// Entries received, by `seq`.
    pub(super) entries: BTreeMap<u64, (MessageId, Role, String)>,
    /// Answers in progress.
    pub(super) drafts: BTreeMap<String, Draft>,
    /// Own messages without an answer.
    pub(super) own: Vec<Own>,
    /// Messages for which an error came in place of the answer.
    pub(super) lost: BTreeSet<String>,
    pub(super) is_open: bool,
    /// The session was erased.
    pub(super) is_gone: bool,
    connection: Option<usize>,
    /// Messages sent on this connection.
    sent_here: BTreeSet<String>,
    /// Entries received as `turn` on this connection.
    turns_here: BTreeSet<u64>,
    /// Messages for which an error came on this connection: what follows of their answers may have a gap.
    errored_here: BTreeSet<String>,
    /// Highest `seq` received.
    last: u64,
    written: u32,
    left: u32,
}

/// An answer in progress.
#[derive(Debug, Default)]
pub(super) struct Draft {
    text: String,
    /// Characters received on this connection.
    pub(super) held: usize,
}

/// A message of this client.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) id: MessageId,
    text: UserText,
    is_accepted: bool,
    is_in_flight: bool,
    /// Times it was sent.
    sent: u32,
    retry_at: u64,
}

impl Client {
    pub(super) fn new(left: u32) -> Self {
        Self {
            entries: BTreeMap::new(),
            drafts: BTreeMap::new(),
            own: Vec::new(),
            lost: BTreeSet::new(),
            is_open: false,
            is_gone: false,
            connection: None,
            sent_here: BTreeSet::new(),
            turns_here: BTreeSet::new(),
            errored_here: BTreeSet::new(),
            last: 0,
            written: 0,
            left,
        }
    }

    fn own(&mut self, id: &MessageId) -> Option<&mut Own> {
        self.own.iter_mut().find(|own| own.id == *id)
    }

    fn end_own(&mut self, id: &MessageId) {
        self.own.retain(|own| own.id != *id);
        self.drafts.remove(id.as_str());
    }

    /// Returns true for frames that answer a repetition of a message that has its answer.
    fn is_repetition(&self, id: &MessageId) -> bool {
        self.sent_here.contains(id.as_str()) && !self.own.iter().any(|own| own.id == *id)
    }

    fn on_disconnect(&mut self) {
        (self.connection, self.is_open) = (None, false);
        self.sent_here.clear();
        self.turns_here.clear();
        self.errored_here.clear();
        self.own.iter_mut().for_each(|own| own.is_in_flight = false);
        self.drafts.values_mut().for_each(|draft| draft.held = 0);
    }
}

impl World {
    // ---- actions --------------------------------------------------------------------------------------

    pub(super) fn act_later(&mut self, client: usize) {
        let delay = self.rng.u64(5..=self.profile.action_interval_ms);
        self.after(delay, move |world| {
            if !world.is_healed {
                world.act(client);
                world.act_later(client);
            }
        });
    }

    fn act(&mut self, client: usize) {
        if self.clients[client].connection.is_none() {
            return self.reconnect(client);
        }
        if self.rng.u64(..100) < self.profile.other_actions_percent {
            return self.act_otherwise(client);
        }
        let is_wish = self.rng.u64(..100) < self.profile.risk_percent;
        let Client { written, left, own, .. } = &mut self.clients[client];
        if 0 < *left {
            (*written, *left) = (*written + 1, *left - 1);
            let id = format!("c{client}-{written}").parse().unwrap();
            let text = UserText::new(if is_wish { WISH } else { "hoy comí fideos" });
            own.push(Own { id, text, is_accepted: false, is_in_flight: false, sent: 0, retry_at: 0 });
        }
        self.fill_window(client);
    }

    fn act_otherwise(&mut self, client: usize) {
        let Client { connection: Some(connection), is_open: true, .. } = self.clients[client] else {
            return;
        };
        let line = match self.rng.u8(..11) {
            0 => return self.cut(connection),
            1 => Line::HalfClose,
            2 => Line::Locale(if self.rng.bool() { "en" } else { "es-AR" }.parse().unwrap()),
            3 => Line::Country(if self.rng.bool() { "AR" } else { "ES" }.parse().unwrap()),
            4 => Line::Bye,
            5 if self.profile.has_erasure && self.rng.u8(..3) == 0 => Line::Erase,
            6 => Line::Rotate,
            7 | 8 => Line::ForgetLast,
            _ => {
                let Client { own, drafts, .. } = &self.clients[client];
                let own = own.iter().map(|own| own.id.to_string());
                let ids: Vec<String> = own.chain(drafts.keys().cloned()).collect();
                let Some(id) = self.rng.choice(ids) else {
                    return;
                };
                Line::Stop(id.parse().unwrap())
            }
        };
        if matches!(line, Line::HalfClose) {
            // Nothing follows on this connection.
            let delay = self.rng.u64(..3_000);
            self.after(delay, move |world| world.cut(connection));
        }
        self.send_line(connection, line);
    }

    /// Sends messages again that have no answer, and new ones.
    fn fill_window(&mut self, number: usize) {
        let now_ms = self.now_ms;
        let client = &mut self.clients[number];
        let Some(connection) = client.connection.filter(|_| client.is_open) else {
            return;
        };
        let mut in_flight = client.own.iter().filter(|own| own.is_in_flight).count();
        let mut lines = Vec::new();
        for own in client.own.iter_mut().filter(|own| !own.is_in_flight && own.retry_at <= now_ms) {
            if in_flight < WINDOW {
                in_flight += 1;
                (own.is_in_flight, own.sent) = (true, own.sent + 1);
                client.sent_here.insert(own.id.to_string());
                lines.push(Line::Message(own.id.clone(), own.text.clone()));
            }
        }
        lines.into_iter().for_each(|line| self.send_line(connection, line));
    }

    // ---- connection -------------------------------------------------------------------------------------

    pub(super) fn reconnect_soon(&mut self, client: usize) {
        let delay = self.rng.u64(1..=self.profile.action_interval_ms);
        self.after(delay, move |world| world.reconnect(client));
    }

    fn reconnect(&mut self, number: usize) {
        let Client { connection, is_gone, last, .. } = self.clients[number];
        if connection.is_some() || is_gone {
            return;
        }
        let core = self.rng.usize(..self.cores.len());
        if !self.cores[core].is_up {
            return self.reconnect_soon(number);
        }
        let connection = self.connect(number, core, last);
        self.clients[number].connection = Some(connection);
    }

    /// The connection is lost, as the client notices.
    pub(super) fn lost(&mut self, connection: usize) {
        let client = self.connections[connection].client;
        if self.clients[client].connection == Some(connection) {
            self.note(|| format!("client {client}: loses connection {connection}"));
            self.clients[client].on_disconnect();
            self.reconnect_soon(client);
        }
    }

    pub(super) fn receive(&mut self, connection: usize, received: Received) {
        let number = self.connections[connection].client;
        if self.clients[number].connection != Some(connection) {
            return;
        }
        self.note(|| format!("client {number} < {received:?}"));
        match received {
            Received::Welcome => {
                self.clients[number].is_open = true;
                self.fill_window(number);
            }
            Received::Closed(CloseReason::Erased) => {
                self.clients[number].on_disconnect();
                self.clients[number].is_gone = true;
            }
            Received::Closed(_) => self.lost(connection),
            Received::Frame(frame) => {
                self.on_frame(number, frame);
                self.fill_window(number);
            }
        }
    }

    // ---- frames -----------------------------------------------------------------------------------------

    fn on_frame(&mut self, number: usize, frame: ServerFrame) {
        match frame {
            ServerFrame::Turn(entry) => self.on_turn(number, entry),
            ServerFrame::Accepted { id, seq, .. } => self.on_accepted(number, &id, seq),
            ServerFrame::Queued { id, .. } => self.check_accepted(number, &id),
            ServerFrame::Delta { id, offset, text, .. } => self.on_delta(number, &id, offset, &text),
            ServerFrame::Done(done) => self.on_done(number, &done),
            ServerFrame::Error(error) => self.on_error(number, &error),
            ServerFrame::Forgotten(forgotten) => self.on_forgotten(number, &forgotten),
            _ => {}
        }
    }

    /// Advances to entry `seq`, which must be the next one.
    fn advance(&mut self, number: usize, seq: u64) {
        let Client { last, lost, own, .. } = &self.clients[number];
        let is_excused = |seq: u64| {
            let Some(Entry { id, role, .. }) = self.store.at(seq) else {
                return true;
            };
            // An error came in its place. Or a message that is sent again gets its result behind later entries.
            let is_own = own.iter().any(|own| own.id == *id && 1 < own.sent);
            (*role == Role::Assistant && lost.contains(id.as_str())) || (*role != Role::Support && is_own)
        };
        let last = *last;
        let missing = (last + 1..seq).find(|seq| !is_excused(*seq));
        self.require(missing.is_none(), || format!("client {number}: {seq} comes before {missing:?}"));
        self.clients[number].last = last.max(seq);
    }

    fn on_turn(&mut self, number: usize, entry: Entry) {
        let Entry { seq, id, role, text, .. } = entry;
        let is_first = self.clients[number].turns_here.insert(seq);
        self.require(is_first, || format!("client {number}: turn {seq} comes twice"));
        if seq <= self.clients[number].last {
            let is_known = self.clients[number].entries.contains_key(&seq);
            return self.require(is_known, || format!("client {number}: turn {seq} comes late"));
        }
        self.advance(number, seq);
        let client = &mut self.clients[number];
        client.entries.insert(seq, (id.clone(), role, text.expose().to_owned()));
        match role {
            Role::User => client.own(&id).into_iter().for_each(|own| own.is_accepted = true),
            Role::Assistant => client.end_own(&id),
            Role::Support => {}
        }
    }

    fn on_forgotten(&mut self, number: usize, forgotten: &Forgotten) {
        if self.clients[number].last < forgotten.seq {
            self.advance(number, forgotten.seq);
        }
        let client = &mut self.clients[number];
        client.entries.retain(|_, (id, ..)| *id != forgotten.id);
        client.end_own(&forgotten.id);
    }

    fn on_accepted(&mut self, number: usize, id: &MessageId, seq: u64) {
        let Some(own) = self.clients[number].own(id) else {
            return;
        };
        own.is_accepted = true;
        let text = own.text.expose().to_owned();
        self.clients[number].entries.entry(seq).or_insert((id.clone(), Role::User, text));
        self.advance(number, seq);
    }

    /// Checks that `accepted` came before other frames about an own message, unless it was sent before.
    fn check_accepted(&mut self, number: usize, id: &MessageId) {
        let is_early = self.clients[number].own(id).is_some_and(|own| !own.is_accepted && own.sent <= 1);
        self.require(!is_early, || format!("client {number}: a frame about {id} before accepted"));
    }

    fn on_delta(&mut self, number: usize, id: &MessageId, offset: usize, text: &UserText) {
        self.check_accepted(number, id);
        if self.clients[number].is_repetition(id) {
            return;
        }
        let draft = self.clients[number].drafts.entry(id.to_string()).or_default();
        let held = draft.held;
        if held < offset {
            return self.on_gap(number, id, || format!("client {number}: delta of {id} at {offset} behind {held}"));
        }
        let before: String = draft.text.chars().take(offset).collect();
        let rest: String = draft.text.chars().skip(offset).collect();
        let (is_known, is_longer) = (rest.starts_with(text.expose()), text.expose().starts_with(&rest));
        if !is_known {
            draft.text = before + text.expose();
        }
        draft.held = if is_known || is_longer { held.max(offset + text.chars()) } else { draft.text.chars().count() };
    }

    fn on_done(&mut self, number: usize, done: &Done) {
        let Done { id, seq, chars, .. } = done;
        self.check_accepted(number, id);
        let Some(seq) = *seq else {
            let client = &mut self.clients[number];
            let has_answer = client.entries.values().any(|(of, role, _)| of == id && *role == Role::Assistant);
            let is_second = has_answer && !client.is_repetition(id);
            client.end_own(id);
            return self.require(!is_second, || format!("client {number}: a second end of {id}"));
        };
        let client = &mut self.clients[number];
        let draft = client.drafts.remove(id.as_str()).unwrap_or_default();
        if client.entries.contains_key(&seq) {
            return client.end_own(id);
        }
        if client.is_repetition(id) {
            // It was stopped, and is answered all the same: it was sent again before.
            client.lost.insert(id.to_string());
            return;
        }
        if draft.held != *chars {
            let held = draft.held;
            return self.on_gap(number, id, || format!("client {number}: {id} has {held} of {chars}"));
        }
        let is_late = seq <= client.last && !client.lost.contains(id.as_str());
        let text: String = draft.text.chars().take(draft.held).collect();
        let stored = self.store.at(seq).map(|entry| entry.text.expose().to_owned());
        let is_stored = self.store.is_erased || self.store.is_forgotten(id) || stored.as_ref() == Some(&text);
        self.require(!is_late, || format!("client {number}: done {seq} comes late"));
        self.require(is_stored, || format!("client {number}: {id} is {text:?}, stored is {stored:?}"));
        self.advance(number, seq);
        let client = &mut self.clients[number];
        client.lost.remove(id.as_str());
        client.entries.insert(seq, (id.clone(), Role::Assistant, text));
        client.end_own(id);
    }

    /// Handles missing text: a reconnect replays it. There is none, unless an error came for that answer before.
    fn on_gap(&mut self, number: usize, id: &MessageId, rule: impl FnOnce() -> String) {
        let Client { errored_here, connection, .. } = &self.clients[number];
        let connection = *connection;
        if !errored_here.contains(id.as_str()) {
            return self.fail(rule);
        }
        connection.into_iter().for_each(|connection| self.cut(connection));
    }

    fn on_error(&mut self, number: usize, error: &ErrorFrame) {
        let Some(id) = &error.id else { return };
        let wait = error.retry_after_ms.unwrap_or(1_000);
        let now_ms = self.now_ms;
        let client = &mut self.clients[number];
        client.drafts.remove(id.as_str());
        client.errored_here.insert(id.to_string());
        if client.is_repetition(id) {
            return;
        }
        client.lost.insert(id.to_string());
        if let Some(own) = client.own(id) {
            (own.is_in_flight, own.retry_at) = (false, now_ms + wait);
            self.after(wait, move |world| world.fill_window(number));
        }
    }
}
