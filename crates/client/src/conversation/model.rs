//! Reference model of a core's session for tests: stored entries and frames sent to
//! connections, without time. Follows `crates/core-server/src/session.rs`.

use std::collections::VecDeque;

use protocol::server_frame::{
    Done, Entry, Finish, Help, Level, Limits, Rate, Role, Source, Subject, Support, Timing, Welcome,
};
use protocol::trace::TraceId;
use protocol::{ClientFrame, ErrorCode, Language, MessageId, ServerFrame, SessionId, Timestamp, UserLabel, UserText};

/// Server with one session and any number of connections, one of which is observed.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) entries: Vec<Entry>,
    waiting: VecDeque<MessageId>,
    running: Option<(MessageId, String)>,
    /// Frames in transit to the client; `None` before `hello`.
    pub(super) wire: Option<VecDeque<ServerFrame>>,
    /// Crashes so far; answers differ after each.
    pub(super) crashes: usize,
    /// Maximum number of newest entries that a resume replays.
    replayed: u64,
}

impl Model {
    pub(super) fn new(replayed: u64) -> Self {
        Self { replayed, ..Self::default() }
    }

    fn seq(&self) -> u64 {
        self.entries.len() as u64
    }

    fn send(&mut self, frame: ServerFrame) {
        if let Some(wire) = &mut self.wire {
            wire.push_back(frame);
        }
    }

    fn store(&mut self, id: &MessageId, role: Role, text: &str) -> Entry {
        let answer = role == Role::Assistant;
        let entry = Entry {
            seq: self.seq() + 1,
            id: id.clone(),
            role,
            text: UserText::new(text),
            at: Timestamp::from_unix_ms(0),
            finish: answer.then_some(Finish::Stop),
            source: answer.then_some(Source::Llm),
            help: None,
        };
        self.entries.push(entry.clone());
        entry
    }

    pub(super) fn entry_of(&self, id: &MessageId, role: Role) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == *id && entry.role == role)
    }

    fn is_in_progress(&self, id: &MessageId) -> bool {
        self.waiting.contains(id) || self.running.as_ref().is_some_and(|(running, _)| running == id)
    }

    pub(super) fn receive(&mut self, frame: ClientFrame) {
        match frame {
            ClientFrame::Hello(hello) => self.hello(hello.resume.is_some(), hello.since),
            ClientFrame::Message { id, text } => self.message(id, &text),
            ClientFrame::Ping { id } => self.send(ServerFrame::Pong { id }),
            ClientFrame::Stop { .. } | ClientFrame::Request(_) | ClientFrame::Bye => {}
        }
    }

    fn hello(&mut self, resumed: bool, since: Option<u64>) {
        let seq = self.seq();
        let since = since.unwrap_or(seq).min(seq);
        let after = since.max(seq.saturating_sub(self.replayed));
        self.wire = Some(VecDeque::new());
        self.send(welcome(resumed, seq, (since < after).then_some(after - since)));
        for entry in self.entries.clone().into_iter().filter(|entry| after < entry.seq) {
            self.send(ServerFrame::Turn(entry));
        }
        if let Some((id, draft)) = self.running.clone()
            && !draft.is_empty()
        {
            self.send(ServerFrame::Delta { id, offset: 0, text: UserText::new(draft), exercise: None });
        }
    }

    fn message(&mut self, id: MessageId, text: &UserText) {
        if let Some(seq) = self.entry_of(&id, Role::User).map(|entry| entry.seq) {
            self.send(accepted(&id, seq));
            if let Some(answer) = self.entry_of(&id, Role::Assistant).cloned() {
                self.send(ServerFrame::Delta { id, offset: 0, text: answer.text.clone(), exercise: None });
                self.send(done(&answer));
            } else if !self.is_in_progress(&id) {
                self.waiting.push_back(id);
            }
            return;
        }
        let entry = self.store(&id, Role::User, text.expose());
        self.send(accepted(&id, entry.seq));
        self.waiting.push_back(id);
    }

    pub(super) fn message_from_other_device(&mut self, id: MessageId) {
        let entry = self.store(&id, Role::User, "de otro lado");
        self.send(ServerFrame::Turn(entry));
        self.waiting.push_back(id);
    }

    /// Sends help for the next message in the queue.
    pub(super) fn support(&mut self) {
        let (None, Some(id)) = (&self.running, self.waiting.front().cloned()) else { return };
        if self.entry_of(&id, Role::Support).is_none() {
            let Entry { seq, text, .. } = self.store(&id, Role::Support, "ayuda");
            let (level, subject) = (Level::High, Subject::Own);
            let help = Help { level, subject, kind: None, resources: Vec::new() };
            self.send(ServerFrame::Support(Box::new(Support { id, seq: Some(seq), text, help })));
        }
    }

    /// Streams the next delta; starts an answer if none is running.
    pub(super) fn delta(&mut self, piece: &str) {
        if self.running.is_none() {
            self.running = self.waiting.pop_front().map(|id| (id, String::new()));
        }
        let Some((id, draft)) = &mut self.running else { return };
        let (id, offset) = (id.clone(), draft.chars().count());
        draft.push_str(piece);
        self.send(ServerFrame::Delta { id, offset, text: UserText::new(piece), exercise: None });
    }

    /// Completes the running answer.
    pub(super) fn finish(&mut self) {
        if let Some((id, draft)) = self.running.take_if(|(_, draft)| !draft.is_empty()) {
            let entry = self.store(&id, Role::Assistant, &draft);
            self.send(done(&entry));
        }
    }

    /// Refuses the next accepted message, as on a queue timeout.
    pub(super) fn refuse(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some(id) = self.waiting.pop_front() else { return };
        let error = protocol::server_frame::ErrorFrame::new(ErrorCode::Overloaded, Language::English);
        self.send(ServerFrame::Error(error.with_id(Some(id))));
    }

    /// Crashes and restarts with the stored entries only.
    pub(super) fn crash(&mut self) {
        self.wire = None;
        self.waiting.clear();
        self.running = None;
        self.crashes += 1;
    }
}

pub(super) fn welcome(resumed: bool, seq: u64, missed: Option<u64>) -> ServerFrame {
    let rate = Rate { messages: 10, window_ms: 60_000 };
    ServerFrame::Welcome(Box::new(Welcome {
        v: 1,
        session: SessionId::from("s1"),
        user: UserLabel(1),
        resume: UserText::new("secret"),
        resumed,
        seq,
        missed,
        locale: protocol::Locale::default(),
        trace_id: TraceId::random(),
        limits: Limits { max_line_bytes: 65_536, max_text_chars: 8_000, rate },
        kept: true,
    }))
}

pub(super) fn accepted(id: &MessageId, seq: u64) -> ServerFrame {
    ServerFrame::Accepted { id: id.clone(), seq, trace_id: TraceId::random() }
}

pub(super) fn done(answer: &Entry) -> ServerFrame {
    ServerFrame::Done(Box::new(Done {
        id: answer.id.clone(),
        seq: Some(answer.seq),
        finish: Finish::Stop,
        source: Source::Llm,
        model: None,
        chars: answer.text.chars(),
        ms: Timing::default(),
        usage: None,
        exercise: None,
    }))
}
