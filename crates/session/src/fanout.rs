//! Delivery of frames to the session's connections, here and on other cores.

use std::time::Instant;

use protocol::{CloseReason, ServerFrame};

use crate::cx::Cx;
use crate::effect::{Delta, Effect, Recipients};
use crate::event::SessionEvent;
use crate::ids::ConnectionId;
use crate::replicas::Replicas;

/// Receivers of frames: the connections of this core, and the replicas on others.
#[derive(Debug)]
pub(crate) struct Fanout {
    clients: Vec<Client>,
    next_id: u64,
    /// Connections whose `erase` has no response yet: they stay open when the session ends.
    erasing: Vec<ConnectionId>,
    /// Time since which no connection listens, here or on a known core.
    abandoned_since: Option<Instant>,
    /// Number of times that the resume token was replaced, as far as this core knows.
    rotations: u64,
    /// Boxed: a single core pays one pointer for it.
    pub(crate) replicas: Option<Box<Replicas>>,
}

/// Connection of this core.
#[derive(Debug)]
struct Client {
    id: ConnectionId,
    /// Its client closed its sending side: it may wait for its answer, or be gone for good.
    is_half_closed: bool,
}

impl Fanout {
    pub(crate) fn new(replicas: Option<Replicas>, rotations: u64, now: Instant) -> Self {
        let replicas = replicas.map(Box::new);
        Self { clients: Vec::new(), next_id: 0, erasing: Vec::new(), abandoned_since: Some(now), rotations, replicas }
    }

    pub(crate) fn attach(&mut self, cx: &mut Cx<'_>) -> ConnectionId {
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        // Exactly: most sessions have one connection.
        self.clients.reserve_exact(1);
        self.clients.push(Client { id, is_half_closed: false });
        self.on_clients_changed(cx);
        id
    }

    pub(crate) fn detach(&mut self, id: ConnectionId, cx: &mut Cx<'_>) {
        self.clients.retain(|client| client.id != id);
        self.on_clients_changed(cx);
    }

    pub(crate) fn half_close(&mut self, id: ConnectionId, cx: &mut Cx<'_>) {
        self.clients.iter_mut().filter(|client| client.id == id).for_each(|client| client.is_half_closed = true);
        self.on_clients_changed(cx);
    }

    fn on_clients_changed(&mut self, cx: &mut Cx<'_>) {
        self.update_abandoned_since(cx.now());
        let connections = self.clients.len();
        if let Some(replicas) = &self.replicas {
            replicas.publish_connections(connections, cx);
        }
    }

    /// Returns true unless a connection whose token was found after `rotations` replacements has an earlier token. If it
    /// has a later one, those before are revoked.
    pub(crate) fn admits(&mut self, rotations: u64, cx: &mut Cx<'_>) -> bool {
        self.revoke(rotations, None, cx);
        rotations == self.rotations
    }

    /// Detaches and closes every connection that was opened before the token was replaced `rotations` times, except `by`.
    pub(crate) fn revoke(&mut self, rotations: u64, by: Option<ConnectionId>, cx: &mut Cx<'_>) {
        if rotations <= self.rotations {
            return;
        }
        self.rotations = rotations;
        for Client { id, .. } in self.clients.extract_if(.., |client| Some(client.id) != by) {
            cx.start(Effect::Close(id, CloseReason::Revoked));
        }
        self.on_clients_changed(cx);
    }

    /// Sets or clears the time since which no connection listens.
    pub(crate) fn update_abandoned_since(&mut self, now: Instant) {
        let listens_here = self.clients.iter().any(|client| !client.is_half_closed);
        if listens_here || self.replicas.as_ref().is_some_and(|replicas| 0 < replicas.connections()) {
            self.abandoned_since = None;
        } else {
            self.abandoned_since.get_or_insert(now);
        }
    }

    pub(crate) fn abandoned_since(&self) -> Option<Instant> {
        self.abandoned_since
    }

    /// Number of connections of this core.
    pub(crate) fn local_connections(&self) -> usize {
        self.clients.len()
    }

    /// Number of connections here and on other cores.
    pub(crate) fn connections(&self) -> usize {
        self.clients.len() + self.replicas.as_ref().map_or(0, |replicas| replicas.connections())
    }

    fn is_connected(&self, id: ConnectionId) -> bool {
        self.clients.iter().any(|client| client.id == id)
    }

    /// Returns the recipients of a frame for `sender`: all once it is gone, because its client may have resumed on
    /// another connection.
    pub(crate) fn to_sender(&self, sender: ConnectionId) -> Recipients {
        if self.is_connected(sender) { Recipients::Only(sender) } else { Recipients::All }
    }

    /// Returns the recipients of a later result for `sender`: all also once its client closed its sending side, because
    /// it may be gone for good.
    pub(crate) fn to_waiting_sender(&self, sender: ConnectionId) -> Recipients {
        let is_waiting = self.clients.iter().any(|client| client.id == sender && !client.is_half_closed);
        if is_waiting { Recipients::Only(sender) } else { Recipients::All }
    }

    /// Publishes to connections here, and on other cores unless `to` is one connection.
    pub(crate) fn publish(&self, to: Recipients, frame: ServerFrame, cx: &mut Cx<'_>) {
        if let Recipients::All | Recipients::AllExcept(_) = to
            && let Some(replicas) = &self.replicas
        {
            replicas.publish_frame(&frame, cx);
        }
        self.publish_locally(to, frame, cx);
    }

    /// Publishes to connections of this core only.
    pub(crate) fn publish_locally(&self, to: Recipients, frame: ServerFrame, cx: &mut Cx<'_>) {
        if !self.clients.is_empty() {
            cx.start(Effect::Send(to, frame));
        }
    }

    /// Publishes the next text of an answer that this core gives.
    pub(crate) fn publish_delta(&self, delta: Delta, cx: &mut Cx<'_>) {
        if let Some(replicas) = self.replicas.as_ref().filter(|replicas| replicas.has_any()) {
            replicas.publish_frame(&delta.clone().into_frame(), cx);
        }
        self.publish_delta_locally(delta, cx);
    }

    pub(crate) fn publish_delta_locally(&self, delta: Delta, cx: &mut Cx<'_>) {
        if !self.clients.is_empty() {
            cx.start(Effect::SendDelta(delta));
        }
    }

    /// Publishes an event to the other cores, whether or not one is known to have the session live.
    pub(crate) fn publish_to_cores(&self, event: SessionEvent, cx: &mut Cx<'_>) {
        if let Some(replicas) = &self.replicas {
            replicas.publish(event, cx);
        }
    }

    /// Detaches and closes every connection.
    pub(crate) fn close_all(&mut self, reason: CloseReason, cx: &mut Cx<'_>) {
        for Client { id, .. } in std::mem::take(&mut self.clients) {
            cx.start(Effect::Close(id, reason));
        }
    }

    /// Detaches every connection at the end of the session, and closes all but those that await the response to their
    /// `erase`. Publishes nothing to other cores from now on.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) {
        for Client { id, .. } in std::mem::take(&mut self.clients) {
            if !self.erasing.contains(&id) {
                cx.start(Effect::Close(id, CloseReason::Erased));
            }
        }
        self.replicas = None;
    }

    pub(crate) fn await_erasure(&mut self, id: ConnectionId) {
        self.erasing.push(id);
    }

    pub(crate) fn end_erasure(&mut self, id: ConnectionId) {
        if let Some(at) = self.erasing.iter().position(|erasing| *erasing == id) {
            self.erasing.swap_remove(at);
        }
    }
}
