//! Random interleavings of a writer that commits and notes, and of reads that look in between.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Sessions in a run, from the beginning.
const SESSIONS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Append {
        user: usize,
        letters: usize,
    },
    SumUp {
        user: usize,
        last: u64,
    },
    Erase {
        user: usize,
    },
    Sweep {
        count: usize,
    },
    /// An append whose group failed, or one of another process: nobody here knows of it.
    Unknown {
        user: usize,
        happened: bool,
    },
    /// The writer notes what it has committed first of all that it has not noted.
    Note,
    Ask {
        user: usize,
        limit: usize,
    },
    /// A read looks at the database: at the entries first, then at the summary.
    Look {
        read: usize,
    },
    End {
        read: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..SESSIONS;
    prop_oneof![
        4 => (user(), 0..80_usize).prop_map(|(user, letters)| Step::Append { user, letters }),
        2 => (user(), 0..9_u64).prop_map(|(user, last)| Step::SumUp { user, last }),
        1 => user().prop_map(|user| Step::Erase { user }),
        1 => (0..3_usize).prop_map(|count| Step::Sweep { count }),
        1 => (user(), any::<bool>()).prop_map(|(user, happened)| Step::Unknown { user, happened }),
        7 => Just(Step::Note),
        4 => (user(), 0..6_usize).prop_map(|(user, limit)| Step::Ask { user, limit }),
        14 => (0..4_usize).prop_map(|read| Step::Look { read }),
        5 => (0..4_usize).prop_map(|read| Step::End { read }),
    ]
}

/// A session as it is in the database; `None` once it is erased.
type State = Option<Session>;

#[derive(Debug, Clone, Default, PartialEq)]
struct Session {
    seq: u64,
    entries: Vec<Entry>,
    summary: Option<Summary>,
}

enum Note {
    Appended(usize, Entry),
    SummedUp(usize, Summary),
    Erased(usize),
    /// A sweep, or that nobody knows what happened.
    Anything,
    Nothing,
}

struct Read<'a> {
    user: usize,
    limit: usize,
    pending: PendingRead<'a>,
    entries: Option<Vec<Entry>>,
    summary: Option<Option<Summary>>,
}

struct World<'a> {
    cache: &'a RecentHistoryCache,
    /// All sessions after each commit.
    states: Vec<[State; SESSIONS]>,
    /// What is to be noted; the last is of the last of `states`.
    pending: VecDeque<Note>,
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

    fn sweep(&mut self, count: usize) {
        self.entries.drain(..count.min(self.entries.len()));
        let first = self.entries.first().map_or(self.seq + 1, |first| first.seq);
        self.summary.take_if(|summary| summary.first < first);
    }
}

impl World<'_> {
    fn now(&self) -> [State; SESSIONS] {
        self.states.last().unwrap().clone()
    }

    /// What a session looked like after the last commit that was noted, and since then.
    fn window(&self, user: usize) -> impl Iterator<Item = &State> {
        let noted = self.states.len() - 1 - self.pending.len();
        self.states[noted..].iter().map(move |states| &states[user])
    }

    fn commit(&mut self, states: [State; SESSIONS], note: Note) {
        self.states.push(states);
        self.pending.push_back(note);
    }

    /// Changes a session that exists.
    fn change<T>(&mut self, user: usize, change: impl FnOnce(&mut Session) -> T, note: impl FnOnce(T) -> Note) {
        let mut states = self.now();
        if let Some(session) = &mut states[user] {
            let made = change(session);
            self.commit(states, note(made));
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Append { user, letters } => {
                self.change(user, |session| session.append(letters), |entry| Note::Appended(user, entry));
            }
            Step::SumUp { user, last } => {
                let note = |made: Option<_>| made.map_or(Note::Nothing, |summary| Note::SummedUp(user, summary));
                self.change(user, |session| session.set_summary(last), note);
            }
            Step::Erase { user } => {
                let mut states = self.now();
                states[user] = None;
                self.commit(states, Note::Erased(user));
            }
            Step::Sweep { count } => {
                let mut states = self.now();
                states.iter_mut().flatten().for_each(|session| session.sweep(count));
                self.commit(states, Note::Anything);
            }
            Step::Unknown { user, happened } => {
                let append = |session: &mut Session| happened.then(|| session.append(9));
                self.change(user, append, |_| Note::Anything);
            }
            Step::Note => self.note(),
            Step::Ask { user, limit } => self.ask(user, limit)?,
            Step::Look { read } => self.look(read),
            Step::End { read } => {
                if let Some(read) = read.checked_rem(self.reads.len()) {
                    self.reads.remove(read).end();
                }
            }
        }
        Ok(())
    }

    fn note(&mut self) {
        match self.pending.pop_front() {
            Some(Note::Appended(user, entry)) => self.cache.appended(label(user), &entry),
            Some(Note::SummedUp(user, summary)) => self.cache.summarized_up_to(label(user), &summary),
            Some(Note::Erased(user)) => self.cache.evict(label(user)),
            Some(Note::Anything) => self.cache.clear(),
            Some(Note::Nothing) | None => {}
        }
    }

    fn ask(&mut self, user: usize, limit: usize) -> Result<(), TestCaseError> {
        if let Some(recent) = self.cache.recent(label(user), limit) {
            return self.check(user, limit, recent);
        }
        let read = self.cache.begin_read(label(user));
        self.reads.push(Read { user, limit, pending: read, entries: None, summary: None });
        Ok(())
    }

    /// Two looks, because two statements read the database, and a commit may come between them.
    fn look(&mut self, read: usize) {
        let Some(read) = read.checked_rem(self.reads.len()) else { return };
        let states = self.now();
        let read = &mut self.reads[read];
        match &states[read.user] {
            Some(session) if read.entries.is_none() => read.entries = Some(last_of(&session.entries, read.limit)),
            state => read.summary = Some(state.as_ref().and_then(|session| session.summary.clone())),
        }
    }

    /// What is remembered of a session is what it was at some time since the last note.
    fn check(&self, user: usize, limit: usize, recent: Recent) -> Result<(), TestCaseError> {
        let mut sessions = self.window(user).flatten();
        let entries = sessions.any(|session| last_of(&session.entries, limit) == recent.entries);
        prop_assert!(entries, "entries {:?}", recent.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>());
        let summary_of = |state: &State| state.as_ref().and_then(|session| session.summary.clone());
        let summary = self.window(user).any(|state| summary_of(state) == recent.summary);
        prop_assert!(summary, "summary {:?}", recent.summary);
        Ok(())
    }

    /// What must hold at any time: counts are right, and nothing of an erased session is there.
    fn check_all(&self) -> Result<(), TestCaseError> {
        for user in 0..SESSIONS {
            let erased = self.window(user).all(Option::is_none);
            prop_assert!(!erased || !holds(self.cache, label(user)), "session {} is erased", user);
            for limit in 0..6 {
                // A look does not make the session the last one used.
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
    fn end(self) {
        if let (Some(entries), Some(summary)) = (self.entries, self.summary) {
            self.pending.store(&Recent { summary, entries }, self.limit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_else_is_remembered_than_is_stored(
        max_bytes in 500..20_000_usize,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let cache = RecentHistoryCache::new(max_bytes);
        let states = vec![std::array::from_fn(|_| Some(Session::default()))];
        let mut world = World { cache: &cache, states, pending: VecDeque::new(), reads: Vec::new() };
        for (number, step) in (1..).zip(&steps) {
            let held = world.take(step).and_then(|()| world.check_all());
            held.map_err(|error| TestCaseError::fail(format!("step {number}, {step:?}: {error}")))?;
        }
    }
}
