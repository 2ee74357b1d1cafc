//! Client that chats without pause and keeps a ledger of messages sent, accepted and answered.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::time::Duration;

use client::{
    Address, Answered, Client, Entry, ErrorCode, ErrorFrame, Event, Finish, MessageId, NoticeCode, RequestError, Role,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::client_fleet::FleetCommand;
use super::scripted_answers::scripted_answer;

/// Backoff: short, because killed processes restart at once.
const INITIAL_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_millis(50);
/// More attempts than any restart needs.
const ATTEMPTS: u32 = 1_000;
/// Unanswered messages at most: the default of `PER_USER_MAX`.
const MAX_CONCURRENT: usize = 2;
/// Pause before a refused message is resent.
const AGAIN: Duration = Duration::from_millis(100);
/// Entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    id: MessageId,
    role: Role,
    text: String,
}

pub(crate) struct ChaosClient {
    client: Client,
    number: usize,
    /// Texts of all messages, accepted or not.
    texts: HashMap<MessageId, String>,
    /// Accepted messages and answers, by `seq`.
    ledger: BTreeMap<u64, Said>,
    /// Number of answers among them.
    answers: usize,
    /// Partial answers.
    coming: HashMap<MessageId, String>,
    /// Messages to resend.
    refused: VecDeque<MessageId>,
    /// The session may be live on several cores.
    several_cores: bool,
    /// Upper bound of the pause before a new message.
    thinks: Duration,
    /// Time of the next new message.
    ready_at: Instant,
    /// Messages refused at least once.
    were_refused: HashSet<MessageId>,
    /// All events, for the report of a failure.
    trace: Vec<String>,
    /// Round of the last comparison.
    compared: usize,
    /// Reconnects.
    pub(crate) resumed: usize,
}

impl ChaosClient {
    pub(crate) async fn arrive(number: usize, address: Address) -> Self {
        let builder = Client::builder(address).backoff(INITIAL_BACKOFF, MAX_BACKOFF).initial_attempts(ATTEMPTS);
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
            ledger: BTreeMap::new(),
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

    /// Chats until the command ends it and every message is answered. Counts in `accepted`.
    pub(crate) async fn talk(&mut self, mut orders: watch::Receiver<FleetCommand>, accepted: &watch::Sender<usize>) {
        loop {
            let now = *orders.borrow_and_update();
            while !now.over && self.open() < MAX_CONCURRENT && self.ready_at <= Instant::now() {
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

    async fn one_step(&mut self, orders: &mut watch::Receiver<FleetCommand>, accepted: &watch::Sender<usize>) {
        let again = !self.refused.is_empty();
        tokio::select! {
            event = self.client.next_event() => {
                let event = event.unwrap();
                accepted.send_modify(|count| *count += usize::from(matches!(event, Event::Accepted { .. })));
                self.on_event(event);
            }
            // An error means that the sender is dropped; it is returned once.
            _ = orders.changed() => {}
            () = sleep(AGAIN), if again => self.say_again(),
            () = sleep_until(self.ready_at), if self.open() < MAX_CONCURRENT && !orders.borrow().over => {}
        }
    }

    /// Number of unanswered messages.
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

    fn on_event(&mut self, event: Event) {
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
            // Refused twice: it was sent on two connections, or by both of two cores.
            Event::Error(error) if error.id.as_ref().is_some_and(|id| self.were_refused.contains(id)) => {}
            other => panic!("person {}: out of place: {other:?}", self.number),
        }
    }

    /// Records a refused message that was stored nevertheless, or its answer: replayed after a restart, or
    /// delivered by another core.
    fn stored_all_the_same(&mut self, entry: Entry) {
        if self.ledger.contains_key(&entry.seq) {
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

    /// Describes the unanswered messages, for a failing test.
    pub(crate) fn report(&self) -> String {
        let last = self.trace.len().saturating_sub(30);
        format!("person {}: {} open\n{}", self.number, self.open(), self.trace[last..].join("\n"))
    }

    fn answered(&mut self, done: Answered) {
        // A resend was refused, and the first copy was answered.
        if self.were_refused.contains(&done.id) {
            self.refused.retain(|id| *id != done.id);
            if done.seq.is_some_and(|seq| self.ledger.contains_key(&seq)) {
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

    /// Allows for a session live on several cores: one may send the end of an answer before
    /// another has released its claim or sent `accepted`.
    pub(crate) fn expect_several_cores(&mut self) {
        self.several_cores = true;
    }

    /// Sets the upper bound of the pause before new messages.
    pub(crate) fn think(&mut self, at_most: Duration) {
        self.thinks = at_most;
        self.ready_at = Instant::now() + at_most.mul_f64(fastrand::f64());
    }

    /// Asserts that only an unavailable database refuses a message, with a retry delay.
    fn refused(&mut self, error: ErrorFrame) {
        let busy = self.several_cores && error.code == ErrorCode::UserBusy;
        assert!(busy || error.code == ErrorCode::Unavailable, "{error:?}");
        error.id.iter().for_each(|id| drop(self.coming.remove(id)));
        assert!(error.retry_after_ms.is_some(), "{error:?}");
        self.were_refused.extend(error.id.clone());
        self.refused.extend(error.id);
    }

    /// Asserts that the text is a complete answer of the model to this message.
    fn is_an_answer(&self, id: &MessageId, text: &str) {
        let number = text.split_once('.').and_then(|(number, _)| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no answer of the model: {text:?}"));
        assert_eq!(text, scripted_answer(number, &self.texts[id]).pieces.concat());
    }

    fn hold(&mut self, seq: u64, said: Said) {
        let last = self.ledger.last_key_value().map_or(0, |(seq, _)| *seq);
        // A resend is accepted under its stored `seq`: it may have been accepted before, and a
        // crashed database may have committed without confirming.
        let again = said.role == Role::User && self.were_refused.contains(&said.id);
        assert!(!again || self.ledger.get(&seq).is_none_or(|recorded| *recorded == said));
        assert!(
            last < seq || again || (self.several_cores && said.role == Role::User),
            "person {}: {seq} was told after {last}\n{said:?}\n{}",
            self.number,
            self.trace.join("\n")
        );
        self.ledger.insert(seq, said);
    }

    /// Compares the ledger with the store and returns the number of entries. All delivered
    /// entries are stored as delivered, all stored ones were sent, once; no `seq` is missing.
    ///
    /// `None` if the database is unavailable, or no connection lasted long enough.
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
        for (seq, said) in &self.ledger {
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

    /// Records a message answered by another core before its `accepted` arrived.
    fn take_answered_for_accepted(&mut self, stored: &[Entry]) {
        let answered: HashSet<_> =
            self.ledger.values().filter(|said| said.role == Role::Assistant).map(|said| said.id.clone()).collect();
        for entry in stored.iter().filter(|entry| entry.role == Role::User && answered.contains(&entry.id)) {
            let said = Said { id: entry.id.clone(), role: entry.role, text: entry.text.expose().to_owned() };
            self.ledger.entry(entry.seq).or_insert(said);
        }
    }

    /// Asserts at the end that every message was accepted, answered and delivered, and that nothing else is stored.
    pub(crate) async fn settle(&mut self) {
        let stored = loop {
            if let Some(stored) = self.compare().await {
                break stored;
            }
        };
        let missing: Vec<_> = (1..=stored as u64).filter(|seq| !self.ledger.contains_key(seq)).collect();
        assert!(missing.is_empty(), "missing {missing:?}\n{}", self.trace.join("\n"));
        assert_eq!((stored, self.ledger.len()), (2 * self.texts.len(), stored), "person {}", self.number);
    }

    async fn export(&mut self) -> Option<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let page = match pin!(self.client.export(after)).await {
                // The core is going away, or this machine is out of breath: the caller exports again.
                Err(RequestError::Refused(error))
                    if matches!(error.code, ErrorCode::Unavailable | ErrorCode::Timeout) =>
                {
                    return None;
                }
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
