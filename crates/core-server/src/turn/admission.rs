//! Admission of a message: checks the limits, claims and stores it.

use protocol::server_frame::{Entry, Role};
use protocol::{ErrorCode, MessageId, UserLabel};

use limits::ClientSubnet;
use session::{Admission, AdmissionRequest, AnswerOwner, Message, MessageRejection};
use store::{Appended, NewEntry, StoreError};

use super::budget::{Attempt, AttemptKind, Permit};
use super::{TurnService, now};

impl TurnService {
    /// Admits a message of `user`, and stores it if it is accepted. A message that was stored before, with an answer or a
    /// claim, is [`Admission::Known`] regardless of the limits: a retry must not be rejected.
    ///
    /// # Errors
    ///
    /// The store failed; the message may or may not be stored.
    pub async fn admit(&self, user: UserLabel, request: &AdmissionRequest) -> Result<Admission<Permit>, StoreError> {
        let AdmissionRequest { message, after, .. } = request;
        let (attempt, after) = (self.attempt(user, request), *after);
        match self.budget.begin(attempt, AttemptKind::New).await {
            Ok(AnswerOwner::ThisCore(permit)) => self.store_message(attempt, after, message, permit).await,
            Ok(AnswerOwner::OtherCore) => self.store_for_another(user, after, message).await,
            Err(rejection) => self.existing_or(rejection, attempt).await,
        }
    }

    /// Begins another attempt to answer a stored message.
    ///
    /// # Errors
    ///
    /// A [`MessageRejection`]; nothing is counted or claimed.
    pub async fn retry(
        &self,
        user: UserLabel,
        request: &AdmissionRequest,
    ) -> Result<AnswerOwner<Permit>, MessageRejection> {
        self.budget.begin(self.attempt(user, request), AttemptKind::Retry).await
    }

    fn attempt<'a>(&self, user: UserLabel, request: &'a AdmissionRequest) -> Attempt<'a> {
        let AdmissionRequest { message, is_busy, .. } = request;
        Attempt {
            user,
            id: &message.id,
            from: ClientSubnet::of(message.address),
            is_busy: *is_busy,
            needs_slot: self.needs_slot(),
            in_risk: message.risk.must_be_answered(),
        }
    }

    /// Returns true if an answer needs a model slot. With every breaker open the companion answers at once, past the
    /// queue.
    fn needs_slot(&self) -> bool {
        self.model.as_ref().is_some_and(|model| !model.is_unavailable())
    }

    /// Stores a message that this core will answer.
    async fn store_message(
        &self,
        Attempt { user, id, .. }: Attempt<'_>,
        after: u64,
        message: &Message,
        mut permit: Permit,
    ) -> Result<Admission<Permit>, StoreError> {
        let known = match self.append(user, after, entry_of(message)).await {
            Ok(Appended::New(entry)) => {
                self.budget.commit(user, id, &mut permit).await;
                return Ok(Admission::Accepted(entry, AnswerOwner::ThisCore(permit)));
            }
            Ok(Appended::Existing { .. }) => self.store.entries_of(user, id).await,
            Ok(Appended::Forgotten(forgotten)) => {
                self.budget.cancel(user, id, permit).await;
                return Ok(Admission::Forgotten(forgotten));
            }
            Err(error) => Err(error),
        };
        match known {
            Ok(known) if !is_answered(&known) => {
                // Stored since `after`, by another core or by an attempt whose reply was lost: nothing has been
                // counted for it yet.
                let is_new_here = known.first().is_some_and(|first| after < first.seq);
                if is_new_here {
                    self.budget.commit(user, id, &mut permit).await;
                } else {
                    self.budget.recount_as_retry(user, id, &mut permit).await;
                }
                Ok(Admission::Known(known, AnswerOwner::ThisCore(permit)))
            }
            known => {
                self.budget.cancel(user, id, permit).await;
                Ok(Admission::Known(known?, AnswerOwner::OtherCore))
            }
        }
    }

    /// Stores a message that another core has claimed: that core may not have stored it yet.
    async fn store_for_another(
        &self,
        user: UserLabel,
        after: u64,
        message: &Message,
    ) -> Result<Admission<Permit>, StoreError> {
        Ok(match self.append(user, after, entry_of(message)).await? {
            Appended::New(entry) => Admission::Accepted(entry, AnswerOwner::OtherCore),
            Appended::Existing { .. } => {
                Admission::Known(self.store.entries_of(user, &message.id).await?, AnswerOwner::OtherCore)
            }
            Appended::Forgotten(forgotten) => Admission::Forgotten(forgotten),
        })
    }

    /// A rejected message may be a retry of an accepted one: looks it up before rejecting.
    async fn existing_or(
        &self,
        rejection: MessageRejection,
        attempt: Attempt<'_>,
    ) -> Result<Admission<Permit>, StoreError> {
        let Attempt { user, id, .. } = attempt;
        let known = self.store.entries_of(user, id).await?;
        if known.is_empty() {
            return Ok(Admission::Rejected(rejection));
        }
        if is_answered(&known) || self.budget.is_held_remotely(user, id).await {
            return Ok(Admission::Known(known, AnswerOwner::OtherCore));
        }
        // Only the rate windows treat a retry differently from a new message.
        if rejection.code != ErrorCode::RateLimited {
            return Ok(Admission::Rejected(rejection));
        }
        Ok(match self.budget.begin(attempt, AttemptKind::Retry).await {
            Ok(owner) => Admission::Known(known, owner),
            Err(retry) if matches!(retry.code, ErrorCode::UserBusy | ErrorCode::Overloaded) => {
                Admission::Rejected(retry)
            }
            Err(_) => Admission::Rejected(rejection),
        })
    }

    /// Returns true if the message has a stored answer.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn is_answered(&self, user: UserLabel, id: &MessageId) -> Result<bool, StoreError> {
        Ok(is_answered(&self.store.entries_of(user, id).await?))
    }
}

fn entry_of(message: &Message) -> NewEntry {
    NewEntry {
        id: message.id.clone(),
        role: Role::User,
        text: message.text.clone(),
        at: now(),
        finish: None,
        source: None,
        help: None,
    }
}

fn is_answered(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.role == Role::Assistant)
}
