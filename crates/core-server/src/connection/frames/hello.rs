//! `hello` and `welcome`.

use std::sync::Arc;

use protocol::client_frame::Hello;
use protocol::limits::{MAX_LINE_BYTES, MAX_TEXT_CHARS};
use protocol::server_frame::{Limits, NoticeCode, Rate, Welcome};
use protocol::{CloseReason, ErrorCode, ResumeSecret, ServerFrame, UserText};
use safety::guide;

use super::{Frames, Phase, Replay, Welcomed};
use crate::connection::Context;
use crate::connection::attached::{Attached, ai_notice};
use crate::connection::completion::{Completion, HelloOutcome};
use crate::connection::link::Link;
use crate::sessions::Opened;
use session::known_country;

/// Protocol version.
const VERSION: u64 = 1;
/// Reconnect delay sent with `draining`, in milliseconds; clients add jitter of their own.
const RECONNECT_IN_MS: u64 = 1_000;

pub(in crate::connection) fn draining_notice() -> ServerFrame {
    ServerFrame::Notice { code: NoticeCode::Draining, text: None, reconnect_in_ms: Some(RECONNECT_IN_MS) }
}

impl Frames {
    /// Opens the session of a `hello`.
    pub(super) fn hello(&mut self, hello: Hello, link: &mut Link) {
        let Phase::BeforeWelcome(pre_session) = &mut self.phase else { return };
        if let Some(locale) = hello.locale {
            pre_session.language = locale.language();
        }
        if hello.v != VERSION {
            self.error(ErrorCode::VersionUnsupported, None, link);
            link.closing = Some(CloseReason::VersionUnsupported);
            return;
        }
        let Hello { resume, since, locale, country, time_zone, keep, .. } = hello;
        let country = country.and_then(known_country);
        pre_session.learn(country, time_zone.as_ref(), locale);
        let secret = match resume.map(|secret| secret.expose().parse::<ResumeSecret>()).transpose() {
            Ok(secret) => secret,
            Err(_) => return self.error(ErrorCode::BadResume, None, link),
        };
        let (sessions, resumed) = (Arc::clone(&link.context.sessions), secret.is_some());
        link.spawn(async move {
            let opened = match secret {
                None => sessions.create(keep.unwrap_or(true), locale, country).await.map(Some),
                Some(secret) => sessions.resume(secret, locale, country).await,
            };
            Completion::HelloOpened(Box::new(HelloOutcome { opened, resumed, since, time_zone }))
        });
    }

    pub(in crate::connection) fn on_opened(&mut self, outcome: HelloOutcome, link: &mut Link) {
        let HelloOutcome { opened, resumed, since, time_zone } = outcome;
        match opened {
            Ok(Some(opened)) => {
                time_zone.iter().for_each(|zone| opened.session.note_time_zone(zone));
                self.welcome(opened, resumed, since, link);
            }
            Ok(None) => self.error(ErrorCode::BadResume, None, link),
            Err(error) => {
                let trace_id = link.peer.trace.trace_id;
                tracing::error!(%trace_id, %error, "failed to open session");
                let error = error.rejection().frame(self.language());
                link.writer.push(ServerFrame::Error(error.with_trace(trace_id)));
            }
        }
    }

    fn welcome(&mut self, opened: Opened, resumed: bool, since: Option<u64>, link: &mut Link) {
        let swept = opened.swept;
        let Some((attached, seq)) = link.attach(opened, resumed) else {
            // Erased by another connection in the meantime, or its token was replaced.
            return self.error(ErrorCode::BadResume, None, link);
        };
        let replay = Replay::new(since, seq);
        let missed = replay.missed(since, swept);
        let welcome = welcome_frame(&attached, link, Resumption { resumed, seq, missed });
        // Bypasses the outbox, whose frames from now on must follow the replay.
        link.writer.write_frame(&welcome);
        link.writer.write_frame(&ai_notice(guide::notice(attached.language())));
        if let Phase::BeforeWelcome(pre_session) = &mut self.phase {
            pre_session.hand_over(&attached.session);
        }
        self.phase = Phase::Welcomed(Welcomed { attached, replay: replay.pending() });
    }
}

/// Position of a client in the session that it joins.
struct Resumption {
    resumed: bool,
    seq: u64,
    /// Entries after the client's `since` that are not replayed.
    missed: u64,
}

fn welcome_frame(attached: &Attached, link: &Link, position: Resumption) -> ServerFrame {
    let (session, Resumption { resumed, seq, missed }) = (&attached.session, position);
    ServerFrame::Welcome(Box::new(Welcome {
        v: VERSION,
        session: session.id().clone(),
        user: session.user(),
        resume: UserText::new(session.token().expose()),
        resumed,
        seq,
        missed: (0 < missed).then_some(missed),
        locale: session.locale(),
        trace_id: link.peer.trace.trace_id,
        limits: limits(&link.context),
        kept: session.user().is_kept(),
    }))
}

fn limits(context: &Context) -> Limits {
    let rate = context.sessions.turns().budget.rate();
    Limits {
        max_line_bytes: MAX_LINE_BYTES,
        max_text_chars: MAX_TEXT_CHARS,
        rate: Rate { messages: rate.events, window_ms: u64::try_from(rate.window.as_millis()).unwrap_or(u64::MAX) },
    }
}
