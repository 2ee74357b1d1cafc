//! Questions about the session (`proto-line/SPEC.md` §5).

use std::time::Duration;

use protocol::client_frame::Request;
use protocol::server_frame::{Entry, ResponseResult, SafetyPlan};
use protocol::{Country, Locale, MessageId, SessionId, Timestamp, UserLabel};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Client, Link};
use crate::error::RequestError;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How much later we give up by ourselves: the server has an answer for its own deadline.
const GRACE: Duration = Duration::from_secs(2);
/// Events that may wait while a request is awaited.
const MAX_BACKLOG: usize = 1_024;

/// What the server knows of a session.
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

/// Some entries of a session, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether there are more in the direction asked for.
    pub more: bool,
}

impl Client {
    /// What the server knows of this session.
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

    /// The newest `limit` entries (1 to 200), of those before `before_seq` if that is given.
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

    /// Entries after `after_seq`, from the session's start with 0. While there are more, ask
    /// again after the last one.
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

    /// Erases the session for good, on all devices; says how many entries it had. The client is
    /// at its end then: [`Event::Closed`](crate::Event::Closed) follows.
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

    /// Switches the session's language, also for connections to come; returns the one in use.
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

    /// Tells the country that the person is in, also for connections to come; help that was shown comes again with
    /// its lines. Returns the one in use.
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

    /// The safety plan that the person has made in this conversation, if there is one.
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

    /// Asks for `method` and waits for the result, at most seven seconds. Events that come
    /// meanwhile are kept for [`Client::next_event`]. A request whose connection is lost is sent
    /// again on the next one: all methods may be repeated.
    ///
    /// # Errors
    ///
    /// The server refuses or does not answer in time, or the conversation is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the result and nothing else.
    pub async fn request(&mut self, method: &str, params: Map<String, Value>) -> Result<ResponseResult, RequestError> {
        let id = MessageId::random();
        if matches!(self.link, Link::Over) {
            return Err(RequestError::Closed);
        }
        self.conversation.request(Request { id: id.clone(), method: method.to_owned(), params, timeout: TIMEOUT });
        self.times.request = Some(Instant::now() + TIMEOUT + GRACE);
        self.arm();
        loop {
            if let Some(result) = self.conversation.take_result(&id) {
                self.times.request = None;
                return result;
            }
            if MAX_BACKLOG <= self.conversation.waiting_events() {
                return Err(RequestError::Backlog);
            }
            self.step().await;
        }
    }
}
