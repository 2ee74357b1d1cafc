//! Claims to messages and rate-limit windows, decided in Redis for all cores.

use std::sync::atomic::Ordering;
use std::time::Duration;

use limits::ClientSubnet;
use protocol::{MessageId, UserLabel};
use redis::pipe;
use tokio::time::Instant;

use crate::claim::{Claim, ClaimNumber, ClaimOutcome, CountedAttempt, InFlight, WindowKind};
use crate::core_id::CoreId;
use crate::member::{Cluster, micros};
use crate::scripts::{CLAIM, IN_FLIGHT, RECOUNT_AS_RETRY, RELEASE_STOPPED, RESTORE_WINDOWS};

/// Events restored by one script call.
const RESTORE_BATCH: usize = 512;
/// Maximum remembered stopped messages per person.
const MAX_STOPPED: usize = 1_000;
/// Lifetime of that memory: a day.
const STOPPED_TTL: Duration = Duration::from_secs(86_400);

impl Cluster {
    /// Returns the next claim number.
    pub fn next_claim(&self) -> ClaimNumber {
        ClaimNumber(self.claims_made.fetch_add(1, Ordering::Relaxed))
    }

    /// Claims a message and counts the attempt; `None` without Redis.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the message may be claimed: the caller must release it.
    pub async fn claim(&self, claim: Claim<'_>, counted: CountedAttempt) -> Option<ClaimOutcome> {
        let begins = match counted.kind {
            WindowKind::New => "new",
            WindowKind::Retry => "again",
        };
        self.claim_as(claim, begins, Some(counted)).await
    }

    /// Claims a message without counting it and without any limit; `None` without Redis.
    pub async fn claim_beyond_limits(&self, claim: Claim<'_>) -> Option<ClaimOutcome> {
        self.claim_as(claim, "beyond", None).await
    }

    /// Claims a message that is pending on this core again, under the identifier of the new connection.
    pub async fn reclaim(&self, claim: Claim<'_>) {
        // The outcome is ignored: the message is being answered already.
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

    /// Releases a claim whose attempt has ended, and refunds the attempt if it was `counted`.
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

    /// Releases a claim whose message the person stopped before it was answered. From then on every
    /// core counts a retry of it as a new message.
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

    /// Clears the mark of a stopped message, because a retry that counts as a new message has begun.
    pub async fn clear_stopped(&self, user: UserLabel, id: &MessageId) {
        self.query(async |redis, _| pipe().zrem(self.keys.stopped(user), id.as_str()).exec_async(redis).await).await;
    }

    /// Refunds a counted attempt that did not happen.
    pub async fn refund(&self, user: UserLabel, counted: CountedAttempt) {
        self.query(async |redis, _| {
            let mut pipe = pipe();
            self.refund_in(&mut pipe, user, counted);
            pipe.exec_async(redis).await
        })
        .await;
    }

    /// Moves an attempt from the windows of new messages to those of retries, as of `again_at`, if
    /// they have capacity. Returns whether it was moved; `None` without Redis.
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

    /// Returns the claimed messages of the session; `None` without Redis.
    pub async fn in_flight(&self, user: UserLabel) -> Option<InFlight> {
        self.query(async |redis, connection| {
            let (cores, claims) = (self.keys.cores(), self.keys.claims(user));
            IN_FLIGHT.key(cores).key(claims).arg(connection.core).invoke_async(redis).await
        })
        .await
        .map(InFlight)
    }

    /// Adds events of `kind` that Redis lacks: it may have restarted empty, and the limits must hold.
    /// Idempotent.
    pub async fn restore_windows(
        &self,
        kind: WindowKind,
        of_people: &[(UserLabel, Instant)],
        of_addresses: &[(ClientSubnet, Instant)],
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

    /// Name in the windows of this core's event at `at`.
    fn event_name(&self, at: Instant) -> String {
        format!("{}:{}", self.process, at.saturating_duration_since(self.epoch).as_nanos())
    }
}

/// Member of the session's sorted set of claims.
fn member(claim: Claim<'_>, core: CoreId) -> String {
    format!("{} {core} {}", claim.id, claim.number.0)
}
