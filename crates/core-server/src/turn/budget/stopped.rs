//! Messages whose last attempt the person stopped before there was an answer.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::{MessageId, UserLabel};

/// Capacity. An evicted message may be resent as a free retry, which the windows of retries bound.
const CAPACITY: usize = 16_384;

/// Bounded set; evicts the oldest message first.
#[derive(Debug, Default)]
pub(super) struct Stopped(Mutex<Messages>);

#[derive(Debug, Default)]
struct Messages {
    set: HashSet<(UserLabel, MessageId)>,
    by_age: VecDeque<(UserLabel, MessageId)>,
}

impl Stopped {
    pub(super) fn insert(&self, user: UserLabel, id: &MessageId) {
        let mut messages = self.lock();
        if !messages.set.insert((user, id.clone())) {
            return;
        }
        messages.by_age.push_back((user, id.clone()));
        if CAPACITY < messages.by_age.len()
            && let Some(oldest) = messages.by_age.pop_front()
        {
            messages.set.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, user: UserLabel, id: &MessageId) {
        let message = (user, id.clone());
        let mut messages = self.lock();
        if messages.set.remove(&message) {
            messages.by_age.retain(|other| *other != message);
        }
    }

    pub(super) fn contains(&self, user: UserLabel, id: &MessageId) -> bool {
        self.lock().set.contains(&(user, id.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_newest_within_capacity() {
        let stopped = Stopped::default();
        let id: MessageId = "m".parse().unwrap();
        let user = |number: usize| UserLabel(number as u64);
        for number in 0..=CAPACITY {
            stopped.insert(user(number), &id);
            stopped.insert(user(number), &id);
        }
        assert!(!stopped.contains(user(0), &id) && stopped.contains(user(1), &id));
        assert!(stopped.contains(user(CAPACITY), &id));
        stopped.remove(user(1), &id);
        assert!(!stopped.contains(user(1), &id));
        let messages = stopped.lock();
        assert_eq!((messages.set.len(), messages.by_age.len()), (CAPACITY - 1, CAPACITY - 1));
    }
}
