//! Someone who talks without end and keeps a ledger: what was said, what was accepted, and
//! every answer.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::time::Duration;

use client::{
    Address, Answered, Client, Entry, ErrorCode, ErrorFrame, Event, Finish, MessageId, NoticeCode, RequestError, Role,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::crowd::Orders;
use super::recital::recite;

/// Waits before an attempt to connect: what was killed is back in a moment.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// More attempts than any restart takes.
const ATTEMPTS: u32 = 1_000;
/// Messages without an answer, at most: as many as a person may have under way.
const AT_ONCE: usize = 2;
/// Pause before a message is sent again that could not be stored.
const AGAIN: Duration = Duration::from_millis(100);
/// An entry as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    id: MessageId,
    role: Role,
    text: String,
}

pub(crate) struct Talker {
    client: Client,
    number: usize,
    /// Every message, accepted or not.
    texts: HashMap<MessageId, String>,
    /// What was accepted and what was answered, by `seq`.
    told: BTreeMap<u64, Said>,
    /// How many of it are answers.
    answers: usize,
    /// Answers under way.
    coming: HashMap<MessageId, String>,
    /// To be sent again.
    refused: VecDeque<MessageId>,
    /// A session may be live on several cores.
    several_cores: bool,
    /// Pause before something new is said, at most.
    thinks: Duration,
    /// When something new may be said.
    ready_at: Instant,
    /// What was ever refused.
    were_refused: HashSet<MessageId>,
    /// Every event, for whoever looks into a failure.
    trace: Vec<String>,
    /// The round of the last comparison.
    compared: usize,
    /// Connections after the first.
    pub(crate) resumed: usize,
}

impl Talker {
    pub(crate) async fn arrive(number: usize, address: Address) -> Self {
        let builder = Client::builder(address).backoff(FIRST_WAIT, LONGEST_WAIT).first_attempts(ATTEMPTS);
        let mut client = builder.connect().await.unwrap();
        let welcome = loop {
            match client.next_event().await.unwrap() {
                Event::Connected(welcome) => break welcome,
                Event::Reconnecting { .. } => {}
                other => panic!("person {number}: out of place: {other:?}"),
            }
        };
        assert!(!welcome.resumed);
        Self {
            client,
            number,
            texts: HashMap::new(),
            told: BTreeMap::new(),
            answers: 0,
            coming: HashMap::new(),
            refused: VecDeque::new(),
            several_cores: false,
            thinks: Duration::ZERO,
            ready_at: Instant::now(),
            were_refused: HashSet::new(),
            trace: Vec::new(),
            compared: 0,
            resumed: 0,
        }
    }

    /// Talks until it is over and everything has its answer. Counts in `accepted`.
    pub(crate) async fn talk(&mut self, mut orders: watch::Receiver<Orders>, accepted: &watch::Sender<usize>) {
        loop {
            let now = *orders.borrow_and_update();
            while !now.over && self.open() < AT_ONCE && self.ready_at <= Instant::now() {
                self.say();
                self.ready_at = Instant::now() + self.thinks.mul_f64(fastrand::f64());
            }
            if now.over && self.open() == 0 {
                return;
            }
            if self.compared != now.round && now.round % 5 == self.number % 5 {
                self.compared = now.round;
                self.compare().await;
            }
            self.one_step(&mut orders, accepted).await;
        }
    }

    async fn one_step(&mut self, orders: &mut watch::Receiver<Orders>, accepted: &watch::Sender<usize>) {
        let again = !self.refused.is_empty();
        tokio::select! {
            event = self.client.next_event() => {
                let event = event.unwrap();
                accepted.send_modify(|count| *count += usize::from(matches!(event, Event::Accepted { .. })));
                self.hear(event);
            }
            // An error says that nobody gives orders any more; there is one of it.
            _ = orders.changed() => {}
            () = sleep(AGAIN), if again => self.say_again(),
            () = sleep_until(self.ready_at), if self.open() < AT_ONCE && !orders.borrow().over => {}
        }
    }

    /// Messages whose answer was not told.
    pub(crate) fn open(&self) -> usize {
        self.texts.len() - self.answers
    }

    fn say(&mut self) {
        let text = format!("mensaje {} de la persona {} ☂", self.texts.len(), self.number);
        let id = self.client.send(text.clone()).unwrap();
        self.texts.insert(id, text);
    }

    fn say_again(&mut self) {
        while let Some(id) = self.refused.pop_front() {
            self.client.send_as(id.clone(), self.texts[&id].clone()).unwrap();
        }
    }

    fn hear(&mut self, event: Event) {
        self.trace.push(format!("{event:?}"));
        match event {
            Event::Connected(welcome) => {
                assert!(welcome.resumed, "person {} lost the session", self.number);
                self.resumed += 1;
            }
            Event::Accepted { id, seq } => {
                let text = self.texts[&id].clone();
                self.hold(seq, Said { id, role: Role::User, text });
            }
            Event::Delta { id, offset, text } => {
                let coming = self.coming.entry(id).or_default();
                assert_eq!(offset, coming.chars().count());
                coming.push_str(text.expose());
            }
            Event::Restarted { id } => drop(self.coming.remove(&id)),
            Event::Done(done) => self.answered(done),
            Event::Refused(error) => self.refused(error),
            Event::Turn(entry) if self.were_refused.contains(&entry.id) => self.stored_all_the_same(entry),
            Event::Queued { .. } | Event::Reconnecting { .. } | Event::Notice { code: NoticeCode::Ai, .. } => {}
            // A message refused twice: it was sent on two connections, or one core refused it and another gave it up.
            Event::Error(error) if error.id.as_ref().is_some_and(|id| self.were_refused.contains(id)) => {}
            other => panic!("person {}: out of place: {other:?}", self.number),
        }
    }

    /// A message that a core could not say it had stored, or its answer: replayed after a restart, or heard
    /// of through another core.
    fn stored_all_the_same(&mut self, entry: Entry) {
        if self.told.contains_key(&entry.seq) {
            return;
        }
        let text = entry.text.expose().to_owned();
        if entry.role == Role::Assistant {
            self.is_an_answer(&entry.id, &text);
            self.refused.retain(|id| *id != entry.id);
            self.answers += 1;
        }
        self.hold(entry.seq, Said { id: entry.id, role: entry.role, text });
    }

    /// What is open, for whoever looks into a failure.
    pub(crate) fn report(&self) -> String {
        let last = self.trace.len().saturating_sub(30);
        format!("person {}: {} open\n{}", self.number, self.open(), self.trace[last..].join("\n"))
    }

    fn answered(&mut self, done: Answered) {
        // Refused where it could not be stored again, and answered all the same.
        if self.were_refused.contains(&done.id) {
            self.refused.retain(|id| *id != done.id);
            if done.seq.is_some_and(|seq| self.told.contains_key(&seq)) {
                self.coming.remove(&done.id);
                return;
            }
        }
        let text = self.coming.remove(&done.id).unwrap_or_default();
        assert_eq!((done.finish, done.chars), (Finish::Stop, text.chars().count()), "{text}");
        self.is_an_answer(&done.id, &text);
        self.answers += 1;
        self.hold(done.seq.unwrap(), Said { id: done.id, role: Role::Assistant, text });
    }

    /// A session may be live on several cores: one may say how an answer ended before another has
    /// given back its claim, or says that the message was accepted.
    pub(crate) fn expect_several_cores(&mut self) {
        self.several_cores = true;
    }

    /// From now on they think for up to this long before they say something.
    pub(crate) fn think(&mut self, at_most: Duration) {
        self.thinks = at_most;
        self.ready_at = Instant::now() + at_most.mul_f64(fastrand::f64());
    }

    /// Only a database that is away is a reason, and it says when to come back.
    fn refused(&mut self, error: ErrorFrame) {
        let busy = self.several_cores && error.code == ErrorCode::UserBusy;
        assert!(busy || error.code == ErrorCode::Unavailable, "{error:?}");
        error.id.iter().for_each(|id| drop(self.coming.remove(id)));
        assert!(error.retry_after_ms.is_some(), "{error:?}");
        self.were_refused.extend(error.id.clone());
        self.refused.extend(error.id);
    }

    /// The answer is one that the model gave to this message, whole.
    fn is_an_answer(&self, id: &MessageId, text: &str) {
        let number = text.split_once('.').and_then(|(number, _)| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no answer of the model: {text:?}"));
        assert_eq!(text, recite(number, &self.texts[id]).pieces.concat());
    }

    fn hold(&mut self, seq: u64, said: Said) {
        let last = self.told.last_key_value().map_or(0, |(seq, _)| *seq);
        // What was refused and is sent again is accepted where it is stored: it may have been
        // accepted before, and a database that dies may have stored what it could not say it had.
        let again = said.role == Role::User && self.were_refused.contains(&said.id);
        assert!(!again || self.told.get(&seq).is_none_or(|told| *told == said));
        assert!(
            last < seq || again || (self.several_cores && said.role == Role::User),
            "person {}: {seq} was told after {last}\n{said:?}\n{}",
            self.number,
            self.trace.join("\n")
        );
        self.told.insert(seq, said);
    }

    /// Compares the ledger with what is stored; returns how much that is. Everything told is
    /// stored as it was told, everything stored was said, and once; no `seq` is left out.
    ///
    /// `None` if the database is away, or no connection lasted long enough.
    async fn compare(&mut self) -> Option<usize> {
        let stored = self.export().await?;
        let mut seen = HashSet::new();
        for (seq, entry) in (1..).zip(&stored) {
            assert_eq!(entry.seq, seq, "person {}: a gap", self.number);
            assert!(seen.insert((entry.id.clone(), entry.role == Role::User)), "twice: {entry:?}");
            match entry.role {
                Role::User => assert_eq!(entry.text.expose(), self.texts[&entry.id]),
                Role::Assistant => self.is_an_answer(&entry.id, entry.text.expose()),
                Role::Support => panic!("nobody needed help: {entry:?}"),
            }
        }
        for (seq, said) in &self.told {
            let entry = stored.get(usize::try_from(*seq).unwrap() - 1);
            let entry = entry.unwrap_or_else(|| panic!("person {}: {seq} was told and is lost", self.number));
            let kept = Said { id: entry.id.clone(), role: entry.role, text: entry.text.expose().to_owned() };
            assert_eq!(kept, *said, "person {}: {seq} is not as it was told", self.number);
        }
        if self.several_cores {
            self.take_answered_for_accepted(&stored);
        }
        Some(stored.len())
    }

    /// A message whose answer came from another core before this one said that it was accepted.
    fn take_answered_for_accepted(&mut self, stored: &[Entry]) {
        let answered: HashSet<_> =
            self.told.values().filter(|said| said.role == Role::Assistant).map(|said| said.id.clone()).collect();
        for entry in stored.iter().filter(|entry| entry.role == Role::User && answered.contains(&entry.id)) {
            let said = Said { id: entry.id.clone(), role: entry.role, text: entry.text.expose().to_owned() };
            self.told.entry(entry.seq).or_insert(said);
        }
    }

    /// At the end: everything was accepted, answered and told, and nothing else is there.
    pub(crate) async fn settle(&mut self) {
        let stored = loop {
            if let Some(stored) = self.compare().await {
                break stored;
            }
        };
        let missing: Vec<_> = (1..=stored as u64).filter(|seq| !self.told.contains_key(seq)).collect();
        assert!(missing.is_empty(), "missing {missing:?}\n{}", self.trace.join("\n"));
        assert_eq!((stored, self.told.len()), (2 * self.texts.len(), stored), "person {}", self.number);
    }

    async fn export(&mut self) -> Option<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let page = match pin!(self.client.export(after)).await {
                Err(RequestError::Refused(error)) if error.code == ErrorCode::Unavailable => return None,
                Err(RequestError::TimedOut) => return None,
                page => page.unwrap(),
            };
            entries.extend(page.entries);
            if !page.more {
                return Some(entries);
            }
        }
    }
}
