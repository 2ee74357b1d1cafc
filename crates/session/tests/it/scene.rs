//! One session with a store that answers at once, and the journal of its effects as short lines.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::server_frame::{Done, Entry, ErrorFrame, Finish, Forgotten, Role, Source, Timing};
use protocol::trace::Traceparent;
use protocol::{ErrorCode, Language, Locale, MessageId, ServerFrame, Timestamp, UserLabel, UserText};
use session::{
    Admission, AdmissionRequest, AnswerOwner, AnswerQuery, Claims, ConnectionId, CoreId, Delta, Effect, Ended,
    EntryPage, Erased, Failure, Grant, Input, Message, MessageRejection, Now, Opening, Progress, Recipients, Session,
    SessionEvent, Settings, StoreRequest, Stored, StoredSession, Ticket, TurnEvent,
};

/// A text in high risk.
pub(crate) const WISH: &str = "quiero morirme";
/// Time for which an answer continues without a listener.
pub(crate) const ABANDONED_AFTER: Duration = Duration::from_secs(120);

/// A session, its store, and the effects since they were last taken.
pub(crate) struct Scene {
    pub(crate) session: Session,
    pub(crate) entries: Vec<Entry>,
    pub(crate) forgotten: Vec<Forgotten>,
    pub(crate) is_erased: bool,
    /// Operations on the store wait for [`Scene::answer`].
    pub(crate) is_held: bool,
    held: VecDeque<StoreRequest>,
    /// Result of the next admissions, in place of a permit of this core.
    pub(crate) admissions: VecDeque<Result<AnswerOwner, MessageRejection>>,
    /// Failure of every operation on the store.
    pub(crate) failure: Option<Failure>,
    pub(crate) claims: Claims,
    pub(crate) stored_locale: Locale,
    /// Number of resume tokens before the stored one.
    pub(crate) rotations: u64,
    connections: Vec<ConnectionId>,
    start: Instant,
    elapsed: Duration,
    running: Option<Running>,
    tickets: u64,
    /// Results that the session gets once its effects are started.
    results: VecDeque<Input>,
    journal: Vec<String>,
}

/// The running turn.
struct Running {
    id: MessageId,
    text: UserText,
    /// Text was published, perhaps text that was discarded later.
    is_shown: bool,
    is_generated: bool,
}

impl Scene {
    /// A new session on a single core.
    pub(crate) fn alone() -> Self {
        Self::open(None, Vec::new())
    }

    /// A new session whose events reach other cores.
    pub(crate) fn in_cluster() -> Self {
        Self::open(Some(true), Vec::new())
    }

    /// A stored session whose events reach other cores.
    pub(crate) fn resumed(entries: Vec<Entry>) -> Self {
        Self::open(Some(true), entries)
    }

    /// A new session that is not kept.
    pub(crate) fn not_kept() -> Self {
        Self::of(UserLabel::FIRST_UNKEPT, None, Vec::new())
    }

    fn open(cluster: Option<bool>, entries: Vec<Entry>) -> Self {
        Self::of(UserLabel(1), cluster, entries)
    }

    fn of(user: UserLabel, cluster: Option<bool>, entries: Vec<Entry>) -> Self {
        let start = Instant::now();
        let settings = Settings {
            per_user_max: 2,
            abandoned_after: ABANDONED_AFTER,
            risk_window: Duration::from_secs(60),
            source: Source::Llm,
        };
        let locale = Locale::default();
        let country = None;
        let (seq, messages, is_new) = (entries.len() as u64, entries.len() as u64, entries.is_empty());
        let opening = Opening { user, seq, messages, locale, country, rotations: 0, is_new, cluster };
        Self {
            session: Session::new(settings, opening, start),
            entries,
            forgotten: Vec::new(),
            is_erased: false,
            is_held: false,
            held: VecDeque::new(),
            admissions: VecDeque::new(),
            failure: None,
            claims: Claims::Free,
            stored_locale: locale,
            rotations: 0,
            connections: Vec::new(),
            start,
            elapsed: Duration::ZERO,
            running: None,
            tickets: 0,
            results: VecDeque::new(),
            journal: Vec::new(),
        }
    }

    // ---- inputs -----------------------------------------------------------------------------------

    pub(crate) fn now(&self) -> Now {
        let ms = i64::try_from(self.elapsed.as_millis()).unwrap();
        Now { instant: self.start + self.elapsed, wall: Timestamp::from_unix_ms(1_790_000_000_000 + ms) }
    }

    /// Passes an input, and returns its effects.
    pub(crate) fn on(&mut self, input: Input) -> Vec<String> {
        self.results.push_back(input);
        self.taken()
    }

    /// Moves the clock, and passes the time-outs that fall due.
    pub(crate) fn wait(&mut self, duration: Duration) -> Vec<String> {
        let end = self.elapsed + duration;
        while let Some(at) = self.session.deadline().filter(|at| *at <= self.start + end) {
            self.elapsed = self.elapsed.max(at - self.start);
            self.results.push_back(Input::Timeout);
            self.settle();
        }
        self.elapsed = end;
        self.taken()
    }

    /// Attaches the next connection: they are numbered from 0.
    pub(crate) fn attach(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        let attached = self.session.attach(self.now(), self.rotations, &mut out);
        match attached {
            Some((id, seq)) => {
                self.connections.push(id);
                self.journal.push(format!("attached at {seq}"));
            }
            None => self.journal.push("gone".into()),
        }
        self.start_all(out);
        self.taken()
    }

    pub(crate) fn connection(&self, number: usize) -> ConnectionId {
        self.connections[number]
    }

    /// A message arrives: it is assessed, and submitted.
    pub(crate) fn say(&mut self, from: usize, id: &str, text: &str) -> Vec<String> {
        let (id, text) = (id.parse().unwrap(), UserText::new(text));
        let mut out = Vec::new();
        self.session.adopt_answered_country(self.now(), &text, &mut out);
        self.session.assess(self.now(), &id, &text, &mut out);
        self.start_all(out);
        let trace = Traceparent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let risk = self.session.risk(self.now().wall);
        let message = Message { id, text, trace, address: [127, 0, 0, 1].into(), risk };
        let (from, ticket) = (self.connection(from), self.ticket());
        self.on(Input::Submit { from, message, ticket })
    }

    pub(crate) fn submit(&mut self, from: usize, id: &str) -> Vec<String> {
        self.say(from, id, "hola")
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// The running turn generates the next text.
    pub(crate) fn generate(&mut self, text: &str) -> Vec<String> {
        let text = UserText::new(text);
        let Running { id, text: answer, is_shown, .. } = self.running.as_mut().unwrap();
        *is_shown = true;
        let delta =
            Delta { id: id.clone(), offset: answer.chars(), chars: text.chars(), text: text.clone(), exercise: None };
        answer.push(&text);
        self.on(Input::Turn(TurnEvent::Progress(Progress::Delta(delta))))
    }

    /// The running turn has generated all of its answer.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.running.as_mut().unwrap().is_generated = true;
        self.on(Input::Turn(TurnEvent::Generated))
    }

    /// Returns true while a turn generates its answer.
    pub(crate) fn is_generating(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_generated)
    }

    /// Returns true while a turn may fail: once text was published its end is an answer.
    pub(crate) fn may_fail(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_generated && !running.is_shown)
    }

    /// Returns true while an operation on the store waits for [`Scene::answer`].
    pub(crate) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// The running turn discards its text: it was the model's thinking.
    pub(crate) fn restart(&mut self) -> Vec<String> {
        self.running.as_mut().unwrap().text = UserText::default();
        self.on(Input::Turn(TurnEvent::Progress(Progress::Restarted)))
    }

    /// The running turn ends before it has an answer.
    pub(crate) fn fail_turn(&mut self, failure: Failure) -> Vec<String> {
        self.running = None;
        self.on(Input::Turn(TurnEvent::Ended(Ended::Failed(failure))))
    }

    /// Another core publishes an event.
    pub(crate) fn receive(&mut self, core: u64, event: SessionEvent) -> Vec<String> {
        self.on(Input::Remote(core_id(core), event))
    }

    pub(crate) fn receive_frame(&mut self, core: u64, frame: ServerFrame) -> Vec<String> {
        self.receive(core, SessionEvent::Frame(Box::new(frame)))
    }

    // ---- the store --------------------------------------------------------------------------------

    /// Stores an entry as another core does. Its text is `role-id`.
    pub(crate) fn store(&mut self, id: &str, role: Role) -> Entry {
        let text = format!("{}-{id}", role_name(role));
        self.append(entry(id, role, &text))
    }

    fn append(&mut self, mut entry: Entry) -> Entry {
        entry.seq = self.last() + 1;
        self.entries.push(entry.clone());
        entry
    }

    fn last(&self) -> u64 {
        let entries = self.entries.iter().map(|entry| entry.seq);
        entries.chain(self.forgotten.iter().map(|forgotten| forgotten.seq)).max().unwrap_or(0)
    }

    /// Erases a message as any core does.
    pub(crate) fn forget(&mut self, id: &MessageId) -> Option<Erased> {
        let from_seq = self.entries.iter().find(|entry| entry.id == *id)?.seq;
        let forgotten = Forgotten { seq: self.last() + 1, id: id.clone(), from_seq };
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id != *id);
        self.forgotten.push(forgotten.clone());
        Some(Erased { forgotten, entries: (before - self.entries.len()) as u64 })
    }

    fn entries_of(&self, id: &MessageId) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.id == *id).cloned().collect()
    }

    /// Executes the operation on the store that waits.
    pub(crate) fn answer(&mut self) -> Vec<String> {
        let request = self.held.pop_front().unwrap();
        let result = self.execute(request);
        self.on(Input::Stored(result))
    }

    fn execute(&mut self, request: StoreRequest) -> Result<Stored, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        Ok(match request {
            StoreRequest::SetLocale(locale) => {
                self.stored_locale = locale;
                Stored::Saved
            }
            StoreRequest::SetCountry(_) => Stored::Saved,
            StoreRequest::Admit(request) => Stored::Admission(self.admit(request)),
            StoreRequest::Retry(request) => Stored::Retry(self.owner(&request)),
            StoreRequest::AppendHelp { support, .. } => {
                let known = self.entries.iter().find(|it| it.id == support.id && it.role == Role::Support);
                match known {
                    Some(known) => Stored::Existing(known.seq),
                    None => {
                        let mut entry = entry(support.id.as_str(), Role::Support, support.text.expose());
                        entry.help = Some(Box::new(support.help));
                        Stored::Appended(Box::new(self.append(entry)))
                    }
                }
            }
            StoreRequest::ReadRecord { .. } => {
                let record = StoredSession { seq: self.last(), locale: self.stored_locale, rotations: self.rotations };
                Stored::Record((!self.is_erased).then_some(record))
            }
            StoreRequest::ReadEntries { after, limit } => {
                let entries: Vec<Entry> =
                    self.entries.iter().filter(|entry| after < entry.seq).take(limit).cloned().collect();
                let forgotten: Vec<Forgotten> =
                    self.forgotten.iter().filter(|forgotten| after < forgotten.seq).cloned().collect();
                let rows = entries.len() + forgotten.len();
                let last_seq = (0 < rows).then_some(self.last());
                Stored::Entries(EntryPage { entries, forgotten, rows, last_seq })
            }
            StoreRequest::ReadLastMessage => {
                let last = self.entries.iter().rev().find(|entry| entry.role == Role::User);
                Stored::LastMessage(last.map(|last| last.id.clone()))
            }
            StoreRequest::Forget { id, .. } => Stored::Forgotten(self.forget(&id)),
            StoreRequest::RotateResume(_) => {
                self.rotations += 1;
                Stored::Rotated(self.rotations)
            }
            StoreRequest::Erase => {
                self.is_erased = true;
                Stored::Erased(std::mem::take(&mut self.entries).len() as u64)
            }
        })
    }

    /// A permit of this core, unless another result is scripted. One in risk is answered beyond the limits.
    fn owner(
        &mut self,
        AdmissionRequest { is_busy, message, .. }: &AdmissionRequest,
    ) -> Result<AnswerOwner, MessageRejection> {
        let is_in_risk = message.risk.must_be_answered();
        let is_limited = *is_busy && !is_in_risk;
        let granted = Grant { is_behind_others: false, is_beyond_limits: *is_busy && is_in_risk };
        self.admissions.pop_front().unwrap_or(if is_limited {
            Err(MessageRejection::busy())
        } else {
            Ok(AnswerOwner::ThisCore(granted))
        })
    }

    fn admit(&mut self, request: AdmissionRequest) -> Admission {
        let known = self.entries_of(&request.message.id);
        if let Some(forgotten) = self.forgotten.iter().find(|forgotten| forgotten.id == request.message.id) {
            return Admission::Forgotten(forgotten.clone());
        }
        match self.owner(&request) {
            Ok(owner) if known.is_empty() => {
                let message = request.message;
                let stored = self.append(entry(message.id.as_str(), Role::User, message.text.expose()));
                Admission::Accepted(stored, owner)
            }
            Ok(owner) => Admission::Known(known, owner),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    // ---- effects ----------------------------------------------------------------------------------

    pub(crate) fn start_all(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.start_one(effect);
        }
    }

    fn start_one(&mut self, effect: Effect) {
        let line = match effect {
            Effect::Send(to, frame) => format!("{} {}", self.recipients(to), short(&frame)),
            Effect::SendDelta(delta) => format!("all {}", short(&delta.into_frame())),
            Effect::Close(id, reason) => format!("close {} {}", self.number(id), reason),
            Effect::Store(request) if self.is_held => {
                let line = format!("store {}", request_name(&request));
                self.held.push_back(request);
                line
            }
            Effect::Store(request) => {
                let result = self.execute(request);
                return self.feed(Input::Stored(result));
            }
            Effect::StartTurn(turn) => {
                let (id, text) = (turn.message.id, UserText::default());
                let line = format!("start {id}");
                self.running = Some(Running { id, text, is_shown: false, is_generated: false });
                line
            }
            Effect::CancelTurn(id) => format!("cancel {id}"),
            Effect::RecordTurn { id, after } => return self.record(&id, after),
            Effect::Release { id, is_stopped: true } => format!("release stopped {id}"),
            Effect::Release { id, is_stopped: false } => format!("release {id}"),
            Effect::ReadClaims(query) => {
                let claims = self.claims;
                return self.feed(Input::Claims(query, claims));
            }
            Effect::ReadAnswer(query) => {
                let id = match &query {
                    AnswerQuery::Followed(id) => Some(id),
                    AnswerQuery::RemoteError(error) => error.id.as_ref(),
                };
                let is_answered =
                    self.entries.iter().any(|entry| Some(&entry.id) == id && entry.role == Role::Assistant);
                return self.feed(Input::AnswerRead(query, self.failure.map_or(Ok(is_answered), Err)));
            }
            Effect::Publish { event: SessionEvent::Frame(frame), .. } => format!("publish {}", short(&frame)),
            Effect::Publish { event, .. } => {
                format!("publish {}", format!("{event:?}").to_lowercase())
            }
            Effect::Complete(ticket, Ok(_)) => format!("complete {}", ticket.0),
            Effect::Complete(ticket, Err(_)) => format!("fail {}", ticket.0),
            Effect::Wake => "wake".into(),
            Effect::Count(_) => return,
        };
        self.journal.push(line);
    }

    /// Passes a result once the effects before it are started.
    fn feed(&mut self, input: Input) {
        self.results.push_back(input);
    }

    /// Passes inputs until none waits.
    fn settle(&mut self) {
        while let Some(input) = self.results.pop_front() {
            let mut out = Vec::new();
            self.session.on(self.now(), input, &mut out);
            self.start_all(out);
        }
    }

    /// Records the answer of the running turn, and ends it.
    fn record(&mut self, id: &MessageId, after: Option<u64>) {
        let Running { text, .. } = self.running.take().unwrap();
        self.journal.push(format!("record {id}"));
        let answered = self.entries.iter().find(|entry| entry.id == *id && entry.role == Role::Assistant);
        let after = after.filter(|_| !self.forgotten.iter().any(|forgotten| forgotten.id == *id));
        let ended = match (self.failure, answered) {
            (Some(failure), _) => Ended::NotRecorded(failure),
            (None, Some(answer)) if after.is_some() && answer.text != text => {
                Ended::NotRecorded(Failure::Rejected(MessageRejection::abandoned()))
            }
            (None, Some(answer)) if after.is_some() => {
                Ended::Done(Box::new(done(id.as_str(), Some(answer.seq), text.chars(), Finish::Stop)))
            }
            (None, _) => {
                let is_stored = after.is_some() && !text.is_empty();
                let stored = is_stored.then(|| self.append(entry(id.as_str(), Role::Assistant, text.expose())));
                let finish = if is_stored { Finish::Stop } else { Finish::Stopped };
                Ended::Done(Box::new(done(id.as_str(), stored.map(|entry| entry.seq), text.chars(), finish)))
            }
        };
        self.feed(Input::Turn(TurnEvent::Ended(ended)));
    }

    fn taken(&mut self) -> Vec<String> {
        self.settle();
        std::mem::take(&mut self.journal)
    }

    fn number(&self, id: ConnectionId) -> usize {
        self.connections.iter().position(|known| *known == id).unwrap_or(self.connections.len())
    }

    fn recipients(&self, to: Recipients) -> String {
        match to {
            Recipients::All => "all".into(),
            Recipients::AllExcept(id) => format!("not-{}", self.number(id)),
            Recipients::Only(id) => format!("{}", self.number(id)),
        }
    }
}

// ---- frames -----------------------------------------------------------------------------------------

pub(crate) fn core_id(number: u64) -> CoreId {
    CoreId::new(number)
}

pub(crate) fn entry(id: &str, role: Role, text: &str) -> Entry {
    let (id, text, at) = (id.parse().unwrap(), UserText::new(text), Timestamp::from_unix_ms(1_790_000_000_000));
    let is_answer = role == Role::Assistant;
    let (finish, source) = (is_answer.then_some(Finish::Stop), is_answer.then_some(Source::Llm));
    Entry { seq: 0, id, role, text, at, finish, source, help: None }
}

pub(crate) fn done(id: &str, seq: Option<u64>, chars: usize, finish: Finish) -> Done {
    let (id, ms) = (id.parse().unwrap(), Timing::default());
    Done { id, seq, finish, source: Source::Llm, model: None, chars, ms, usage: None, exercise: None }
}

pub(crate) fn delta_frame(id: &str, offset: usize, text: &str) -> ServerFrame {
    ServerFrame::Delta { id: id.parse().unwrap(), offset, text: UserText::new(text), exercise: None }
}

pub(crate) fn done_frame(id: &str, seq: Option<u64>, chars: usize) -> ServerFrame {
    ServerFrame::Done(Box::new(done(id, seq, chars, Finish::Stop)))
}

pub(crate) fn error_frame(id: &str, code: ErrorCode) -> ServerFrame {
    ServerFrame::Error(ErrorFrame::new(code, Language::Spanish).with_id(Some(id.parse().unwrap())))
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Support => "support",
    }
}

fn short(frame: &ServerFrame) -> String {
    match frame {
        ServerFrame::Turn(Entry { seq, id, role, .. }) => {
            format!("turn {seq} {} {id}", role_name(*role))
        }
        ServerFrame::Accepted { id, seq, .. } => format!("accepted {seq} {id}"),
        ServerFrame::Queued { id, ahead } => format!("queued {ahead} {id}"),
        ServerFrame::Delta { id, offset, text, .. } => format!("delta {offset} {id} {}", text.expose()),
        ServerFrame::Done(done) => match done.seq {
            Some(seq) => format!("done {seq} {}", done.id),
            None => format!("done - {}", done.id),
        },
        ServerFrame::Error(error) => match &error.id {
            Some(id) => format!("error {} {id}", error.code),
            None => format!("error {}", error.code),
        },
        ServerFrame::Support(support) => format!("support {}", support.id),
        ServerFrame::Forgotten(forgotten) => {
            format!("forgotten {} {} from {}", forgotten.seq, forgotten.id, forgotten.from_seq)
        }
        other => format!("{other:?}"),
    }
}

fn request_name(request: &StoreRequest) -> String {
    match request {
        StoreRequest::SetLocale(_) => "locale".into(),
        StoreRequest::SetCountry(_) => "country".into(),
        StoreRequest::RotateResume(_) => "rotate".into(),
        StoreRequest::ReadLastMessage => "last message".into(),
        StoreRequest::Forget { id, .. } => format!("forget {id}"),
        StoreRequest::Admit(request) => format!("admit {}", request.message.id),
        StoreRequest::Retry(request) => format!("retry {}", request.message.id),
        StoreRequest::AppendHelp { support, .. } => format!("help {}", support.id),
        StoreRequest::ReadRecord { .. } => "record".into(),
        StoreRequest::ReadEntries { after, .. } => format!("entries after {after}"),
        StoreRequest::Erase => "erase".into(),
    }
}
