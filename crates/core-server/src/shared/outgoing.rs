//! What is told to the other cores, in order.

use protocol::UserLabel;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, pipe};

use super::{Heard, Shared};

/// Something for Redis that nobody waits for.
#[derive(Debug)]
pub(super) enum Outgoing {
    Join(UserLabel),
    Leave(UserLabel),
    Tell { user: UserLabel, payload: Vec<u8>, note: u64 },
}

impl Shared {
    /// Sends a batch: what belongs together goes in one round trip.
    pub(super) async fn send_all(&self, redis: &mut MultiplexedConnection, batch: &[Outgoing]) -> RedisResult<()> {
        for alike in batch.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
            match alike {
                [Outgoing::Join(_), ..] => redis.subscribe(self.channels(alike)).await?,
                [Outgoing::Leave(_), ..] => redis.unsubscribe(self.channels(alike)).await?,
                _ => self.publish(redis, alike).await?,
            }
        }
        Ok(())
    }

    fn channels(&self, batch: &[Outgoing]) -> Vec<String> {
        let user = |outgoing: &Outgoing| match outgoing {
            Outgoing::Join(user) | Outgoing::Leave(user) | Outgoing::Tell { user, .. } => *user,
        };
        batch.iter().map(|outgoing| self.keys.channel(user(outgoing))).collect()
    }

    async fn publish(&self, redis: &mut MultiplexedConnection, batch: &[Outgoing]) -> RedisResult<()> {
        let told: Vec<_> = batch
            .iter()
            .filter_map(|outgoing| match outgoing {
                Outgoing::Tell { user, payload, note } => Some((*user, payload, *note)),
                Outgoing::Join(_) | Outgoing::Leave(_) => None,
            })
            .collect();
        let mut pipe = pipe();
        for (user, payload, _) in &told {
            pipe.publish(self.keys.channel(*user), payload.as_slice());
        }
        let listeners: Vec<usize> = pipe.query_async(redis).await?;
        for ((user, _, note), listeners) in told.into_iter().zip(listeners) {
            // We listen ourselves.
            if listeners <= 1 {
                self.hear(Heard::Alone(user, note));
            }
        }
        Ok(())
    }
}
