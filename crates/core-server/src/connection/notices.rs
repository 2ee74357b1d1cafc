//! Notices about the service: that it is no person (at the start, on request, after hours of use), and its operator.

use protocol::server_frame::{About, NoticeCode, ResponseResult};
use protocol::{Language, MessageId, ServerFrame};
use safety::guide::{self, Facts, Topic};
use tokio::time::Instant;

use super::{Attached, Connection, texts};

/// Builds the notice that answers come from no person.
fn ai_notice(text: &str) -> ServerFrame {
    ServerFrame::Notice { code: NoticeCode::Ai, text: Some(text.to_owned()), reconnect_in_ms: None }
}

impl Connection {
    /// Writes the notice after a `welcome`, before any frame of the session.
    pub(super) fn write_ai_notice(&mut self) {
        ai_notice(guide::notice(self.language())).encode_line(&mut self.out);
    }

    /// Builds the response to a request about the service; `None` for any other method. Uses no store; `about` needs no
    /// session either.
    pub(super) fn service_response(&self, method: &str, id: &MessageId) -> Option<ServerFrame> {
        let result = match method {
            "about" => ResponseResult::About(Box::new(self.context.about.clone())),
            "ai" if self.attached.is_some() => {
                let text = guide::notice(self.language());
                self.outbox.push(ai_notice(text));
                ResponseResult::Ai { text: text.to_owned() }
            }
            _ => return None,
        };
        Some(ServerFrame::Response { id: id.clone(), result })
    }

    /// Plain face: writes the page on the service, or on its conduct when a person is at risk.
    pub(super) fn write_guide(&mut self, topic: Topic) {
        let (language, about) = (self.language(), &self.context.about);
        let mut lines = guide::plain_lines(topic, &facts(about), language);
        if topic == Topic::About {
            lines.push(texts::models(language, &about.models));
        }
        lines.iter().for_each(|line| self.write_line(line));
    }

    /// Records use of the session and schedules the reminder.
    pub(super) fn note_use(&mut self) {
        if let Some(Attached { session, .. }) = &self.attached {
            self.reminder_at = session.note_use(Instant::now());
        }
    }

    /// Reminds all connections of the session when due, unless one of them already did.
    pub(super) fn remind_if_due(&mut self, now: Instant) {
        if self.reminder_at.take_if(|at| *at <= now).is_some()
            && let Some(Attached { session, .. }) = &self.attached
        {
            self.reminder_at = session.remind_if_due(now, |language: Language| ai_notice(guide::reminder(language)));
        }
    }
}

fn facts(about: &About) -> Facts {
    Facts {
        operator: about.operator.clone(),
        contact: about.contact.clone(),
        retention_days: about.retention_days,
        unreached_days: about.unreached_days,
    }
}
