//! The connection to Redis: made, kept, and made anew.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::UserLabel;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Msg, PushInfo, PushKind, RedisError, RedisResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::outgoing::Outgoing;
use super::scripts::BEAT;
use super::{CoreId, Heard, Link, Shared, micros};
use crate::limits::{ConcurrencyLimiter, LimiterLoad};

/// How long Redis may take to answer. Messages wait for it, once: then the link counts as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest pause before the link is made anew, at first; doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Questions on their way to Redis at once; one more waits.
const PIPELINE: usize = 1_024;
/// Told and joined in one go.
const BATCH: usize = 256;
/// Between two looks whether there is room to join more sessions.
const JOIN_PAUSE: Duration = Duration::from_millis(1);
/// Between two signs of life.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// Between two signs of life where someone waits for a call to the model.
const BEAT_EVERY_AT_LEAST: Duration = Duration::from_millis(50);
/// How long a core counts as alive after a sign of life.
const ALIVE: Duration = Duration::from_secs(3);

/// The first while of a link, in which as many cores as before are reckoned with.
#[derive(Debug, Clone, Copy)]
struct Settling {
    until: Instant,
    cores: usize,
}

impl Shared {
    /// Keeps up the link, and `slots` at this core's share of the model calls. Does not end; to be
    /// run once.
    pub async fn run(&self, slots: &Arc<ConcurrencyLimiter>) {
        let Some(mut outgoing) = self.outgoing_receiver() else { return };
        let mut pause = FIRST_PAUSE;
        let mut previous = CoreId::random();
        let mut is_told = false;
        loop {
            let ended = match self.connect(previous).await {
                Ok(link) => {
                    previous = link.core;
                    is_told = false;
                    self.serve(link, &mut outgoing, slots, &mut pause).await
                }
                Err(error) => Err(error),
            };
            self.set_link(None);
            slots.resize(self.share_without_link(), self.share_without_link());
            if !std::mem::replace(&mut is_told, true) {
                self.tell_lost(ended.err().as_ref());
            }
            // Full jitter: the cores do not come back all at once.
            sleep(pause.mul_f64(fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Told to nobody: who is linked again looks into the database.
            while outgoing.try_recv().is_ok() {}
        }
    }

    async fn connect(&self, previous: CoreId) -> RedisResult<Link> {
        let broken = CancellationToken::new();
        let (heard, keys, breaks) = (self.heard.clone(), self.keys.clone(), broken.clone());
        let push = move |push: PushInfo| {
            let is_lost = push.kind == PushKind::Disconnection;
            let is_full = take_up(push, &keys).is_some_and(|taken_up| heard.try_send(taken_up).is_err());
            if is_lost || is_full {
                breaks.cancel();
            }
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT))
            .set_pipeline_buffer_size(PIPELINE)
            .set_push_sender(push);
        let redis = self.settings.url.client().get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link { core: CoreId::random(), previous, redis, broken })
    }

    /// Serves the link until it breaks.
    async fn serve(
        &self,
        mut link: Link,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        slots: &Arc<ConcurrencyLimiter>,
        pause: &mut Duration,
    ) -> RedisResult<()> {
        // Redis may have started anew: it does not know yet of cores that have no link so far.
        let settling = Settling { until: Instant::now() + ALIVE, cores: self.cores() };
        // Before anybody here claims anything: what an unknown core claims is free.
        self.beat(&mut link, slots, settling).await?;
        self.set_link(Some(link.clone()));
        tracing::info!(cores = self.cores(), "linked: limits and events are shared through Redis");
        *pause = FIRST_PAUSE;
        self.hear(Heard::Linked);
        let mut unjoined: Vec<_> = self.joined().iter().copied().collect();
        let mut batch = Vec::with_capacity(BATCH);
        let (mut beaten, mut due) = (Instant::now(), Instant::now() + BEAT_EVERY);
        loop {
            // One batch in each round, so that neither waits for the other: what sessions tell meanwhile,
            // their answers to `Joined` above all, is sent between the batches.
            self.join_some(&mut link.redis, &mut unjoined, outgoing).await?;
            let (is_joining, joins_now) = (!unjoined.is_empty(), 0 < self.joins_at_once(outgoing));
            tokio::select! {
                biased;
                () = link.broken.cancelled() => return Ok(()),
                () = sleep_until(due) => {
                    self.beat(&mut link, slots, settling).await?;
                    beaten = Instant::now();
                    due = beaten + BEAT_EVERY;
                }
                () = slots.wait_for_demand() => due = due.min(beaten + BEAT_EVERY_AT_LEAST),
                _ = outgoing.recv_many(&mut batch, BATCH) => self.send_all(&mut link.redis, &batch).await?,
                () = ready(()), if is_joining && joins_now => {}
                // Until the sessions have taken up what they heard.
                () = sleep(JOIN_PAUSE), if is_joining => {}
            }
            batch.clear();
        }
    }

    /// Subscribes to some of the sessions that were live when the link was made, as many as the queues
    /// have room for.
    async fn join_some(
        &self,
        redis: &mut MultiplexedConnection,
        unjoined: &mut Vec<UserLabel>,
        outgoing: &mpsc::Receiver<Outgoing>,
    ) -> RedisResult<()> {
        let beyond = unjoined.len().saturating_sub(self.joins_at_once(outgoing));
        let batch = {
            let joined = self.joined();
            // One that has ended meanwhile is not subscribed to again: its `Leave` was sent, or waits behind this.
            unjoined.drain(beyond..).filter(|user| joined.contains(user)).map(Outgoing::Join).collect::<Vec<_>>()
        };
        self.send_all(redis, &batch).await
    }

    /// Sessions that may be joined at once. Each brings one `Joined` to hear and one `Hello` to tell, and
    /// a full queue breaks the link. Half of each queue is left to everything else.
    fn joins_at_once(&self, outgoing: &mpsc::Receiver<Outgoing>) -> usize {
        let unheard = self.heard.max_capacity() - self.heard.capacity();
        let room = |capacity: usize, waiting: usize| capacity.div_ceil(2).saturating_sub(waiting);
        // What is heard and not yet taken up may be `Joined`, each with a `Hello` to come.
        let to_tell = room(outgoing.max_capacity(), outgoing.len() + unheard);
        to_tell.min(room(self.heard.max_capacity(), unheard)).min(BATCH)
    }

    /// A sign of life, and what it brings: how many calls to the model this core may make.
    async fn beat(&self, link: &mut Link, slots: &Arc<ConcurrencyLimiter>, settling: Settling) -> RedisResult<()> {
        let LimiterLoad { in_use, waiting, .. } = slots.load();
        let (share, cores): (usize, usize) = BEAT
            .key(self.keys.cores())
            .key(self.keys.shares())
            .arg(link.core)
            .arg(link.previous)
            .arg(in_use)
            .arg(waiting)
            .arg(self.settings.limits.max_in_flight)
            .arg(micros(ALIVE))
            .invoke_async(&mut link.redis)
            .await?;
        let is_settling = Instant::now() < settling.until;
        let cores = if is_settling { cores.max(settling.cores) } else { cores };
        if cores != self.cores.swap(cores, Ordering::Relaxed) {
            tracing::info!(cores, "cores share the limits");
        }
        let at_need = self.share_without_link();
        slots.resize(if is_settling { share.min(at_need) } else { share }, at_need);
        Ok(())
    }

    fn tell_lost(&self, error: Option<&RedisError>) {
        self.lost.inc();
        let (redis, cores) = (&self.settings.url, self.cores());
        let error = error.map_or_else(|| "connection lost".to_owned(), ToString::to_string);
        tracing::warn!(%redis, error, cores, "not linked: this core goes on with its share of the limits");
    }

    /// How many calls to the model this core may make where the cores cannot agree, and at least where all
    /// of them need more.
    fn share_without_link(&self) -> usize {
        (self.settings.limits.max_in_flight / self.cores()).max(1)
    }

    /// Asks Redis; `None` if there is no link, or none any more.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MultiplexedConnection, &Link) -> RedisResult<T>,
    ) -> Option<T> {
        let link = self.link()?;
        match question(&mut link.redis.clone(), &link).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "Redis did not answer");
                // Nobody else is to wait for it.
                self.give_up(&link);
                None
            }
        }
    }

    pub(super) fn hear(&self, heard: Heard) {
        if self.heard.try_send(heard).is_err() {
            self.break_link();
        }
    }
}

/// What a message of Redis says that nobody asked for.
fn take_up(push: PushInfo, keys: &Keys) -> Option<Heard> {
    match push.kind {
        PushKind::Subscribe => {
            let channel: String = redis::from_redis_value(push.data.into_iter().next()?).ok()?;
            keys.user_of(&channel).map(Heard::Joined)
        }
        PushKind::Message => {
            let message = Msg::from_push_info(push)?;
            Some(Heard::Told(keys.user_of(message.get_channel_name())?, message.get_payload_bytes().to_vec()))
        }
        _ => None,
    }
}
