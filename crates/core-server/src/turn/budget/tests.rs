//! Attempts that count, free retries, and refunds.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use protocol::ErrorCode;

use super::*;

const WINDOW: Duration = Duration::from_secs(60);
const PERSON: usize = 2;
const ADDRESS: usize = 5;
const ALICE: UserLabel = UserLabel(1);

fn budget(queue_max: usize) -> Budget {
    let limit = |events| RateLimit { events, window: WINDOW };
    let settings = BudgetSettings { rate: limit(PERSON), address_rate: limit(ADDRESS) };
    Budget::new(settings, ConcurrencyLimiter::new(1, queue_max, Duration::from_secs(30)), None)
}

fn id(name: &str) -> MessageId {
    name.parse().unwrap()
}

fn subnet(number: u8) -> ClientSubnet {
    ClientSubnet::of(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number)))
}

async fn begin(budget: &Budget, user: UserLabel, name: &str, kind: AttemptKind) -> Result<Permit, ErrorCode> {
    let attempt = Attempt { user, id: &id(name), from: subnet(1), is_busy: false, needs_slot: true, in_risk: false };
    match budget.begin(attempt, kind).await {
        Ok(AnswerOwner::ThisCore(permit)) => Ok(permit),
        Ok(AnswerOwner::OtherCore) => panic!("there is no other core"),
        Err(rejection) => Err(rejection.code),
    }
}

/// Begins and commits an answer; returns the code of a rejection.
async fn count(budget: &Budget, user: UserLabel, name: &str) -> Result<(), ErrorCode> {
    let mut permit = begin(budget, user, name, AttemptKind::New).await?;
    budget.commit(user, &id(name), &mut permit).await;
    budget.settle(user, permit, true).await;
    Ok(())
}

/// Resends a message that is stored without an answer; returns true if the attempt was free.
async fn repeat(budget: &Budget, user: UserLabel, name: &str, called: bool) -> Result<bool, ErrorCode> {
    let mut permit = begin(budget, user, name, AttemptKind::New).await?;
    budget.recount_as_retry(user, &id(name), &mut permit).await;
    let is_free = permit.kind == WindowKind::Retry;
    budget.settle(user, permit, called).await;
    Ok(is_free)
}

#[tokio::test(start_paused = true)]
async fn reserve_is_atomic() {
    let budget = budget(100);
    let mut permits = Vec::new();
    for user in 1..=10 {
        permits.extend(begin(&budget, UserLabel(user), "m", AttemptKind::New).await.ok());
    }
    assert_eq!(permits.len(), ADDRESS, "none of them is stored yet");
    budget.cancel(ALICE, &id("m"), permits.pop().unwrap()).await;
    drop(permits.pop());
    for (user, want) in [(11, Ok(())), (12, Ok(())), (13, Err(ErrorCode::RateLimited))] {
        assert_eq!(count(&budget, UserLabel(user), "m").await, want, "{user}");
    }
    // A rejection by the address's window does not count in the person's.
    tokio::time::advance(WINDOW).await;
    drop(permits);
    for want in [Ok(()), Ok(()), Err(ErrorCode::RateLimited)] {
        assert_eq!(count(&budget, UserLabel(13), "m").await, want);
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_attempt_is_not_counted() {
    let budget = budget(0);
    let attempt =
        Attempt { user: ALICE, id: &id("m"), from: subnet(1), is_busy: true, needs_slot: true, in_risk: false };
    for _ in 0..=PERSON {
        let rejected = budget.begin(attempt, AttemptKind::New).await;
        assert!(matches!(rejected, Err(MessageRejection { code: ErrorCode::UserBusy, .. })), "{rejected:?}");
    }
    let held = begin(&budget, UserLabel(2), "m", AttemptKind::New).await.unwrap();
    for kind in [
        AttemptKind::New,
        AttemptKind::New,
        AttemptKind::New,
        AttemptKind::Retry,
        AttemptKind::Retry,
        AttemptKind::Retry,
    ] {
        assert_eq!(begin(&budget, ALICE, "m", kind).await.err(), Some(ErrorCode::Overloaded));
    }
    drop(held);
    assert_eq!(count(&budget, ALICE, "m").await, Ok(()));
    assert_eq!(repeat(&budget, ALICE, "m", true).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn stopped_message_counts_again_once() {
    let budget = budget(100);
    assert_eq!(count(&budget, ALICE, "m").await, Ok(()));
    budget.note_stopped(ALICE, &id("m"));
    assert_eq!(begin(&budget, ALICE, "m", AttemptKind::Retry).await.err(), Some(ErrorCode::Unavailable));
    assert_eq!(repeat(&budget, ALICE, "m", true).await, Ok(false));
    assert_eq!(count(&budget, ALICE, "other").await, Err(ErrorCode::RateLimited));
    // That attempt ended for another reason.
    assert!(begin(&budget, ALICE, "m", AttemptKind::Retry).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn retries_have_their_own_windows_and_count_if_they_call_the_model() {
    let budget = budget(100);
    for _ in 0..3 * ADDRESS {
        assert_eq!(repeat(&budget, ALICE, "m", false).await, Ok(true));
    }
    for _ in 0..PERSON {
        assert_eq!(repeat(&budget, ALICE, "m", true).await, Ok(true));
    }
    // Beyond their window retries count as new, and are rejected like new ones.
    for want in [Ok(false), Ok(false), Err(ErrorCode::RateLimited)] {
        assert_eq!(repeat(&budget, ALICE, "m", true).await, want);
    }
    assert_eq!(begin(&budget, ALICE, "m", AttemptKind::Retry).await.err(), Some(ErrorCode::RateLimited));
    tokio::time::advance(WINDOW).await;
    assert_eq!(repeat(&budget, ALICE, "m", true).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn high_risk_beyond_limits_gets_an_uncounted_companion_answer() {
    let begin_in_risk = async |budget: &Budget, is_busy: bool| {
        let attempt = Attempt { user: ALICE, id: &id("m"), from: subnet(1), is_busy, needs_slot: true, in_risk: true };
        match budget.begin(attempt, AttemptKind::New).await.unwrap() {
            AnswerOwner::ThisCore(permit) => permit,
            AnswerOwner::OtherCore => panic!("there is no other core"),
        }
    };
    let budget = budget(0);
    // Within the limits it is like any other.
    let mut permit = begin_in_risk(&budget, false).await;
    assert!(permit.may_call_model() && !permit.grant().is_beyond_limits);
    budget.commit(ALICE, &id("m"), &mut permit).await;
    // The slot is taken, the person has messages pending, then the window is full.
    for is_busy in [false, true] {
        assert!(begin_in_risk(&budget, is_busy).await.grant().is_beyond_limits);
    }
    drop(permit);
    while count(&budget, ALICE, "m").await.is_ok() {}
    for _ in 0..3 * PERSON {
        let mut permit = begin_in_risk(&budget, false).await;
        assert!(permit.grant().is_beyond_limits && !permit.may_call_model() && permit.slot_reservation.is_none());
        budget.commit(ALICE, &id("m"), &mut permit).await;
        budget.settle(ALICE, permit, false).await;
    }
    // None of it counts later.
    tokio::time::advance(WINDOW).await;
    for want in [Ok(()), Ok(()), Err(ErrorCode::RateLimited)] {
        assert_eq!(count(&budget, ALICE, "m").await, want);
    }
}
