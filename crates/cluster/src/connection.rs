//! Connection to Redis: connect, heartbeat, reconnect.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use limits::{ConcurrencyLimiter, LimiterLoad};
use protocol::UserLabel;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Msg, PushInfo, PushKind, RedisError, RedisResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cluster_event::ClusterEvent;
use crate::command::Command;
use crate::core_id::CoreId;
use crate::keys::Keys;
use crate::member::{Cluster, RedisConnection, micros};
use crate::scripts::HEARTBEAT;

/// Timeout of a request. A message waits this long at most, and once: then the connection counts as lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Exponential reconnect backoff: its upper bound at first, and the last.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(100);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Requests in flight; one more waits.
const MAX_PIPELINED: usize = 1_024;
/// Commands sent in one batch.
const BATCH: usize = 256;
/// Poll interval for queue capacity while sessions are being subscribed.
const SUBSCRIBE_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Interval of heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// Interval while a turn waits for a model permit: the share may grow sooner.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);
/// Lifetime of a heartbeat, after which the core counts as dead: six intervals, and longer than one
/// request timeout with a reconnect.
const HEARTBEAT_TTL: Duration = Duration::from_secs(3);

/// Period after a connect in which the previous cluster size is a lower bound: a restarted Redis does
/// not know yet of cores that have not reconnected.
#[derive(Debug, Clone, Copy)]
struct StartupGrace {
    until: Instant,
    cores: usize,
}

impl Cluster {
    /// Keeps the connection and resizes `slots` to this core's share of the model calls. Runs until it
    /// is dropped; a second call returns at once.
    pub async fn run(&self, slots: &Arc<ConcurrencyLimiter>) {
        let Some(mut commands) = self.take_commands() else { return };
        let mut delay = MIN_RECONNECT_DELAY;
        let mut previous = CoreId::random();
        let mut is_reported = false;
        loop {
            let ended = match self.connect(previous).await {
                Ok(connection) => {
                    previous = connection.core;
                    is_reported = false;
                    self.serve(connection, &mut commands, slots, &mut delay).await
                }
                Err(error) => Err(error),
            };
            self.set_connection(None);
            slots.resize(self.offline_share(), self.offline_share());
            if !std::mem::replace(&mut is_reported, true) {
                self.report_disconnect(ended.err().as_ref());
            }
            // Full jitter: the cores must not reconnect all at once.
            sleep(delay.mul_f64(fastrand::f64())).await;
            delay = (delay * 2).min(MAX_RECONNECT_DELAY);
            // Dropped: subscribers catch up from the store after reconnecting.
            while commands.try_recv().is_ok() {}
        }
    }

    async fn connect(&self, previous: CoreId) -> RedisResult<RedisConnection> {
        let broken = CancellationToken::new();
        let (events, keys, breaks) = (self.events.clone(), self.keys.clone(), broken.clone());
        let push = move |push: PushInfo| {
            let is_lost = push.kind == PushKind::Disconnection;
            let is_full = decode_push(push, &keys).is_some_and(|event| events.try_send(event).is_err());
            if is_lost || is_full {
                breaks.cancel();
            }
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_pipeline_buffer_size(MAX_PIPELINED)
            .set_push_sender(push);
        let redis = self.settings.url.client().get_multiplexed_async_connection_with_config(&config).await?;
        Ok(RedisConnection { core: CoreId::random(), previous, redis, broken })
    }

    /// Serves the connection until it is lost.
    async fn serve(
        &self,
        mut connection: RedisConnection,
        commands: &mut mpsc::Receiver<Command>,
        slots: &Arc<ConcurrencyLimiter>,
        delay: &mut Duration,
    ) -> RedisResult<()> {
        let grace = StartupGrace { until: Instant::now() + HEARTBEAT_TTL, cores: self.members() };
        // Heartbeat before the connection can be used: claims of a core without one are void.
        self.heartbeat(&mut connection, slots, grace).await?;
        self.set_connection(Some(connection.clone()));
        tracing::info!(cores = self.members(), "redis connected");
        *delay = MIN_RECONNECT_DELAY;
        self.emit(ClusterEvent::Connected);
        let mut unsubscribed: Vec<_> = self.subscriptions().iter().copied().collect();
        let mut batch = Vec::with_capacity(BATCH);
        let (mut last_beat, mut due) = (Instant::now(), Instant::now() + HEARTBEAT_INTERVAL);
        loop {
            // One batch a round, so that subscriptions and published events do not starve each other:
            // each `Subscribed` makes its session publish a `Hello`.
            self.subscribe_batch(&mut connection.redis, &mut unsubscribed, commands).await?;
            let (is_subscribing, has_budget) = (!unsubscribed.is_empty(), 0 < self.subscribe_budget(commands));
            tokio::select! {
                biased;
                () = connection.broken.cancelled() => return Ok(()),
                () = sleep_until(due) => {
                    self.heartbeat(&mut connection, slots, grace).await?;
                    last_beat = Instant::now();
                    due = last_beat + HEARTBEAT_INTERVAL;
                }
                () = slots.wait_for_demand() => due = due.min(last_beat + MIN_HEARTBEAT_INTERVAL),
                _ = commands.recv_many(&mut batch, BATCH) => self.send_all(&mut connection.redis, &batch).await?,
                () = ready(()), if is_subscribing && has_budget => {}
                // Polls until the sessions have consumed queued events.
                () = sleep(SUBSCRIBE_POLL_INTERVAL), if is_subscribing => {}
            }
            batch.clear();
        }
    }

    /// Subscribes to some of the sessions that were live on connect, as many as the queues have room for.
    async fn subscribe_batch(
        &self,
        redis: &mut MultiplexedConnection,
        unsubscribed: &mut Vec<UserLabel>,
        commands: &mpsc::Receiver<Command>,
    ) -> RedisResult<()> {
        let beyond = unsubscribed.len().saturating_sub(self.subscribe_budget(commands));
        let batch = {
            let subscriptions = self.subscriptions();
            // Skips sessions that have ended meanwhile: their `Unsubscribe` was sent or is queued behind this.
            unsubscribed
                .drain(beyond..)
                .filter(|user| subscriptions.contains(user))
                .map(Command::Subscribe)
                .collect::<Vec<_>>()
        };
        self.send_all(redis, &batch).await
    }

    /// Returns the number of sessions that may be subscribed now. Each adds one `Subscribed` and one
    /// `Hello` to the queues, and a full queue drops the connection: half of each is left to other uses.
    fn subscribe_budget(&self, commands: &mpsc::Receiver<Command>) -> usize {
        let queued_events = self.events.max_capacity() - self.events.capacity();
        let room = |capacity: usize, waiting: usize| capacity.div_ceil(2).saturating_sub(waiting);
        // Every queued event may be a `Subscribed` whose `Hello` is yet to come.
        let for_commands = room(commands.max_capacity(), commands.len() + queued_events);
        for_commands.min(room(self.events.max_capacity(), queued_events)).min(BATCH)
    }

    /// Sends a heartbeat and applies the share of model calls that it returns.
    async fn heartbeat(
        &self,
        connection: &mut RedisConnection,
        slots: &Arc<ConcurrencyLimiter>,
        grace: StartupGrace,
    ) -> RedisResult<()> {
        let LimiterLoad { in_use, waiting, .. } = slots.load();
        let (share, cores): (usize, usize) = HEARTBEAT
            .key(self.keys.cores())
            .key(self.keys.shares())
            .arg(connection.core)
            .arg(connection.previous)
            .arg(in_use)
            .arg(waiting)
            .arg(self.settings.limits.max_in_flight)
            .arg(micros(HEARTBEAT_TTL))
            .invoke_async(&mut connection.redis)
            .await?;
        let in_grace = Instant::now() < grace.until;
        let cores = if in_grace { cores.max(grace.cores) } else { cores };
        if cores != self.members.swap(cores, Ordering::Relaxed) {
            tracing::info!(cores, "cluster size changed");
        }
        let at_need = self.offline_share();
        slots.resize(if in_grace { share.min(at_need) } else { share }, at_need);
        Ok(())
    }

    fn report_disconnect(&self, error: Option<&RedisError>) {
        self.disconnects.inc();
        let (redis, cores) = (&self.settings.url, self.members());
        let error = error.map_or_else(|| "connection lost".to_owned(), ToString::to_string);
        tracing::warn!(%redis, error, cores, "redis connection lost; enforcing per-core share of limits");
    }

    /// Equal share of the model calls: the limit while disconnected, and the guaranteed part while every
    /// core needs more.
    fn offline_share(&self) -> usize {
        (self.settings.limits.max_in_flight / self.members()).max(1)
    }

    /// Sends a request; `None` if Redis is not connected or the request fails.
    pub(crate) async fn query<T>(
        &self,
        request: impl AsyncFnOnce(&mut MultiplexedConnection, &RedisConnection) -> RedisResult<T>,
    ) -> Option<T> {
        let connection = self.connection()?;
        match request(&mut connection.redis.clone(), &connection).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "redis request failed");
                // Other requests must not wait for the same timeout.
                self.discard(&connection);
                None
            }
        }
    }

    pub(crate) fn emit(&self, event: ClusterEvent) {
        if self.events.try_send(event).is_err() {
            self.drop_connection();
        }
    }
}

/// Decodes a RESP3 push message.
fn decode_push(push: PushInfo, keys: &Keys) -> Option<ClusterEvent> {
    match push.kind {
        PushKind::Subscribe => {
            let channel: String = redis::from_redis_value(push.data.into_iter().next()?).ok()?;
            keys.user_of(&channel).map(ClusterEvent::Subscribed)
        }
        PushKind::Message => {
            let message = Msg::from_push_info(push)?;
            Some(ClusterEvent::Published(
                keys.user_of(message.get_channel_name())?,
                message.get_payload_bytes().to_vec(),
            ))
        }
        _ => None,
    }
}
