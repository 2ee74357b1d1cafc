//! Operations of a session that wait for the store or the cluster, each in a task of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use protocol::server_frame::{Forgotten, Role, Support};
use protocol::{ErrorCode, MessageId};
use session::{
    AdmissionRequest, AnswerQuery, Claims, ClaimsQuery, EntryPage, Erased, Failure, Input, MessageRejection,
    StoreRequest, Stored, StoredSession,
};
use store::{Appended, Forget, NewEntry, Page, SessionRecord, StoreError};

use super::live_session::LiveSession;
use crate::turn::{Permit, now, store_failure};

/// Result of an operation, and the permit of a message that this core answers.
struct Outcome {
    result: Result<Stored, Failure>,
    granted: Option<(MessageId, Permit)>,
}

/// Task of a session that waits for the store or the cluster.
#[derive(Debug)]
pub(super) struct StoreTask(Arc<LiveSession>);

impl StoreTask {
    pub(super) fn of(session: &Arc<LiveSession>) -> Self {
        Self(Arc::clone(session))
    }

    pub(super) fn spawn(self, request: StoreRequest) {
        let session = Arc::clone(&self.0);
        // Boxed: the runtime moves the future of a task several times, and this one is long.
        session.sessions.tasks().spawn(Box::pin(async move {
            // A panic must not leave the session without the result: it would store nothing any more.
            let outcome = AssertUnwindSafe(self.run(request)).catch_unwind().await;
            let Outcome { result, granted } = outcome.unwrap_or_else(|_| {
                let failure = Failure::Rejected(MessageRejection::permanent(ErrorCode::Internal));
                Outcome { result: Err(failure), granted: None }
            });
            self.0.update_cell(|cell, now| {
                // In one step: the session may start the turn at once.
                granted.into_iter().for_each(|(id, permit)| cell.turns.keep(id, permit));
                cell.session.on(now, Input::Stored(result), &mut cell.effects);
            });
        }));
    }

    pub(super) fn spawn_claims_query(self, query: ClaimsQuery) {
        let session = Arc::clone(&self.0);
        session.sessions.tasks().spawn(async move {
            let claims = self.read_claims(&query).await;
            self.0.on(Input::Claims(query, claims));
        });
    }

    pub(super) fn spawn_answer_query(self, query: AnswerQuery) {
        let Self(session) = self;
        let sessions = Arc::clone(&session.sessions);
        sessions.tasks().spawn(async move {
            let id = match &query {
                AnswerQuery::Followed(id) => Some(id),
                AnswerQuery::RemoteError(error) => error.id.as_ref(),
            };
            let answered = match id {
                Some(id) => session.sessions.turns().is_answered(session.user(), id).await,
                None => Ok(false),
            };
            session.on(Input::AnswerRead(query, answered.map_err(|error| store_failure(&error))));
        });
    }

    async fn run(&self, request: StoreRequest) -> Outcome {
        let user = self.0.user();
        let store = &self.0.sessions.turns().store;
        let result = match request {
            StoreRequest::Admit(request) => return self.admit(request).await,
            StoreRequest::Retry(request) => return self.retry(request).await,
            StoreRequest::SetLocale(locale) => store.set_locale(user, locale).await.map(|()| Stored::Saved),
            StoreRequest::SetCountry(country) => store.set_country(user, country).await.map(|()| Stored::Saved),
            StoreRequest::AppendHelp { support, after } => {
                let result = self.append_help(*support, after).await;
                return Outcome { result, granted: None };
            }
            StoreRequest::ReadRecord { is_background } => self.read_record(is_background).await,
            StoreRequest::ReadEntries { after, limit } => {
                store.readable_entries(user, Page::After { seq: after, limit }).await.map(|page| {
                    let (rows, last_seq) = (page.rows(), page.last_seq());
                    let forgotten = page.tombstones.into_iter().map(|tombstone| tombstone.forgotten).collect();
                    Stored::Entries(EntryPage { entries: page.entries, forgotten, rows, last_seq })
                })
            }
            StoreRequest::ReadLastMessage => store.last_message(user).await.map(Stored::LastMessage),
            StoreRequest::Forget { id, help } => store
                .forget(user, Forget { id, at: now(), help })
                .await
                .map(|erased| Stored::Forgotten(erased.map(|(forgotten, entries)| Erased { forgotten, entries }))),
            StoreRequest::RotateResume(token) => store.rotate_token(user, token).await.map(Stored::Rotated),
            StoreRequest::Erase => store.erase(user).await.map(Stored::Erased),
        };
        let result = result.map_err(|error| {
            if !matches!(error, StoreError::NoSession { .. }) {
                tracing::warn!(%user, %error, "store operation of the session failed");
            }
            store_failure(&error)
        });
        Outcome { result, granted: None }
    }

    async fn admit(&self, request: AdmissionRequest) -> Outcome {
        let message = &request.message;
        match self.0.sessions.turns().admit(self.0.user(), &request).await {
            Ok(admission) => {
                let mut kept = None;
                let admission = admission.map_permit(|permit| kept.insert(permit).grant());
                let granted = kept.map(|permit| (message.id.clone(), permit));
                Outcome { result: Ok(Stored::Admission(admission)), granted }
            }
            Err(error) => {
                if !matches!(error, StoreError::NoSession { .. }) {
                    let span = tracing::error_span!("admission", trace_id = %message.trace.trace_id);
                    span.in_scope(|| tracing::error!(%error, "failed to store message"));
                }
                Outcome { result: Err(store_failure(&error)), granted: None }
            }
        }
    }

    async fn retry(&self, request: AdmissionRequest) -> Outcome {
        let mut kept = None;
        let owner = self.0.sessions.turns().retry(self.0.user(), &request).await;
        let owner = owner.map(|owner| owner.map_permit(|permit| kept.insert(permit).grant()));
        Outcome { result: Ok(Stored::Retry(owner)), granted: kept.map(|permit| (request.message.id, permit)) }
    }

    async fn append_help(&self, support: Support, after: u64) -> Result<Stored, Failure> {
        match self.0.sessions.turns().append(self.0.user(), after, entry_of(support)).await {
            Ok(Appended::New(entry)) => Ok(Stored::Appended(Box::new(entry))),
            Ok(Appended::Existing { seq } | Appended::Forgotten(Forgotten { seq, .. })) => Ok(Stored::Existing(seq)),
            Err(error) => {
                // Without the user's label: the line would reveal who is at risk.
                if !matches!(error, StoreError::NoSession { .. }) {
                    tracing::warn!(%error, "help that was shown is not stored yet");
                }
                Err(store_failure(&error))
            }
        }
    }

    async fn read_record(&self, is_background: bool) -> Result<Stored, StoreError> {
        // After a reconnect to the cluster every live session catches up: they must not stampede the database.
        let _permit = if is_background { self.0.sessions.catch_ups().acquire().await.ok() } else { None };
        let record = self.0.sessions.turns().store.session(self.0.user()).await?;
        Ok(Stored::Record(record.map(|SessionRecord { seq, locale, rotations, .. }| StoredSession {
            seq,
            locale,
            rotations,
        })))
    }

    async fn read_claims(&self, query: &ClaimsQuery) -> Claims {
        let Some(cluster) = self.0.cluster() else { return Claims::Unknown };
        let Some(in_flight) = cluster.in_flight(self.0.user()).await else { return Claims::Unknown };
        match query {
            ClaimsQuery::Order if in_flight.is_other_cores_turn() => Claims::OtherCoreFirst,
            ClaimsQuery::Order => Claims::ThisCoreFirst,
            ClaimsQuery::Followed(id) if in_flight.contains(id) => Claims::Held,
            ClaimsQuery::Followed(_) => Claims::Free,
        }
    }
}

/// Builds the entry of `support`, without its help lines.
fn entry_of(support: Support) -> NewEntry {
    let Support { id, text, help, .. } = support;
    NewEntry { id, role: Role::Support, text, at: now(), finish: None, source: None, help: Some(Box::new(help)) }
}
