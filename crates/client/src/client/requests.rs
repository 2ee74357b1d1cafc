//! Requests about the session (`proto-line/SPEC.md` §5).

use std::time::Duration;

use protocol::client_frame::Request;
use protocol::server_frame::{Entry, ResponseResult, SafetyPlan};
use protocol::{Country, Locale, MessageId, ResumeToken, SessionId, Timestamp, UserLabel, UserText};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Client, ConnectionState};
use crate::conversation::FORGET_LAST;
use crate::error::RequestError;

/// Timeout sent to the server, which answers with `timeout` when it expires.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Added locally, so that the server's own `timeout` error arrives first.
const GRACE: Duration = Duration::from_secs(2);
/// Bound on events queued while a request is awaited.
const MAX_BACKLOG: usize = 1_024;

/// Metadata of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "SPEC.md §5")]
pub struct SessionInfo {
    pub session: SessionId,
    pub user: UserLabel,
    pub created_at: Timestamp,
    pub seq: u64,
    pub connections: usize,
    pub locale: Locale,
}

/// Page of a session's entries, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// True if more follow in the requested direction.
    pub more: bool,
}

/// Summary that the model has made of older messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The text.
    pub text: UserText,
    /// `seq` of the first summarized message.
    pub first_seq: u64,
    /// `seq` of the last summarized message.
    pub last_seq: u64,
}

impl Client {
    /// Fetches the session's metadata.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn session(&mut self) -> Result<SessionInfo, RequestError> {
        match self.request("session", Map::new()).await? {
            ResponseResult::Session { session, user, created_at, seq, connections, locale } => {
                Ok(SessionInfo { session, user, created_at, seq, connections, locale })
            }
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Fetches the newest `limit` entries (1 to 200), of those before `before_seq` if given.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn history(&mut self, before_seq: Option<u64>, limit: usize) -> Result<Page, RequestError> {
        let mut params = Map::from_iter([("limit".to_owned(), json!(limit))]);
        params.extend(before_seq.map(|seq| ("before_seq".to_owned(), json!(seq))));
        match self.request("history", params).await? {
            ResponseResult::History { entries, more } => Ok(Page { entries, more }),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Fetches the page of entries after `after_seq`; 0 starts at the first. While `more` is
    /// set, continue after the last one.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn export(&mut self, after_seq: u64) -> Result<Page, RequestError> {
        let params = Map::from_iter([("after_seq".to_owned(), json!(after_seq))]);
        match self.request("export", params).await? {
            ResponseResult::Export { entries, more, .. } => Ok(Page { entries, more }),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Erases the session on all devices and returns its number of entries. Ends the client:
    /// [`Event::Closed`](crate::Event::Closed) follows.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn erase(&mut self) -> Result<u64, RequestError> {
        let session = self.session_id().map_or_else(String::new, ToString::to_string);
        match self.request("erase", Map::from_iter([("confirm".to_owned(), json!(session))])).await? {
            ResponseResult::Erased { erased } => Ok(erased),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Sets the session's locale, also for later connections; returns the one in use.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn set_locale(&mut self, locale: Locale) -> Result<Locale, RequestError> {
        let params = Map::from_iter([("locale".to_owned(), json!(locale))]);
        match self.request("set_locale", params).await? {
            ResponseResult::Locale { locale } => {
                self.remember_locale(locale);
                Ok(locale)
            }
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Sets the person's country, also for later connections; help already shown is sent again with its lines.
    /// Returns the one in use.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn set_country(&mut self, country: Country) -> Result<Country, RequestError> {
        self.remember_country(country);
        let params = Map::from_iter([("country".to_owned(), json!(country))]);
        match self.request("set_country", params).await? {
            ResponseResult::Country { country } => Ok(country),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Fetches the safety plan of this conversation, if one was made.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn safety_plan(&mut self) -> Result<Option<SafetyPlan>, RequestError> {
        match self.request("safety_plan", Map::new()).await? {
            ResponseResult::SafetyPlan { plan } => Ok(plan),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Replaces the resume token; other devices are closed and cannot come back without the new one. Returns it: store it.
    ///
    /// The token is made here and offered beside the old one from now on, so that a lost response loses no session.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn rotate_resume(&mut self) -> Result<UserText, RequestError> {
        let token = UserText::new(ResumeToken::random().expose());
        self.conversation.add_token_candidate(token.clone());
        let params = Map::from_iter([("resume".to_owned(), json!(token.expose()))]);
        match self.request("rotate_resume", params).await? {
            ResponseResult::Rotated { resume } => {
                self.conversation.replace_token(resume.clone());
                Ok(resume)
            }
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Fetches a code with which another device opens the session once, and its validity.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn link(&mut self) -> Result<(UserText, Duration), RequestError> {
        match self.request("link", Map::new()).await? {
            ResponseResult::Link { code, expires_in_ms } => Ok((code, Duration::from_millis(expires_in_ms))),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Erases the last message of the session with its help and its answer. Returns its id; `None` if there is none.
    /// [`Event::Forgotten`](crate::Event::Forgotten) follows. Fails if the connection is lost meanwhile: the message may
    /// then be erased or not, and a second call might erase another one.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn forget_last(&mut self) -> Result<Option<MessageId>, RequestError> {
        match self.request(FORGET_LAST, Map::new()).await? {
            ResponseResult::Forgotten { id, .. } => Ok(id),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Fetches the summary of older messages; `None` without one.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn summary(&mut self) -> Result<Option<Summary>, RequestError> {
        match self.request("summary", Map::new()).await? {
            ResponseResult::Summary { text, first_seq, last_seq } => {
                Ok(text.map(|text| Summary { text, first_seq, last_seq }))
            }
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Erases the summary. No later one draws on the messages so far.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub async fn forget_summary(&mut self) -> Result<(), RequestError> {
        let result = self.request("forget_summary", Map::new()).await?;
        if result == ResponseResult::empty() { Ok(()) } else { Err(RequestError::Unexpected) }
    }

    /// Sends a request and waits for the result, at most seven seconds. Events that arrive
    /// meanwhile are kept for [`Client::next_event`]. A request whose connection is lost is
    /// resent on the next one: all methods but `forget_last`, which fails then, are idempotent.
    ///
    /// # Errors
    ///
    /// The server refused or did not answer in time, or the conversation is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses only the result.
    pub async fn request(&mut self, method: &str, params: Map<String, Value>) -> Result<ResponseResult, RequestError> {
        let id = MessageId::random();
        if matches!(self.state, ConnectionState::Closed) {
            return Err(RequestError::Closed);
        }
        self.conversation.request(Request { id: id.clone(), method: method.to_owned(), params, timeout: TIMEOUT });
        self.timeouts.request_deadline = Some(Instant::now() + TIMEOUT + GRACE);
        self.arm_timer();
        loop {
            if let Some(result) = self.conversation.take_result(&id) {
                self.timeouts.request_deadline = None;
                return result;
            }
            if MAX_BACKLOG <= self.conversation.pending_events() {
                return Err(RequestError::Backlog);
            }
            self.step().await;
        }
    }
}
