//! Reminders after long use without a pause. Callers pass the time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::UserLabel;

/// Use after which the person is reminded that no person answers (New York's General Business Law, article 47).
const REMIND_AFTER: Duration = Duration::from_secs(3 * 3_600);
/// Time without a message after which use counts from 0 again.
const PAUSE: Duration = Duration::from_secs(15 * 60);
/// Entries before the first removal of users who have paused.
const FIRST_CLEANUP: usize = 1_024;

/// Use by one person.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// Its beginning, or the last reminder.
    since: Instant,
    last: Instant,
}

impl Use {
    /// Returns the time of the next reminder; `None` if the person will have paused by then unless they write again.
    fn due(&self) -> Option<Instant> {
        let due = self.since + REMIND_AFTER;
        (due < self.last + PAUSE).then_some(due)
    }
}

/// Use by every person of this core. A lost connection does not reset it.
#[derive(Debug)]
pub struct ContinuousUse(Mutex<Uses>);

#[derive(Debug)]
struct Uses {
    by_person: HashMap<UserLabel, Use>,
    /// Size at which users who have paused are removed next. Doubles with the map, so that `note` costs O(1) amortized.
    next_cleanup: usize,
}

impl Default for ContinuousUse {
    fn default() -> Self {
        Self(Mutex::new(Uses { by_person: HashMap::new(), next_cleanup: FIRST_CLEANUP }))
    }
}

impl ContinuousUse {
    /// Records use by `user` at `now`. Returns the time of the next reminder.
    pub fn note(&self, user: UserLabel, now: Instant) -> Option<Instant> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.next_cleanup <= uses.by_person.len() {
            uses.by_person.retain(|_, it| now < it.last + PAUSE);
            uses.next_cleanup = FIRST_CLEANUP.max(2 * uses.by_person.len());
        }
        let it = uses.by_person.entry(user).or_insert(Use { since: now, last: now });
        if it.last + PAUSE <= now {
            it.since = now;
        }
        it.last = now;
        it.due()
    }

    /// Returns true if a reminder is due at `now`, which then counts as given, and the time of the next one.
    pub fn remind(&self, user: UserLabel, now: Instant) -> (bool, Option<Instant>) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(it) = uses.by_person.get_mut(&user) else { return (false, None) };
        let is_due = it.due().is_some_and(|due| due <= now);
        if is_due {
            it.since = now;
        }
        (is_due, it.due())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserLabel = UserLabel(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Returns the minutes of the reminders, driven by a timer, for messages at `minutes`.
    fn reminders(minutes: &[u32]) -> Vec<u32> {
        let (uses, begin) = (ContinuousUse::default(), Instant::now());
        let (mut due, mut given) = (None, Vec::new());
        for minute in 0..=*minutes.last().unwrap() + 20 {
            let now = begin + minute * MINUTE;
            if due.is_some_and(|due| due <= now) {
                let reminded;
                (reminded, due) = uses.remind(USER, now);
                given.extend(reminded.then_some(minute));
            }
            if minutes.contains(&minute) {
                due = uses.note(USER, now);
            }
        }
        given
    }

    #[test]
    fn reminds_after_three_hours_without_pause() {
        let every = |step: usize, until: u32| (0..=until).step_by(step).collect::<Vec<_>>();
        assert_eq!(reminders(&every(14, 179)), [180], "the last message was 12 minutes before");
        assert_eq!(reminders(&every(10, 370)), [180, 360]);
        assert_eq!(reminders(&every(15, 600)), [0; 0], "each pause is long enough");
        assert_eq!(reminders(&[every(10, 160), every(10, 700).split_off(18)].concat()), [360, 540]);
        assert_eq!(reminders(&[0]), [0; 0]);
    }

    #[test]
    fn reminds_once_for_several_connections() {
        let (uses, begin) = (ContinuousUse::default(), Instant::now());
        let mut due = None;
        for minute in (0..=179).step_by(10) {
            due = uses.note(USER, begin + minute * MINUTE);
        }
        let due = due.unwrap();
        assert_eq!(due, begin + REMIND_AFTER);
        assert!(!uses.remind(USER, due - MINUTE).0);
        assert!(uses.remind(USER, due).0);
        assert_eq!(uses.remind(USER, due), (false, None));
        assert!(!uses.remind(UserLabel(2), due).0);
    }

    #[test]
    fn removes_paused_users() {
        let (uses, begin) = (ContinuousUse::default(), Instant::now());
        for user in 0..FIRST_CLEANUP as u64 {
            uses.note(UserLabel(user), begin);
        }
        uses.note(UserLabel(9_999), begin + PAUSE);
        assert_eq!(uses.0.lock().unwrap().by_person.len(), 1);
    }
}
