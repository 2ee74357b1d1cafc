//! What people are told of the service: that it is no person, at the start, on request and after hours of use;
//! and who runs it.

use protocol::server_frame::{About, NoticeCode, ResponseResult};
use protocol::{Language, MessageId, ServerFrame};
use safety::guide::{self, Facts, Topic};
use tokio::time::Instant;

use super::{Attached, Connection, texts};

/// The notice that answers come from no person, in the words of `text`.
fn ai_notice(text: &str) -> ServerFrame {
    ServerFrame::Notice { code: NoticeCode::Ai, text: Some(text.to_owned()), reconnect_in_ms: None }
}

impl Connection {
    /// Writes the notice behind a `welcome`, before anything that the session tells.
    pub(super) fn write_ai_notice(&mut self) {
        ai_notice(guide::notice(self.language())).encode_line(&mut self.out);
    }

    /// The response to a request about the service; `None` for any other. It needs neither the store nor, for
    /// `about`, a session.
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

    /// Says in the plain face what the service is, or does where somebody is at risk.
    pub(super) fn write_guide(&mut self, topic: Topic) {
        let (language, about) = (self.language(), &self.context.about);
        let mut lines = guide::plain_lines(topic, &facts(about), language);
        if topic == Topic::About {
            lines.push(texts::models(language, &about.models));
        }
        lines.iter().for_each(|line| self.write_line(line));
    }

    /// Notes that a person uses the session now.
    pub(super) fn note_use(&mut self) {
        if let Some(Attached { session, .. }) = &self.attached {
            self.reminder_at = session.note_use(Instant::now());
        }
    }

    /// Reminds every connection of the session, if it is time and none of them has done so.
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
