//! Who answers which message, and who may send one: decided together by all cores.

use std::time::Duration;

use boot::Household;
use protocol::{MessageId, UserLabel};
use redis::pipe;
use tokio::time::Instant;

use super::scripts::{CLAIM, RECALL, UNDER_WAY};
use super::{CoreId, Shared, micros};

/// Events told to Redis in one go.
const RECALLED_AT_ONCE: usize = 512;

/// A message that somebody here wants to answer.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Whose message it is.
    pub user: UserLabel,
    /// The message.
    pub id: &'a MessageId,
    /// Where it came from and when, if it is to be counted.
    pub counted: Option<(Household, Instant)>,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours; `before` messages of the session come first, here or elsewhere.
    Ours {
        /// How many.
        before: usize,
    },
    /// A living core has it already.
    Held {
        /// It is this one.
        here: bool,
    },
    /// The person has as many under way as they may.
    Busy,
    /// The person or the address has sent too many.
    Limited {
        /// How long until one more fits.
        wait: Duration,
    },
}

/// Messages of a session that living cores answer or will, in the order they were claimed, and
/// whether this core does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay(Vec<(String, bool)>);

impl UnderWay {
    /// Whether somebody has this one.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.0.iter().any(|(claimed, _)| claimed == id.as_str())
    }

    /// Whether another core comes first: the one that claimed the first message answers all that it
    /// claimed, in its own order, before another begins. So nobody waits for each other in a circle.
    pub fn is_others_turn(&self) -> bool {
        self.0.iter().any(|(_, here)| *here) && self.0.first().is_some_and(|(_, here)| !here)
    }
}

impl Shared {
    /// Claims a message; `None` where Redis is gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped the message may or may not be claimed: to be given back.
    pub async fn claim(&self, claim: Claim<'_>) -> Option<Claimed> {
        let limits = self.settings.limits;
        let (address, event) = match claim.counted {
            Some((from, at)) => (self.keys.address_window(from), self.event_name(at)),
            None => (String::new(), String::new()),
        };
        let (verdict, number): (String, u64) = self
            .ask(async |redis, link| {
                CLAIM
                    .key(self.keys.cores())
                    .key(self.keys.claims(claim.user))
                    .key(self.keys.window(claim.user))
                    .key(address)
                    .arg(link.core)
                    .arg(link.previous)
                    .arg(claim.id.as_str())
                    .arg(limits.per_user_max)
                    .arg(micros(limits.rate.window))
                    .arg(limits.rate.events)
                    .arg(limits.address_rate.events)
                    .arg(event)
                    .invoke_async(redis)
                    .await
            })
            .await?;
        Some(match verdict.as_str() {
            "held" => Claimed::Held { here: number == 1 },
            "busy" => Claimed::Busy,
            "limited" => Claimed::Limited { wait: Duration::from_micros(number) },
            _ => Claimed::Ours { before: usize::try_from(number).unwrap_or(usize::MAX) },
        })
    }

    /// Gives back a claim whose message is answered, or will not be. `counted` says that it does
    /// not count either.
    pub async fn release(&self, claim: Claim<'_>) {
        self.ask(async |redis, link| {
            let mut pipe = pipe();
            pipe.zrem(self.keys.claims(claim.user), format!("{} {}", claim.id, link.core)).ignore();
            if let Some((from, at)) = claim.counted {
                self.uncount(&mut pipe, claim.user, from, at);
            }
            pipe.exec_async(redis).await
        })
        .await;
    }

    /// A message that was claimed and counted does not count: it was sent before.
    pub async fn forgive(&self, user: UserLabel, from: Household, at: Instant) {
        self.ask(async |redis, _| {
            let mut pipe = pipe();
            self.uncount(&mut pipe, user, from, at);
            pipe.exec_async(redis).await
        })
        .await;
    }

    fn uncount(&self, pipe: &mut redis::Pipeline, user: UserLabel, from: Household, at: Instant) {
        let event = self.event_name(at);
        pipe.zrem(self.keys.window(user), &event).ignore();
        pipe.zrem(self.keys.address_window(from), &event).ignore();
    }

    /// What living cores answer of the session, or will; `None` where Redis is gone.
    pub async fn under_way(&self, user: UserLabel) -> Option<UnderWay> {
        self.ask(async |redis, link| {
            let (cores, claims) = (self.keys.cores(), self.keys.claims(user));
            UNDER_WAY.key(cores).key(claims).arg(link.core).invoke_async(redis).await
        })
        .await
        .map(UnderWay)
    }

    /// Makes sure that Redis knows these events: it may have started anew.
    pub async fn recall(&self, of_people: &[(UserLabel, Instant)], of_addresses: &[(Household, Instant)]) {
        let limits = self.settings.limits;
        let people = of_people.iter().map(|(user, at)| (self.keys.window(*user), *at, limits.rate.window));
        let addresses =
            of_addresses.iter().map(|(from, at)| (self.keys.address_window(*from), *at, limits.address_rate.window));
        let now = Instant::now();
        let events: Vec<_> = people.chain(addresses).collect();
        for events in events.chunks(RECALLED_AT_ONCE) {
            self.ask(async |redis, _| {
                let mut recall = RECALL.prepare_invoke();
                for (window, at, length) in events {
                    let ago = now.saturating_duration_since(*at);
                    recall.key(window).arg(self.event_name(*at)).arg(micros(ago)).arg(micros(*length));
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

impl redis::ToRedisArgs for CoreId {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

impl redis::ToSingleRedisArg for CoreId {}
