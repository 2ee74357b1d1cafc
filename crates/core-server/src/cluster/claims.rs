//! Who answers which message, and who may send one: decided together by all cores.

use std::sync::atomic::Ordering;
use std::time::Duration;

use boot::Household;
use protocol::{MessageId, UserLabel};
use redis::pipe;
use tokio::time::Instant;

use super::scripts::{CLAIM, IN_FLIGHT, RECOUNT_AS_RETRY, RELEASE_STOPPED, RESTORE_WINDOWS};
use super::{Cluster, CoreId, micros};

/// Events told to Redis in one go.
const RESTORE_BATCH: usize = 512;
/// Stopped messages of a person that are remembered at most.
const MAX_STOPPED: usize = 1_000;
/// Time for which they are remembered.
const STOPPED_TTL: Duration = Duration::from_secs(86_400);

/// Windows that attempts to answer a message count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// Those of new messages, and of those that the person stopped and sends again.
    New,
    /// Those of messages whose last attempt ended through no fault of the person.
    Retry,
}

/// Number of a claim of this core. A claim that is given back late does not take a later one of the
/// same message with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimNumber(u64);

/// A message that this core wants to answer.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Whose message it is.
    pub user: UserLabel,
    /// The message.
    pub id: &'a MessageId,
    /// Which claim to it.
    pub number: ClaimNumber,
}

/// An event in the windows of a person and an address.
#[derive(Debug, Clone, Copy)]
pub struct CountedAttempt {
    /// Which windows.
    pub kind: WindowKind,
    /// Where it came from.
    pub from: Household,
    /// When it happened.
    pub at: Instant,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// It is ours.
    Granted {
        /// So many messages of the session come first, here or elsewhere.
        before: usize,
        /// The person stopped the last attempt to answer the message.
        was_stopped: bool,
    },
    /// Another core that lives has it already.
    Held,
    /// The person stopped the last attempt; only a claim that counts as a new message is granted.
    Stopped,
    /// The person has as many under way as they may.
    Busy,
    /// The person or the address has sent too many.
    RateLimited {
        /// How long until one more fits.
        wait: Duration,
    },
}

/// Messages of a session that living cores answer or will, in the order they were claimed, and
/// whether this core does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight(Vec<(String, bool)>);

impl InFlight {
    /// Whether a core has this one.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.0.iter().any(|(claimed, _)| claimed == id.as_str())
    }

    /// Whether another core has this one.
    pub fn is_held_remotely(&self, id: &MessageId) -> bool {
        self.0.iter().any(|(claimed, here)| claimed == id.as_str() && !here)
    }

    /// Whether another core comes first: the one that claimed the first message answers all that it
    /// claimed, in its own order, before another begins. So nobody waits for each other in a circle.
    pub fn is_other_cores_turn(&self) -> bool {
        self.0.iter().any(|(_, here)| *here) && self.0.first().is_some_and(|(_, here)| !here)
    }
}

impl Cluster {
    /// A number for a claim.
    pub fn next_claim(&self) -> ClaimNumber {
        ClaimNumber(self.claims_made.fetch_add(1, Ordering::Relaxed))
    }

    /// Claims a message, and counts the attempt; `None` where Redis is gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the message may or may not be claimed: to be given back.
    pub async fn claim(&self, claim: Claim<'_>, counted: CountedAttempt) -> Option<ClaimOutcome> {
        let begins = match counted.kind {
            WindowKind::New => "new",
            WindowKind::Retry => "again",
        };
        self.claim_as(claim, begins, Some(counted)).await
    }

    /// Claims a message for an answer that is not counted and that no limit refuses; `None` where Redis is gone.
    pub async fn claim_beyond_limits(&self, claim: Claim<'_>) -> Option<ClaimOutcome> {
        self.claim_as(claim, "beyond", None).await
    }

    /// Claims a message that is pending here, under the name that this core goes by now.
    pub async fn reclaim(&self, claim: Claim<'_>) {
        // Whatever the verdict: the message is being answered.
        self.claim_as(claim, "reclaim", None).await;
    }

    async fn claim_as(&self, claim: Claim<'_>, begins: &str, counted: Option<CountedAttempt>) -> Option<ClaimOutcome> {
        let limits = self.settings.limits;
        let (verdict, number, was_stopped): (String, u64, u64) = self
            .query(async |redis, connection| {
                let mut script = CLAIM.prepare_invoke();
                script.key(self.keys.cores()).key(self.keys.claims(claim.user)).key(self.keys.stopped(claim.user));
                if let Some(CountedAttempt { kind, from, .. }) = counted {
                    script.key(self.keys.window(kind, claim.user)).key(self.keys.address_window(kind, from));
                }
                script
                    .arg(connection.core)
                    .arg(connection.previous)
                    .arg(claim.id.as_str())
                    .arg(claim.number.0)
                    .arg(begins)
                    .arg(limits.per_user_max)
                    .arg(limits.longest_claim.as_secs())
                    .arg(micros(limits.rate.window))
                    .arg(limits.rate.events)
                    .arg(limits.address_rate.events)
                    .arg(counted.map_or_else(String::new, |counted| self.event_name(counted.at)))
                    .invoke_async(redis)
                    .await
            })
            .await?;
        Some(match verdict.as_str() {
            "held" => ClaimOutcome::Held,
            "stopped" => ClaimOutcome::Stopped,
            "busy" => ClaimOutcome::Busy,
            "limited" => ClaimOutcome::RateLimited { wait: Duration::from_micros(number) },
            _ => ClaimOutcome::Granted {
                before: usize::try_from(number).unwrap_or(usize::MAX),
                was_stopped: was_stopped == 1,
            },
        })
    }

    /// Gives back a claim whose message is answered, or gets no answer from this attempt. What was
    /// `counted` did not happen.
    pub async fn release(&self, claim: Claim<'_>, counted: Option<CountedAttempt>) {
        self.query(async |redis, connection| {
            let mut pipe = pipe();
            pipe.zrem(self.keys.claims(claim.user), member(claim, connection.core)).ignore();
            if let Some(counted) = counted {
                self.refund_in(&mut pipe, claim.user, counted);
            }
            pipe.exec_async(redis).await
        })
        .await;
    }

    /// Gives back a claim whose message the person stopped before there was an answer. Every core
    /// then counts a further attempt as a new message.
    pub async fn release_stopped(&self, claim: Claim<'_>) {
        self.query(async |redis, connection| {
            RELEASE_STOPPED
                .key(self.keys.claims(claim.user))
                .key(self.keys.stopped(claim.user))
                .arg(member(claim, connection.core))
                .arg(claim.id.as_str())
                .arg(MAX_STOPPED)
                .arg(STOPPED_TTL.as_secs())
                .invoke_async::<()>(redis)
                .await
        })
        .await;
    }

    /// A further attempt, which counts as a new message, has begun.
    pub async fn clear_stopped(&self, user: UserLabel, id: &MessageId) {
        self.query(async |redis, _| pipe().zrem(self.keys.stopped(user), id.as_str()).exec_async(redis).await).await;
    }

    /// Refunds an event that was counted and did not happen.
    pub async fn refund(&self, user: UserLabel, counted: CountedAttempt) {
        self.query(async |redis, _| {
            let mut pipe = pipe();
            self.refund_in(&mut pipe, user, counted);
            pipe.exec_async(redis).await
        })
        .await;
    }

    /// Moves what was counted as a new message to the windows of repeated ones, where it counts as of
    /// `again_at`, if it fits there; says whether it does. `None` where Redis is gone.
    pub async fn recount_as_retry(&self, user: UserLabel, counted: CountedAttempt, again_at: Instant) -> Option<bool> {
        let limits = self.settings.limits;
        self.query(async |redis, _| {
            let mut excuse = RECOUNT_AS_RETRY.prepare_invoke();
            for kind in [WindowKind::New, WindowKind::Retry] {
                excuse.key(self.keys.window(kind, user)).key(self.keys.address_window(kind, counted.from));
            }
            excuse
                .arg(micros(limits.rate.window))
                .arg(limits.rate.events)
                .arg(limits.address_rate.events)
                .arg(self.event_name(counted.at))
                .arg(self.event_name(again_at))
                .invoke_async(redis)
                .await
        })
        .await
    }

    fn refund_in(
        &self,
        pipe: &mut redis::Pipeline,
        user: UserLabel,
        CountedAttempt { kind, from, at }: CountedAttempt,
    ) {
        let event = self.event_name(at);
        pipe.zrem(self.keys.window(kind, user), &event).ignore();
        pipe.zrem(self.keys.address_window(kind, from), &event).ignore();
    }

    /// What living cores answer of the session, or will; `None` where Redis is gone.
    pub async fn in_flight(&self, user: UserLabel) -> Option<InFlight> {
        self.query(async |redis, connection| {
            let (cores, claims) = (self.keys.cores(), self.keys.claims(user));
            IN_FLIGHT.key(cores).key(claims).arg(connection.core).invoke_async(redis).await
        })
        .await
        .map(InFlight)
    }

    /// Makes sure that Redis knows these events of `kind`: it may have been restarted empty.
    pub async fn restore_windows(
        &self,
        kind: WindowKind,
        of_people: &[(UserLabel, Instant)],
        of_addresses: &[(Household, Instant)],
    ) {
        let length = self.settings.limits.rate.window;
        let people = of_people.iter().map(|(user, at)| (self.keys.window(kind, *user), *at));
        let addresses = of_addresses.iter().map(|(from, at)| (self.keys.address_window(kind, *from), *at));
        let now = Instant::now();
        let events: Vec<_> = people.chain(addresses).collect();
        for events in events.chunks(RESTORE_BATCH) {
            self.query(async |redis, _| {
                let mut recall = RESTORE_WINDOWS.prepare_invoke();
                for (window, at) in events {
                    let ago = now.saturating_duration_since(*at);
                    recall.key(window).arg(self.event_name(*at)).arg(micros(ago)).arg(micros(length));
                }
                recall.invoke_async::<()>(redis).await
            })
            .await;
        }
    }

    /// What an event that happened here at `at` is called in the windows.
    fn event_name(&self, at: Instant) -> String {
        format!("{}:{}", self.process, at.saturating_duration_since(self.epoch).as_nanos())
    }
}

/// A claim of `core` as it stands among those of its session.
fn member(claim: Claim<'_>, core: CoreId) -> String {
    format!("{} {core} {}", claim.id, claim.number.0)
}

impl redis::ToRedisArgs for CoreId {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

impl redis::ToSingleRedisArg for CoreId {}
