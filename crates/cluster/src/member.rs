//! A member of the cluster: its connection, its subscriptions and its share of the limits.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use limits::RateLimit;
use protocol::UserLabel;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use service_runtime::metrics::IntCounter;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster_event::ClusterEvent;
use crate::command::Command;
use crate::core_id::CoreId;
use crate::envelope::Envelope;
use crate::keys::Keys;
use crate::settings::ClusterSettings;

/// Capacity of the queue of commands to Redis. A full queue drops the connection; after the
/// reconnect every session catches up from the database.
const COMMAND_QUEUE: usize = 16_384;
/// Capacity of the queue of received events. A full queue drops the connection, too.
const EVENT_QUEUE: usize = 16_384;

/// This core's membership of the cluster.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) settings: ClusterSettings,
    pub(crate) keys: Keys,
    /// Sender of published events. Rate-limit events are named by it and the time since `epoch`, so
    /// that restoring or refunding one is idempotent.
    pub(crate) process: CoreId,
    pub(crate) epoch: Instant,
    /// `None` while disconnected. No lock here may be held across an await.
    connection: Mutex<Option<RedisConnection>>,
    /// Sessions live on this core.
    subscriptions: Mutex<HashSet<UserLabel>>,
    commands: mpsc::Sender<Command>,
    commands_rx: Mutex<Option<mpsc::Receiver<Command>>>,
    pub(crate) events: mpsc::Sender<ClusterEvent>,
    /// Last known number of cores, this one included.
    pub(crate) members: AtomicUsize,
    pub(crate) claims_made: AtomicU64,
    pub(crate) disconnects: IntCounter,
}

/// Established connection to Redis.
#[derive(Debug, Clone)]
pub(crate) struct RedisConnection {
    /// Claims over this connection carry it.
    pub(crate) core: CoreId,
    /// Identifier of the previous connection, whose claims are void.
    pub(crate) previous: CoreId,
    pub(crate) redis: MultiplexedConnection,
    /// Cancelled when the connection or an event on it is lost: [`Cluster::run`] then reconnects.
    pub(crate) broken: CancellationToken,
}

impl Cluster {
    /// Returns a member that is not connected yet, see [`Cluster::run`], and its events, which the
    /// caller must consume. `disconnects` counts lost connections and failed attempts to connect.
    pub fn new(settings: ClusterSettings, disconnects: IntCounter) -> (Arc<Self>, mpsc::Receiver<ClusterEvent>) {
        Self::with_queue(settings, disconnects, COMMAND_QUEUE)
    }

    /// Like [`Cluster::new`], with a command queue of this capacity.
    pub(crate) fn with_queue(
        settings: ClusterSettings,
        disconnects: IntCounter,
        commands: usize,
    ) -> (Arc<Self>, mpsc::Receiver<ClusterEvent>) {
        let (commands, commands_rx) = mpsc::channel(commands);
        let (events, events_rx) = mpsc::channel(EVENT_QUEUE);
        let cluster = Self {
            keys: Keys::new(settings.url.database()),
            settings,
            process: CoreId::random(),
            epoch: Instant::now(),
            connection: Mutex::default(),
            subscriptions: Mutex::default(),
            commands,
            commands_rx: Mutex::new(Some(commands_rx)),
            events,
            members: AtomicUsize::new(1),
            claims_made: AtomicU64::new(0),
            disconnects,
        };
        (Arc::new(cluster), events_rx)
    }

    /// Returns whether Redis is connected.
    pub fn is_connected(&self) -> bool {
        self.lock_connection().is_some()
    }

    /// Number of cores, this one included. While disconnected: the last known number, initially 1.
    pub fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Returns the part of `limit` that this core enforces: all of it while Redis counts for the whole
    /// cluster, else an equal share.
    pub fn effective_limit(&self, limit: RateLimit) -> RateLimit {
        if self.is_connected() { limit } else { limit.share(self.members()) }
    }

    /// Returns whether `core` is the sender identifier of this process.
    pub fn is_own_id(&self, core: CoreId) -> bool {
        core == self.process
    }

    /// Subscribes to the session's events; [`ClusterEvent::Subscribed`] confirms it.
    pub fn subscribe(&self, user: UserLabel) {
        self.subscriptions().insert(user);
        self.send(Command::Subscribe(user));
    }

    /// Ends the subscription to the session's events.
    pub fn unsubscribe(&self, user: UserLabel) {
        self.subscriptions().remove(&user);
        self.send(Command::Unsubscribe(user));
    }

    /// Publishes an event of the session to the other cores, in the order of the calls. If none is
    /// subscribed, [`ClusterEvent::NoSubscribers`] returns `revision`. Does nothing while disconnected.
    pub fn publish<E: Serialize>(&self, user: UserLabel, event: E, revision: u64) {
        if self.is_connected() {
            self.send(Command::Publish { user, payload: Envelope { core: self.process, event }.encode(), revision });
        }
    }

    fn send(&self, command: Command) {
        // Never waits: callers hold the lock of their session.
        if self.commands.try_send(command).is_err() {
            self.drop_connection();
        }
    }

    pub(crate) fn drop_connection(&self) {
        if let Some(connection) = self.connection() {
            self.discard(&connection);
        }
    }

    /// Makes later requests fail at once instead of waiting for a dead connection.
    pub(crate) fn discard(&self, connection: &RedisConnection) {
        connection.broken.cancel();
        // Only this one: a slow request over an earlier connection must not discard its successor.
        self.lock_connection().take_if(|current| current.core == connection.core);
    }

    pub(crate) fn take_commands(&self) -> Option<mpsc::Receiver<Command>> {
        self.commands_rx.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn connection(&self) -> Option<RedisConnection> {
        self.lock_connection().clone()
    }

    pub(crate) fn set_connection(&self, connection: Option<RedisConnection>) {
        *self.lock_connection() = connection;
    }

    // Poisoning of both locks is ignored: every change under them is one step.
    fn lock_connection(&self) -> MutexGuard<'_, Option<RedisConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, HashSet<UserLabel>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
