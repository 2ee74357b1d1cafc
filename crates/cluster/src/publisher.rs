//! Ordered commands to Redis: subscriptions and published events.

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, pipe};

use crate::cluster_event::ClusterEvent;
use crate::command::Command;
use crate::member::Cluster;

impl Cluster {
    /// Sends `batch` in its order; adjacent commands of one kind share a round trip.
    pub(crate) async fn send_all(&self, redis: &mut MultiplexedConnection, batch: &[Command]) -> RedisResult<()> {
        for alike in batch.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
            match alike {
                [Command::Subscribe(_), ..] => redis.subscribe(self.channels(alike)).await?,
                [Command::Unsubscribe(_), ..] => redis.unsubscribe(self.channels(alike)).await?,
                _ => self.publish_batch(redis, alike).await?,
            }
        }
        Ok(())
    }

    fn channels(&self, batch: &[Command]) -> Vec<String> {
        let user = |commands: &Command| match commands {
            Command::Subscribe(user) | Command::Unsubscribe(user) | Command::Publish { user, .. } => *user,
        };
        batch.iter().map(|commands| self.keys.channel(user(commands))).collect()
    }

    async fn publish_batch(&self, redis: &mut MultiplexedConnection, batch: &[Command]) -> RedisResult<()> {
        let published: Vec<_> = batch
            .iter()
            .filter_map(|commands| match commands {
                Command::Publish { user, payload, revision } => Some((*user, payload, *revision)),
                Command::Subscribe(_) | Command::Unsubscribe(_) => None,
            })
            .collect();
        let mut pipe = pipe();
        for (user, payload, _) in &published {
            pipe.publish(self.keys.channel(*user), payload.as_slice());
        }
        let listeners: Vec<usize> = pipe.query_async(redis).await?;
        for ((user, _, revision), listeners) in published.into_iter().zip(listeners) {
            // The publisher is itself a subscriber.
            if listeners <= 1 {
                self.emit(ClusterEvent::NoSubscribers(user, revision));
            }
        }
        Ok(())
    }
}
