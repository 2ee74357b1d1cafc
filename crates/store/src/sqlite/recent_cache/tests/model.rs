//! Random interleavings of commits, cache updates and reads, checked against a model.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Sessions of a run.
const SESSIONS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Append {
        user: usize,
        letters: usize,
    },
    Summarize {
        user: usize,
        last: u64,
    },
    Erase {
        user: usize,
    },
    Prune {
        count: usize,
    },
    /// An append with an unknown outcome, or by another process.
    Unknown {
        user: usize,
        happened: bool,
    },
    /// The writer updates the cache for the oldest pending commit.
    UpdateCache,
    Request {
        user: usize,
        limit: usize,
    },
    /// A read runs its next query: the entries first, then the summary.
    Query {
        read: usize,
    },
    Finish {
        read: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..SESSIONS;
    prop_oneof![
        4 => (user(), 0..80_usize).prop_map(|(user, letters)| Step::Append { user, letters }),
        2 => (user(), 0..9_u64).prop_map(|(user, last)| Step::Summarize { user, last }),
        1 => user().prop_map(|user| Step::Erase { user }),
        1 => (0..3_usize).prop_map(|count| Step::Prune { count }),
        1 => (user(), any::<bool>()).prop_map(|(user, happened)| Step::Unknown { user, happened }),
        7 => Just(Step::UpdateCache),
        4 => (user(), 0..6_usize).prop_map(|(user, limit)| Step::Request { user, limit }),
        14 => (0..4_usize).prop_map(|read| Step::Query { read }),
        5 => (0..4_usize).prop_map(|read| Step::Finish { read }),
    ]
}

/// Session in the database; `None` once it is erased.
type State = Option<Session>;

#[derive(Debug, Clone, Default, PartialEq)]
struct Session {
    seq: u64,
    entries: Vec<Entry>,
    summary: Option<Summary>,
}

enum CacheUpdate {
    Appended(usize, Entry),
    Summarized(usize, Summary),
    Erased(usize),
    /// A removal by retention, or an unknown outcome.
    Clear,
    None,
}

struct Read<'a> {
    user: usize,
    limit: usize,
    pending: PendingRead<'a>,
    entries: Option<Vec<Entry>>,
    summary: Option<Option<Summary>>,
}

struct Model<'a> {
    cache: &'a RecentHistoryCache,
    /// Snapshot of the sessions after each commit.
    states: Vec<[State; SESSIONS]>,
    /// Pending cache updates; the last belongs to the last of `states`.
    pending: VecDeque<CacheUpdate>,
    reads: Vec<Read<'a>>,
}

fn label(user: usize) -> UserLabel {
    UserLabel(user as u64)
}

fn last_of(entries: &[Entry], limit: usize) -> Vec<Entry> {
    entries[entries.len().saturating_sub(limit)..].to_vec()
}

impl Session {
    fn append(&mut self, letters: usize) -> Entry {
        self.seq += 1;
        let text = UserText::new("x".repeat(letters));
        let appended = Entry { text, ..entry(self.seq) };
        self.entries.push(appended.clone());
        appended
    }

    fn set_summary(&mut self, last: u64) -> Option<Summary> {
        let first = self.entries.first()?.seq;
        let further = self.summary.as_ref().is_none_or(|known| known.last < last);
        let made = (first <= last && last <= self.seq && further).then(|| Summary { first, ..summary(last) });
        self.summary = made.clone().or(self.summary.take());
        made
    }

    fn prune(&mut self, count: usize) {
        self.entries.drain(..count.min(self.entries.len()));
        let first = self.entries.first().map_or(self.seq + 1, |first| first.seq);
        self.summary.take_if(|summary| summary.first < first);
    }
}

impl Model<'_> {
    fn now(&self) -> [State; SESSIONS] {
        self.states.last().unwrap().clone()
    }

    /// Snapshots of a session since the last commit that the cache has applied.
    fn window(&self, user: usize) -> impl Iterator<Item = &State> {
        let noted = self.states.len() - 1 - self.pending.len();
        self.states[noted..].iter().map(move |states| &states[user])
    }

    fn commit(&mut self, states: [State; SESSIONS], update: CacheUpdate) {
        self.states.push(states);
        self.pending.push_back(update);
    }

    /// Commits a change of a session, if it exists.
    fn change<T>(
        &mut self,
        user: usize,
        change: impl FnOnce(&mut Session) -> T,
        update: impl FnOnce(T) -> CacheUpdate,
    ) {
        let mut states = self.now();
        if let Some(session) = &mut states[user] {
            let made = change(session);
            self.commit(states, update(made));
        }
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Append { user, letters } => {
                self.change(user, |session| session.append(letters), |entry| CacheUpdate::Appended(user, entry));
            }
            Step::Summarize { user, last } => {
                let update =
                    |made: Option<_>| made.map_or(CacheUpdate::None, |summary| CacheUpdate::Summarized(user, summary));
                self.change(user, |session| session.set_summary(last), update);
            }
            Step::Erase { user } => {
                let mut states = self.now();
                states[user] = None;
                self.commit(states, CacheUpdate::Erased(user));
            }
            Step::Prune { count } => {
                let mut states = self.now();
                states.iter_mut().flatten().for_each(|session| session.prune(count));
                self.commit(states, CacheUpdate::Clear);
            }
            Step::Unknown { user, happened } => {
                let append = |session: &mut Session| happened.then(|| session.append(9));
                self.change(user, append, |_| CacheUpdate::Clear);
            }
            Step::UpdateCache => self.update_cache(),
            Step::Request { user, limit } => self.request(user, limit)?,
            Step::Query { read } => self.query(read),
            Step::Finish { read } => {
                if let Some(read) = read.checked_rem(self.reads.len()) {
                    self.reads.remove(read).finish();
                }
            }
        }
        Ok(())
    }

    fn update_cache(&mut self) {
        match self.pending.pop_front() {
            Some(CacheUpdate::Appended(user, entry)) => self.cache.appended(label(user), &entry),
            Some(CacheUpdate::Summarized(user, summary)) => self.cache.summarized_up_to(label(user), &summary),
            Some(CacheUpdate::Erased(user)) => self.cache.evict(label(user)),
            Some(CacheUpdate::Clear) => self.cache.clear(),
            Some(CacheUpdate::None) | None => {}
        }
    }

    fn request(&mut self, user: usize, limit: usize) -> Result<(), TestCaseError> {
        if let Some(recent) = self.cache.recent(label(user), limit) {
            return self.check(user, limit, recent);
        }
        let read = self.cache.begin_read(label(user));
        self.reads.push(Read { user, limit, pending: read, entries: None, summary: None });
        Ok(())
    }

    /// Two queries read the database, and a commit may happen between them.
    fn query(&mut self, read: usize) {
        let Some(read) = read.checked_rem(self.reads.len()) else { return };
        let states = self.now();
        let read = &mut self.reads[read];
        match &states[read.user] {
            Some(session) if read.entries.is_none() => read.entries = Some(last_of(&session.entries, read.limit)),
            state => read.summary = Some(state.as_ref().and_then(|session| session.summary.clone())),
        }
    }

    /// Cached history equals a snapshot since the last applied commit.
    fn check(&self, user: usize, limit: usize, recent: Recent) -> Result<(), TestCaseError> {
        let mut sessions = self.window(user).flatten();
        let entries = sessions.any(|session| last_of(&session.entries, limit) == recent.entries);
        prop_assert!(entries, "entries {:?}", recent.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>());
        let summary_of = |state: &State| state.as_ref().and_then(|session| session.summary.clone());
        let summary = self.window(user).any(|state| summary_of(state) == recent.summary);
        prop_assert!(summary, "summary {:?}", recent.summary);
        Ok(())
    }

    /// Invariants: the byte count is exact, and no erased session is cached.
    fn check_all(&self) -> Result<(), TestCaseError> {
        for user in 0..SESSIONS {
            let erased = self.window(user).all(Option::is_none);
            prop_assert!(!erased || !holds(self.cache, label(user)), "session {} is erased", user);
            for limit in 0..6 {
                // `peek` does not change the LRU order.
                let there = self.cache.state().by_user.peek(&label(user)).and_then(|tail| tail.recent(limit));
                there.map_or(Ok(()), |recent| self.check(user, limit, recent))?;
            }
        }
        let state = self.cache.state();
        prop_assert_eq!(state.bytes, state.by_user.iter().map(|(_, tail)| tail.bytes()).sum::<usize>());
        prop_assert!(state.bytes <= self.cache.max_bytes);
        prop_assert!(state.reads.len() <= self.reads.len());
        Ok(())
    }
}

impl Read<'_> {
    fn finish(self) {
        if let (Some(entries), Some(summary)) = (self.entries, self.summary) {
            self.pending.store(&Recent { summary, entries }, self.limit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cache_matches_model(
        max_bytes in 500..20_000_usize,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let cache = RecentHistoryCache::new(max_bytes);
        let states = vec![std::array::from_fn(|_| Some(Session::default()))];
        let mut model = Model { cache: &cache, states, pending: VecDeque::new(), reads: Vec::new() };
        for (number, step) in (1..).zip(&steps) {
            let held = model.apply(step).and_then(|()| model.check_all());
            held.map_err(|error| TestCaseError::fail(format!("step {number}, {step:?}: {error}")))?;
        }
    }
}
