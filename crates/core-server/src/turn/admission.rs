//! Whether a message is taken, and who answers it.

use protocol::server_frame::{Entry, Role};
use protocol::{ErrorCode, MessageId, UserLabel};

use super::budget::{AnswerOwner, Attempt, AttemptKind, Permit};
use super::{Message, MessageRejection, TurnService, now};
use crate::cluster::CoreId;
use crate::store::{Appended, NewEntry, StoreError};

/// What became of a message.
#[derive(Debug)]
pub enum Admission {
    /// Stored now.
    Accepted(Entry, AnswerOwner),
    /// Stored before: its entry and, when there is one, its answer.
    Known(Vec<Entry>, AnswerOwner),
    /// Neither stored nor to be answered.
    Rejected(MessageRejection),
}

impl TurnService {
    /// Decides on a message of `user`, whose highest `seq` is `after` as far as is known, and
    /// stores it if it is accepted. `is_busy`: they have as many pending here as they may. A message
    /// that was stored before and has its answer, or awaits one, is known, whatever the limits say.
    ///
    /// # Errors
    ///
    /// The store failed; the message may or may not be stored.
    pub async fn admit(
        &self,
        user: UserLabel,
        after: u64,
        message: &Message,
        is_busy: bool,
    ) -> Result<Admission, StoreError> {
        let attempt = Attempt {
            user,
            id: &message.id,
            from: message.from,
            is_busy,
            needs_slot: self.needs_slot(),
            in_risk: message.risk.is_high(),
        };
        match self.budget.begin(attempt, AttemptKind::New).await {
            Ok(AnswerOwner::ThisCore(permit)) => self.store_message(attempt, after, message, permit).await,
            Ok(AnswerOwner::OtherCore) => self.store_for_another(user, after, message).await,
            Err(rejection) => self.existing_or(rejection, attempt).await,
        }
    }

    /// Whether an answer needs a slot. Where every breaker is open the companion answers at once, however
    /// many wait for one.
    pub fn needs_slot(&self) -> bool {
        self.model.as_ref().is_some_and(|model| !model.is_unavailable())
    }

    /// Stores a message that is to be answered here.
    async fn store_message(
        &self,
        Attempt { user, id, .. }: Attempt<'_>,
        after: u64,
        message: &Message,
        mut permit: Permit,
    ) -> Result<Admission, StoreError> {
        let known = match self.append(user, after, entry_of(message)).await {
            Ok(Appended::New(entry)) => {
                self.budget.commit(user, id, &mut permit).await;
                return Ok(Admission::Accepted(entry, AnswerOwner::ThisCore(permit)));
            }
            Ok(Appended::Existing { .. }) => self.store.entries_of(user, id).await,
            Err(error) => Err(error),
        };
        match known {
            Ok(known) if !is_answered(&known) => {
                // Stored since, by another core or by an attempt whose outcome was not learnt: nothing
                // has been counted for it.
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

    /// Stores a message that another core has claimed: that one may not have come to it yet.
    async fn store_for_another(&self, user: UserLabel, after: u64, message: &Message) -> Result<Admission, StoreError> {
        Ok(match self.append(user, after, entry_of(message)).await? {
            Appended::New(entry) => Admission::Accepted(entry, AnswerOwner::OtherCore),
            Appended::Existing { .. } => {
                Admission::Known(self.store.entries_of(user, &message.id).await?, AnswerOwner::OtherCore)
            }
        })
    }

    /// Looks a message up that may not be sent as a new one: it may have been accepted before.
    async fn existing_or(&self, rejection: MessageRejection, attempt: Attempt<'_>) -> Result<Admission, StoreError> {
        let Attempt { user, id, .. } = attempt;
        let known = self.store.entries_of(user, id).await?;
        if known.is_empty() {
            return Ok(Admission::Rejected(rejection));
        }
        if is_answered(&known) || self.budget.is_held_remotely(user, id).await {
            return Ok(Admission::Known(known, AnswerOwner::OtherCore));
        }
        // Only the windows treat it differently from a new one.
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

    /// Whether the message has its answer.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn is_answered(&self, user: UserLabel, id: &MessageId) -> Result<bool, StoreError> {
        Ok(is_answered(&self.store.entries_of(user, id).await?))
    }

    /// Whether events of `core` are our own.
    pub fn is_own_core(&self, core: CoreId) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.is_own_id(core))
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
