//! Requests about a session (`proto-line/SPEC.md` §5).

use std::sync::Arc;

use bytes::BytesMut;
use protocol::client_frame::Request;
use protocol::limits::{DEFAULT_HISTORY_ENTRIES, MAX_HISTORY_ENTRIES, MAX_SERVER_LINE_BYTES};
use protocol::server_frame::{Entry, ResponseResult, SafetyPlan};
use protocol::{Country, ErrorCode, Locale, ResumeToken, ServerFrame, UserText};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use session::{ConnectionId, Input, MessageRejection, known_country};
use store::{Page, StoreError, Summary};

use super::history::History;
use super::{LINK_VALIDITY, LiveSession, SessionError};

/// Bytes reserved in a line for everything but the entries.
const ENVELOPE_BYTES: usize = 512;

/// Error of a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No method has this name.
    #[error("unknown method")]
    UnknownMethod,
    /// The parameters do not fit the method.
    #[error("bad parameters")]
    BadParams,
    /// It had not begun by its deadline.
    #[error("not begun by its deadline")]
    TooLate,
    /// The session could not execute it.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl RequestError {
    /// Maps the error to the code that the client gets.
    pub fn rejection(&self) -> MessageRejection {
        match self {
            Self::UnknownMethod => MessageRejection::permanent(ErrorCode::UnknownMethod),
            Self::BadParams => MessageRejection::permanent(ErrorCode::BadParams),
            Self::TooLate => MessageRejection::permanent(ErrorCode::Timeout),
            Self::Session(error) => error.rejection(),
        }
    }
}

#[derive(Deserialize)]
struct HistoryParams {
    before_seq: Option<u64>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct ExportParams {
    after_seq: Option<u64>,
}

#[derive(Deserialize)]
struct EraseParams {
    confirm: String,
}

#[derive(Deserialize)]
struct LocaleParams {
    locale: Locale,
}

#[derive(Deserialize)]
struct CountryParams {
    country: Country,
}

#[derive(Deserialize)]
struct RotateParams {
    resume: Option<UserText>,
}

impl LiveSession {
    /// Executes `request` of connection `from`. Run it as a task of its own: a deadline ends the wait for the response, never the work.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was changed.
    pub async fn request(
        self: Arc<Self>,
        from: ConnectionId,
        request: Request,
    ) -> Result<ResponseResult, RequestError> {
        match request.method.as_str() {
            "session" => Ok(self.describe()),
            "history" => self.history_page(params(request)?).await,
            "export" => self.export(params(request)?).await,
            "erase" => {
                let EraseParams { confirm } = params(request)?;
                if confirm != self.id().as_str() {
                    return Err(RequestError::BadParams);
                }
                Ok(ResponseResult::Erased { erased: self.erase().await? })
            }
            "set_locale" => {
                let LocaleParams { locale } = params(request)?;
                self.set_locale(locale).await?;
                Ok(ResponseResult::Locale { locale })
            }
            "set_country" => {
                let CountryParams { country } = params(request)?;
                let country = known_country(country).ok_or(RequestError::BadParams)?;
                self.set_country(country).await?;
                Ok(ResponseResult::Country { country })
            }
            "rotate_resume" => self.rotate_resume_to(from, params(request)?).await,
            "forget_last" => {
                let (id, erased, seq) = self.forget_last(from).await?;
                Ok(ResponseResult::Forgotten { erased, seq, id })
            }
            "summary" => Ok(summary_result(self.summary().await?)),
            "forget_summary" => {
                self.forget_summary().await?;
                Ok(ResponseResult::empty())
            }
            "link" => self.link_code().await,
            "safety_plan" => Ok(ResponseResult::SafetyPlan { plan: self.safety_plan().await? }),
            _ => Err(RequestError::UnknownMethod),
        }
    }

    async fn rotate_resume_to(
        self: &Arc<Self>,
        from: ConnectionId,
        RotateParams { resume }: RotateParams,
    ) -> Result<ResponseResult, RequestError> {
        let token = resume.map(|token| token.expose().parse::<ResumeToken>()).transpose();
        let token = token.map_err(|_| RequestError::BadParams)?.unwrap_or_else(ResumeToken::random);
        self.rotate_resume(from, token.clone()).await?;
        Ok(ResponseResult::Rotated { resume: UserText::new(token.expose()) })
    }

    async fn link_code(self: &Arc<Self>) -> Result<ResponseResult, RequestError> {
        let code = UserText::new(self.link().await?.expose());
        Ok(ResponseResult::Link { code, expires_in_ms: u64::try_from(LINK_VALIDITY.as_millis()).unwrap_or(u64::MAX) })
    }

    fn describe(&self) -> ResponseResult {
        let cell = self.cell();
        ResponseResult::Session {
            session: self.id().clone(),
            user: self.user(),
            created_at: self.created_at,
            seq: cell.session.seq(),
            connections: cell.session.connections(),
            locale: cell.session.locale(),
        }
    }

    async fn history_page(self: &Arc<Self>, params: HistoryParams) -> Result<ResponseResult, RequestError> {
        let limit = params.limit.unwrap_or(DEFAULT_HISTORY_ENTRIES);
        if !(1..=MAX_HISTORY_ENTRIES).contains(&limit) {
            return Err(RequestError::BadParams);
        }
        let seq = params.before_seq.unwrap_or(u64::MAX);
        let (entries, beyond) = self.history().whole_page(Page::Before { seq, limit: limit + 1 }).await?;
        // Keep the newest: entries that do not fit are omitted at the front.
        let fits = fitting(entries.iter().rev());
        let left_out = entries.len() - fits;
        let entries = entries.into_iter().skip(left_out).collect();
        Ok(ResponseResult::History { entries, more: beyond || 0 < left_out })
    }

    async fn export(self: &Arc<Self>, params: ExportParams) -> Result<ResponseResult, RequestError> {
        let seq = params.after_seq.unwrap_or(0);
        let limit = MAX_HISTORY_ENTRIES;
        let (entries, beyond) = self.history().whole_page(Page::After { seq, limit: limit + 1 }).await?;
        let fits = fitting(entries.iter());
        let more = beyond || fits < entries.len();
        let next = entries.get(..fits).and_then(<[Entry]>::last).map_or(seq, |last| last.seq);
        let entries = entries.into_iter().take(fits).collect();
        Ok(ResponseResult::Export { entries, more, next })
    }

    /// Returns the stored entries.
    pub fn history(self: &Arc<Self>) -> History<'_> {
        History::of(self)
    }

    /// Returns the safety plan that the person has made in this conversation.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn safety_plan(self: &Arc<Self>) -> Result<Option<SafetyPlan>, SessionError> {
        Ok(self.end_if_missing(self.sessions.turns().safety_plan(self.user(), self.language()).await)?)
    }

    /// Passes a result of the store through, and ends the session if the store no longer has it: another process erased
    /// it, or its retention expired.
    pub(super) fn end_if_missing<T>(self: &Arc<Self>, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::NoSession { .. }) = &result {
            self.on(Input::Missing);
        }
        result
    }

    /// Applies the language and the country of a client's `hello`, and restores the memory of risk.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub(super) async fn apply_hello(
        self: &Arc<Self>,
        locale: Option<Locale>,
        country: Option<Country>,
        seq: u64,
    ) -> Result<(), SessionError> {
        match locale {
            Some(locale) if locale != self.locale() => self.set_locale(locale).await?,
            // An unchanged one counts as chosen too.
            Some(locale) => self.cell().session.confirm_locale(locale),
            None => {}
        }
        let is_new = |country: &Country| self.cell().session.country() != Some(*country);
        if let Some(country) = country.filter(is_new) {
            self.set_country(country).await?;
        }
        if !self.cell().session.watch().is_restored() {
            let watch = self.history().read_watch(seq).await?;
            self.cell().session.restore_risk(watch);
        }
        Ok(())
    }
}

fn summary_result(summary: Option<Summary>) -> ResponseResult {
    match summary {
        Some(Summary { first, last, text }) => {
            ResponseResult::Summary { text: Some(text), first_seq: first, last_seq: last }
        }
        None => ResponseResult::Summary { text: None, first_seq: 0, last_seq: 0 },
    }
}

fn params<P: DeserializeOwned>(request: Request) -> Result<P, RequestError> {
    serde_json::from_value(request.params.into()).map_err(|_| RequestError::BadParams)
}

/// Counts how many of `entries`, in their order, fit one server line.
fn fitting<'a>(entries: impl Iterator<Item = &'a Entry>) -> usize {
    let mut line = BytesMut::new();
    let mut bytes = ENVELOPE_BYTES;
    entries
        .take_while(|entry| {
            line.clear();
            ServerFrame::Turn((*entry).clone()).encode_line(&mut line);
            bytes += line.len();
            bytes <= MAX_SERVER_LINE_BYTES
        })
        .count()
}
