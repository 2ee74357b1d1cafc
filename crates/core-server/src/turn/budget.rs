//! The one gate to calls of the model: rate windows, queue, and claim.
//!
//! An attempt to answer a message is *new*, and counts in the windows of its person and its address; or it is a
//! *retry*: the message is stored and has lost its answer. If the person stopped it, the next attempt counts as new.
//! Otherwise a retry is free: it counts in separate windows, as large as those of new messages, and only if it calls
//! the model. So the calls of a person or an address within a window are at most twice the limit, for any behaviour
//! of clients and any number of core failures; without a fault of the server they are at most the limit. The limits
//! of a person's messages in flight and of the queue apply to all attempts.
//!
//! Cores count together in Redis, and each of them locally as well: its own counts apply while Redis is unavailable.

mod stopped;
mod windows;

use std::sync::Arc;

use cluster::{Claim, ClaimNumber, ClaimOutcome, Cluster, CountedAttempt, WindowKind};
use limits::{ClientSubnet, ConcurrencyLimiter, PermitReservation, RateLimit};
use protocol::{MessageId, UserLabel};
use session::{AnswerOwner, Grant, MessageRejection};
use tokio::time::Instant;

use super::overloaded;
use stopped::Stopped;
use windows::{Limits, Reservation, Windows};

#[derive(Debug, Clone, Copy)]
pub struct BudgetSettings {
    /// Messages of a person per window.
    pub rate: RateLimit,
    /// Messages of an address per window.
    pub address_rate: RateLimit,
}

/// Admits answers within the limits.
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    new: Arc<Windows>,
    retry: Arc<Windows>,
    stopped: Stopped,
    slots: Arc<ConcurrencyLimiter>,
    cluster: Option<Arc<Cluster>>,
}

/// An attempt to answer a message.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Person who wrote it.
    pub user: UserLabel,
    pub id: &'a MessageId,
    /// Client subnet, for the limits per address.
    pub from: ClientSubnet,
    /// The person has the most messages in flight here.
    pub is_busy: bool,
    /// Its answer needs a model slot; the companion's needs none, and no queue.
    pub needs_slot: bool,
    /// The person is in risk: beyond the limits the companion answers.
    pub in_risk: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    New,
    /// A stored message that lost its answer through no fault of the person.
    Retry,
}

/// Permit to begin an answer. It is committed, or returned with [`Budget::cancel`].
#[derive(Debug)]
pub struct Permit {
    /// Other messages of the session, perhaps on other cores, are answered first.
    pub is_behind_others: bool,
    /// Reservation of a model slot; `None` if the answer needs none.
    pub slot_reservation: Option<PermitReservation>,
    pub claim: Option<ClaimNumber>,
    /// The person stopped the last attempt.
    was_stopped: bool,
    kind: WindowKind,
    /// Place in the windows; `None` once it is committed.
    reservation: Option<Reservation>,
    scope: PermitScope,
}

/// Answers that a permit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PermitScope {
    /// A call to the model.
    Model,
    /// An answer of the companion, beyond the limits: it costs no model call, and is not counted.
    Companion,
}

impl Permit {
    pub fn may_call_model(&self) -> bool {
        self.scope == PermitScope::Model
    }

    /// Returns its conditions.
    pub fn grant(&self) -> Grant {
        let is_beyond_limits = self.scope == PermitScope::Companion;
        Grant { is_behind_others: self.is_behind_others, is_beyond_limits }
    }
}

impl Budget {
    /// Creates a budget with empty windows.
    pub fn new(settings: BudgetSettings, slots: Arc<ConcurrencyLimiter>, cluster: Option<Arc<Cluster>>) -> Self {
        let limits = Limits { person: settings.rate, address: settings.address_rate };
        Self {
            settings,
            new: Windows::new(limits),
            retry: Windows::new(limits),
            stopped: Stopped::default(),
            slots,
            cluster,
        }
    }

    /// Returns the rate limit of a person.
    pub fn rate(&self) -> RateLimit {
        self.settings.rate
    }

    /// Begins an answer: counts it, reserves a slot and claims the message. Beyond the limits, a person in risk gets a
    /// permit for the companion only: risk words must not buy calls to the model.
    ///
    /// # Errors
    ///
    /// A [`MessageRejection`]; nothing is counted or claimed.
    pub async fn begin(
        &self,
        attempt: Attempt<'_>,
        kind: AttemptKind,
    ) -> Result<AnswerOwner<Permit>, MessageRejection> {
        match self.begin_within_limits(attempt, kind).await {
            Err(rejection) if attempt.in_risk && rejection.is_limit() => self.begin_beyond_limits(attempt).await,
            begun => begun,
        }
    }

    /// Claims the message for the companion's answer.
    async fn begin_beyond_limits(
        &self,
        Attempt { user, id, .. }: Attempt<'_>,
    ) -> Result<AnswerOwner<Permit>, MessageRejection> {
        let claim = self.cluster.as_ref().map(|cluster| cluster.next_claim());
        let claimed = match (&self.cluster, claim) {
            (Some(cluster), Some(number)) => cluster.claim_beyond_limits(Claim { user, id, number }).await,
            _ => None,
        };
        let is_behind_others = match claimed {
            Some(ClaimOutcome::Held) => return Ok(AnswerOwner::OtherCore),
            Some(ClaimOutcome::Granted { before, .. }) => 0 < before,
            _ => false,
        };
        let (kind, scope) = (WindowKind::New, PermitScope::Companion);
        Ok(AnswerOwner::ThisCore(Permit {
            is_behind_others,
            slot_reservation: None,
            claim,
            was_stopped: false,
            kind,
            reservation: None,
            scope,
        }))
    }

    async fn begin_within_limits(
        &self,
        attempt: Attempt<'_>,
        attempt_kind: AttemptKind,
    ) -> Result<AnswerOwner<Permit>, MessageRejection> {
        let Attempt { user, id, from, is_busy, needs_slot, in_risk: _ } = attempt;
        let (kind, windows) = match attempt_kind {
            AttemptKind::New => (WindowKind::New, &self.new),
            AttemptKind::Retry => (WindowKind::Retry, &self.retry),
        };
        let was_stopped = self.stopped.contains(user, id);
        if was_stopped && attempt_kind == AttemptKind::Retry {
            return Err(MessageRejection::abandoned());
        }
        let reservation = windows.reserve(self.limits_in_force(), user, from).map_err(MessageRejection::limited)?;
        if is_busy {
            return Err(MessageRejection::busy());
        }
        let slot_reservation = needs_slot.then(|| self.slots.reserve()).transpose().map_err(overloaded)?;
        let claim = self.cluster.as_ref().map(|cluster| cluster.next_claim());
        let counted = CountedAttempt { kind, from, at: reservation.at };
        let claimed = match (&self.cluster, claim) {
            (Some(cluster), Some(number)) => cluster.claim(Claim { user, id, number }, counted).await,
            _ => None,
        };
        let (is_behind_others, was_stopped) = match claimed {
            None => (false, was_stopped),
            Some(ClaimOutcome::Granted { before, was_stopped: there }) => (0 < before, was_stopped || there),
            Some(ClaimOutcome::Held) => return Ok(AnswerOwner::OtherCore),
            Some(ClaimOutcome::Stopped) => return Err(MessageRejection::abandoned()),
            Some(ClaimOutcome::Busy) => return Err(MessageRejection::busy()),
            Some(ClaimOutcome::RateLimited { wait }) => return Err(MessageRejection::limited(wait)),
        };
        let (reservation, scope) = (Some(reservation), PermitScope::Model);
        Ok(AnswerOwner::ThisCore(Permit {
            is_behind_others,
            slot_reservation,
            claim,
            was_stopped,
            kind,
            reservation,
            scope,
        }))
    }

    /// Returns true if another core holds the claim to the message.
    pub async fn is_held_remotely(&self, user: UserLabel, id: &MessageId) -> bool {
        let Some(cluster) = &self.cluster else { return false };
        cluster.in_flight(user).await.is_some_and(|in_flight| in_flight.is_held_remotely(id))
    }

    /// Commits the counts of a `permit`, as the kind that it was begun as.
    pub async fn commit(&self, user: UserLabel, id: &MessageId, permit: &mut Permit) {
        if let Some(reservation) = permit.reservation.take() {
            reservation.keep();
        }
        if std::mem::take(&mut permit.was_stopped) {
            self.stopped.remove(user, id);
            if let Some(cluster) = &self.cluster {
                cluster.clear_stopped(user, id).await;
            }
        }
    }

    /// Converts a `permit` of a new message into a free retry, because the message was stored before. Commits it as new
    /// if the person stopped the last attempt, or the windows of retries are full.
    pub async fn recount_as_retry(&self, user: UserLabel, id: &MessageId, permit: &mut Permit) {
        let free = match &permit.reservation {
            Some(counted) if !permit.was_stopped => self.reserve_retry(user, counted).await,
            _ => None,
        };
        match free {
            Some(free) => (permit.reservation, permit.kind) = (Some(free), WindowKind::Retry),
            None => self.commit(user, id, permit).await,
        }
    }

    /// Reserves a retry in place of an attempt `counted` as new.
    async fn reserve_retry(&self, user: UserLabel, counted: &Reservation) -> Option<Reservation> {
        let free = self.retry.reserve(self.limits_in_force(), user, counted.from).ok()?;
        let counted = CountedAttempt { kind: WindowKind::New, from: counted.from, at: counted.at };
        let excused = match &self.cluster {
            Some(cluster) => cluster.recount_as_retry(user, counted, free.at).await,
            None => None,
        };
        // Without Redis the local windows decide.
        excused.unwrap_or(true).then_some(free)
    }

    /// Returns a permit whose answer is not begun: releases the claim and refunds the counts.
    pub async fn cancel(&self, user: UserLabel, id: &MessageId, permit: Permit) {
        let Permit { claim, kind, reservation, .. } = permit;
        if let (Some(cluster), Some(number)) = (&self.cluster, claim) {
            let counted = reservation.as_ref().map(|it| CountedAttempt { kind, from: it.from, at: it.at });
            cluster.release(Claim { user, id, number }, counted).await;
        }
    }

    /// Ends the attempt of `permit`. A retry that `called` no model is refunded.
    pub async fn settle(&self, user: UserLabel, permit: Permit, called: bool) {
        let Permit { kind, reservation: Some(reservation), .. } = permit else { return };
        if called {
            return reservation.keep();
        }
        let counted = CountedAttempt { kind, from: reservation.from, at: reservation.at };
        drop(reservation);
        if let Some(cluster) = &self.cluster {
            cluster.refund(user, counted).await;
        }
    }

    /// Records that the person stopped the message before it had an answer: the next attempt counts as new. Other cores
    /// know after [`Budget::release`].
    pub fn note_stopped(&self, user: UserLabel, id: &MessageId) {
        self.stopped.insert(user, id);
    }

    /// Releases the claim to a message that has its answer, or gets none from this attempt. `is_stopped`: the person
    /// stopped it.
    pub async fn release(&self, user: UserLabel, id: &MessageId, claim: Option<ClaimNumber>, is_stopped: bool) {
        let (Some(cluster), Some(number)) = (&self.cluster, claim) else { return };
        let claim = Claim { user, id, number };
        if is_stopped {
            cluster.release_stopped(claim).await;
        } else {
            cluster.release(claim, None).await;
        }
    }

    /// Claims a message in flight again, after a reconnect to Redis.
    pub async fn reclaim(&self, user: UserLabel, id: &MessageId, claim: Option<ClaimNumber>) {
        if let (Some(cluster), Some(number)) = (&self.cluster, claim) {
            cluster.reclaim(Claim { user, id, number }).await;
        }
    }

    /// Restores the local windows in Redis, which may have been restarted empty.
    pub async fn restore_windows(&self) {
        let Some(cluster) = &self.cluster else { return };
        let now = Instant::now();
        for (kind, windows) in [(WindowKind::New, &self.new), (WindowKind::Retry, &self.retry)] {
            cluster.restore_windows(kind, &windows.person.events(now), &windows.address.events(now)).await;
        }
    }

    /// Returns the full limits while the cores count together, else this core's share.
    fn limits_in_force(&self) -> Limits {
        let part = |limit| self.cluster.as_ref().map_or(limit, |cluster| cluster.effective_limit(limit));
        Limits { person: part(self.settings.rate), address: part(self.settings.address_rate) }
    }
}

#[cfg(test)]
mod tests;
