//! Publishes an answer to the session's connections: delta by delta, then `done`.

use protocol::server_frame::{Done, Entry, Exercise, Finish, Source, Timing};
use protocol::{MessageId, ServerFrame, UserText};
use store::StoreError;

use super::Session;
use super::state::Recipients;
use crate::turn::{AnswerSink, Outcome, RecordError, Risk, TurnError};

impl AnswerSink for Session {
    fn queued(&self, ahead: usize) {
        let mut state = self.state();
        let Some(running) = &mut state.running else { return };
        running.ahead = ahead;
        let (id, sender) = (running.id.clone(), running.sender);
        state.publish(state.recipients_of(sender), ServerFrame::Queued { id, ahead });
    }

    fn started(&self) {
        self.state().running.iter_mut().for_each(|running| running.ahead = 0);
    }

    fn delta(&self, text: UserText, exercise: Option<Exercise>) {
        let mut state = self.state();
        let Some(running) = state.running.as_mut().filter(|running| !running.superseded) else { return };
        let offset = running.chars;
        running.chars += text.chars();
        running.draft.push(&text);
        let id = running.id.clone();
        state.publish(Recipients::All, ServerFrame::Delta { id, offset, text, exercise });
    }

    fn restart(&self) {
        // Clients replace their draft when a delta comes from offset 0, so no frame is needed here.
        if let Some(running) = self.state().running.as_mut() {
            (running.draft, running.chars) = (UserText::default(), 0);
        }
    }

    fn risk_raised(&self, risk: Risk) {
        let id = self.state().running.as_ref().map(|running| running.id.clone());
        if let Some(id) = id {
            self.raise(&id, risk);
        }
    }
}

pub(super) fn done(id: MessageId, seq: Option<u64>, outcome: Outcome) -> ServerFrame {
    let Outcome { finish, source, model, chars, timing, usage, exercise, summary_job: _ } = outcome;
    ServerFrame::Done(Box::new(Done { id, seq, finish, source, model, chars, ms: timing, usage, exercise }))
}

/// Returns the `done` of an answer that was stored earlier; its timing is not stored.
pub(super) fn stored_done(answer: &Entry) -> ServerFrame {
    ServerFrame::Done(Box::new(Done {
        id: answer.id.clone(),
        seq: Some(answer.seq),
        finish: answer.finish.unwrap_or(Finish::Stop),
        source: answer.source.unwrap_or(Source::Llm),
        model: None,
        chars: answer.text.chars(),
        ms: Timing::default(),
        usage: None,
        exercise: None,
    }))
}

/// Returns true if a turn ended because the store no longer has the session.
pub(super) fn is_gone(recorded: &Result<Option<u64>, RecordError>, outcome: &Result<Outcome, TurnError>) -> bool {
    matches!(recorded, Err(RecordError::Store(StoreError::NoSession { .. })))
        || matches!(outcome, Err(TurnError::NoSession))
}
