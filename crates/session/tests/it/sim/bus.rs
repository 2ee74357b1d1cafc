//! A core's connection to the cluster: claims, and events that are published to the other cores.

use protocol::MessageId;
use session::{CoreId, Input, SessionEvent};

use super::cluster::Claim;
use super::world::World;

/// Claim that is released.
pub(super) struct Released {
    pub(super) id: MessageId,
    pub(super) number: u64,
    /// The person stopped the message before it was answered.
    pub(super) is_stopped: bool,
}

/// Connection of a core to the cluster.
#[derive(Debug)]
pub(super) struct Link {
    /// Identifier of the core on this connection.
    pub(super) id: CoreId,
    /// Its identifier on the last one.
    pub(super) previous: CoreId,
    pub(super) is_connected: bool,
    /// Distinguishes connections.
    pub(super) epoch: u64,
    /// The session's events arrive.
    pub(super) is_subscribed: bool,
    /// Events are lost from now on: the connection is broken, which shows later.
    is_broken: bool,
    /// Time at which the last command arrives.
    command_at: u64,
    /// Time of the last event from each core: the order of one publisher is kept.
    received_at: Vec<u64>,
}

impl Link {
    pub(super) fn new(cores: usize) -> Self {
        let (id, previous) = (core_id(0), core_id(0));
        let received_at = vec![0; cores];
        Self {
            id,
            previous,
            is_connected: false,
            epoch: 0,
            is_subscribed: false,
            is_broken: false,
            command_at: 0,
            received_at,
        }
    }
}

pub(super) fn core_id(number: u64) -> CoreId {
    CoreId::new(number)
}

impl World {
    /// Connects a core to the cluster under a new identifier, unless it is connected or down.
    pub(super) fn connect_link(&mut self, core: usize) {
        let id = core_id(self.number());
        let link = &mut self.cores[core].link;
        if link.is_connected || !self.cores[core].is_up {
            return;
        }
        let link = &mut self.cores[core].link;
        (link.previous, link.id) = (link.id, id);
        (link.is_connected, link.is_subscribed, link.is_broken) = (true, false, false);
        link.epoch += 1;
        self.note(|| format!("core {core}: cluster connected as {id:?}"));
        for (id, number) in self.cores[core].permits.clone() {
            self.reclaim(core, id, number);
        }
        self.subscribe(core);
    }

    /// Breaks the connection to the cluster for a while.
    pub(super) fn break_link(&mut self, core: usize) {
        self.drop_link(core);
        let longest = if self.rng.bool() { 300 } else { 6_000 };
        let delay = self.rng.u64(50..=longest);
        self.after(delay, move |world| world.connect_link(core));
    }

    pub(super) fn drop_link(&mut self, core: usize) {
        let link = &mut self.cores[core].link;
        if std::mem::take(&mut link.is_connected) {
            link.epoch += 1;
            let id = link.id;
            self.cluster.disconnected(id, self.now_ms);
            self.note(|| format!("core {core}: cluster lost"));
        }
    }

    /// Subscribes to the session's events.
    pub(super) fn subscribe(&mut self, core: usize) {
        if !self.cores[core].link.is_connected || self.cores[core].session.is_none() {
            return;
        }
        let epoch = self.cores[core].link.epoch;
        let (subscribed, reply) = (self.latency(), self.latency());
        self.for_session(core, subscribed, move |world| {
            if world.cores[core].link.epoch != epoch {
                return;
            }
            world.cores[core].link.is_subscribed = true;
            world.for_session(core, reply, move |world| {
                if world.cores[core].link.epoch == epoch {
                    world.feed(core, Input::Subscribed);
                }
            });
        });
    }

    /// Returns the time at which the next command of the core arrives: behind those before it.
    fn next_command(&mut self, core: usize) -> u64 {
        let at = self.now_ms + self.latency();
        let link = &mut self.cores[core].link;
        link.command_at = link.command_at.max(at);
        link.command_at
    }

    /// Runs `query` in the cluster, and passes its result on; `None` without a connection.
    pub(super) fn ask_cluster<T: 'static>(
        &mut self,
        core: usize,
        query: impl FnOnce(&mut World, CoreId, CoreId) -> T + 'static,
        reply: impl FnOnce(&mut World, Option<T>) + 'static,
    ) {
        let link = &self.cores[core].link;
        let (id, previous, epoch, is_connected) = (link.id, link.previous, link.epoch, link.is_connected);
        let back = self.latency();
        let there = self.next_command(core) - self.now_ms;
        let life = self.cores[core].life;
        self.after(there, move |world| {
            let is_intact = is_connected && world.cores[core].link.epoch == epoch;
            // A request whose connection breaks may have arrived.
            let result = (is_intact || (is_connected && world.rng.bool())).then(|| query(world, id, previous));
            world.after(back, move |world| {
                if world.cores[core].life == life {
                    let is_intact = is_intact && world.cores[core].link.epoch == epoch;
                    reply(world, result.filter(|_| is_intact));
                }
            });
        });
    }

    fn reclaim(&mut self, core: usize, id: MessageId, number: u64) {
        let claimed = id.clone();
        let query = move |world: &mut World, core, previous| {
            let claim = Claim { id: claimed, core, number };
            world.cluster.reclaim(claim, previous, world.now_ms);
        };
        self.ask_cluster(core, query, move |world, _| {
            // The turn may have ended during the claim: its own release came too early then.
            if !world.cores[core].permits.contains(&(id.clone(), number)) {
                world.release_claim(core, id, number, false);
            }
        });
    }

    /// Releases a claim of the core, whatever its identifier was.
    pub(super) fn release_claim(&mut self, core: usize, id: MessageId, number: u64, is_stopped: bool) {
        self.release_claim_then(core, Released { id, number, is_stopped }, |_| {});
    }

    /// Releases a claim, and then continues, with or without the cluster.
    pub(super) fn release_claim_then(
        &mut self,
        core: usize,
        Released { id, number, is_stopped }: Released,
        then: impl FnOnce(&mut World) + 'static,
    ) {
        if is_stopped {
            self.cores[core].stopped.insert(id.to_string());
        }
        let query = move |world: &mut World, core, _| {
            world.cluster.release(&Claim { id, core, number }, is_stopped);
        };
        self.ask_cluster(core, query, |world, _| then(world));
    }

    // ---- publish/subscribe ------------------------------------------------------------------------

    pub(super) fn publish(&mut self, core: usize, event: SessionEvent, revision: u64) {
        let now_ms = self.now_ms;
        let at = self.next_command(core);
        let link = &self.cores[core].link;
        if !link.is_connected {
            return;
        }
        let (id, epoch) = (link.id, link.epoch);
        let life = self.cores[core].life;
        self.after(at - now_ms, move |world| {
            if world.cores[core].link.epoch != epoch {
                return;
            }
            let is_listening = |world: &World, other: usize| {
                let link = &world.cores[other].link;
                other != core && link.is_connected && link.is_subscribed
            };
            let listeners: Vec<usize> = (0..world.cores.len()).filter(|other| is_listening(world, *other)).collect();
            for other in &listeners {
                world.deliver(core, *other, id, &event);
            }
            let back = world.latency();
            if listeners.is_empty() {
                world.after(back, move |world| {
                    if world.cores[core].link.epoch == epoch && world.cores[core].life == life {
                        world.feed(core, Input::NoSubscribers(revision));
                    }
                });
            }
        });
    }

    /// Delivers an event from core `from` to core `to`: later, once, twice, or not at all.
    fn deliver(&mut self, from: usize, to: usize, id: CoreId, event: &SessionEvent) {
        if self.cores[to].link.is_broken {
            return;
        }
        if self.is_fault(self.profile.drop_per_mille) {
            self.note(|| format!("core {to}: loses events from now on"));
            self.cores[to].link.is_broken = true;
            let delay = self.rng.u64(..1_500);
            let epoch = self.cores[to].link.epoch;
            return self.after(delay, move |world| {
                if world.cores[to].link.epoch == epoch {
                    world.break_link(to);
                }
            });
        }
        let latency = self.latency();
        let at = self.cores[to].link.received_at[from].max(self.now_ms + latency);
        self.cores[to].link.received_at[from] = at;
        let times = if self.is_fault(self.profile.duplicate_per_mille) { 2 } else { 1 };
        for _ in 0..times {
            let (event, epoch) = (event.clone(), self.cores[to].link.epoch);
            self.for_session(to, at - self.now_ms, move |world| {
                if world.cores[to].link.epoch == epoch {
                    world.feed(to, Input::Remote(id, event));
                }
            });
        }
    }
}
