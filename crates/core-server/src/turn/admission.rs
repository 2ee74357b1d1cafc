//! Whether a message is taken, and who answers it.

use boot::Household;
use protocol::server_frame::{Entry, Role};
use protocol::{MessageId, UserLabel};
use tokio::time::Instant;

use super::{Engine, Message, Refusal, now};
use crate::limits::Room;
use crate::shared::{Claim, Claimed, CoreId};
use crate::store::{Appended, NewEntry, StoreError};

/// What became of a message.
#[derive(Debug)]
pub enum Admission {
    /// Stored now.
    Accepted(Entry, Answerer),
    /// Stored before: its entry and, when there is one, its answer.
    Known(Vec<Entry>, Answerer),
    /// Neither stored nor to be answered.
    Refused(Refusal),
}

/// How an answer begins.
#[derive(Debug)]
pub struct Begin {
    /// Once other messages of the session have their answers, perhaps on other cores.
    pub in_turn: bool,
    /// What it was promised; without, and without a model, it needs none.
    pub room: Option<Room>,
}

impl Admission {
    /// The message's `seq`, if it is stored.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::Accepted(entry, _) => Some(entry.seq),
            Self::Known(entries, _) => entries.first().map(|entry| entry.seq),
            Self::Refused(_) => None,
        }
    }
}

/// Who is to answer a message, if it has no answer yet.
#[derive(Debug)]
pub enum Answerer {
    /// This core; it may have it under way already.
    Here(Begin),
    /// Another core, which has it under way.
    Elsewhere,
}

impl Engine {
    /// Decides on a message of `user`, whose highest `seq` is `after` as far as is known, and
    /// stores it if it is accepted. `busy`: they have as many under way here as they may. A message
    /// that was stored before is known, whatever the limits say.
    ///
    /// # Errors
    ///
    /// The store failed; the message may or may not be stored.
    pub async fn admit(
        &self,
        user: UserLabel,
        after: u64,
        message: &Message,
        busy: bool,
    ) -> Result<Admission, StoreError> {
        let at = Instant::now();
        match self.let_in(user, message, busy, at).await {
            Ok(answerer) => {
                let ours = matches!(answerer, Answerer::Here(_));
                let admission = self.store_message(user, after, message, (answerer, at)).await;
                self.settle(Claim { user, id: &message.id, counted: Some((message.from, at)) }, ours, &admission).await;
                admission
            }
            Err(refusal) => self.known_or(refusal, user, &message.id).await,
        }
    }

    /// What the limits say; a message they let in is claimed.
    async fn let_in(&self, user: UserLabel, message: &Message, busy: bool, at: Instant) -> Result<Answerer, Refusal> {
        let room = self.room(user, message.from, busy, at)?;
        self.claim(Claim { user, id: &message.id, counted: Some((message.from, at)) }, room).await
    }

    /// What the limits of this core say; room for an answer of the model, if there is one.
    fn room(&self, user: UserLabel, from: Household, busy: bool, at: Instant) -> Result<Option<Room>, Refusal> {
        let in_force = |limit| self.shared.as_ref().map_or(limit, |shared| shared.in_force(limit));
        let person = self.rate.wait_within(in_force(self.rate.limit()), &user, at);
        let address = self.address_rate.wait_within(in_force(self.address_rate.limit()), &from, at);
        if let Some(retry_after) = person.max(address) {
            return Err(Refusal::limited(retry_after));
        }
        if busy {
            return Err(Refusal::busy());
        }
        // Where every breaker is open the companion answers at once, however many wait for a slot.
        let model = self.model.as_ref().filter(|model| !model.is_left_alone());
        model.map(|_| self.slots.room()).transpose().map_err(Refusal::from)
    }

    /// Claims a message where there are other cores; a core alone decides alone.
    async fn claim(&self, claim: Claim<'_>, room: Option<Room>) -> Result<Answerer, Refusal> {
        let claimed = match &self.shared {
            Some(shared) => shared.claim(claim).await,
            None => None,
        };
        let here = |in_turn| Ok(Answerer::Here(Begin { in_turn, room }));
        match claimed {
            None => here(false),
            Some(Claimed::Ours { before }) => here(0 < before),
            Some(Claimed::Held { here: true }) => here(true),
            Some(Claimed::Held { here: false }) => Ok(Answerer::Elsewhere),
            Some(Claimed::Busy) => Err(Refusal::busy()),
            Some(Claimed::Limited { wait }) => Err(Refusal::limited(wait)),
        }
    }

    /// A message that may not be sent may still be one that was sent before.
    async fn known_or(&self, refusal: Refusal, user: UserLabel, id: &MessageId) -> Result<Admission, StoreError> {
        let known = self.store.entries_of(user, id).await?;
        Ok(if known.is_empty() {
            Admission::Refused(refusal)
        } else if is_answered(&known) {
            Admission::Known(known, Answerer::Elsewhere)
        } else {
            match self.claim_accepted(user, id).await {
                Ok(answerer) => Admission::Known(known, answerer),
                Err(refusal) => Admission::Refused(refusal),
            }
        })
    }

    async fn store_message(
        &self,
        user: UserLabel,
        after: u64,
        message: &Message,
        (answerer, at): (Answerer, Instant),
    ) -> Result<Admission, StoreError> {
        let entry = NewEntry {
            id: message.id.clone(),
            role: Role::User,
            text: message.text.clone(),
            at: now(),
            finish: None,
            source: None,
        };
        Ok(match self.append(user, after, entry).await? {
            Appended::New(entry) => {
                self.rate.record(user, at);
                self.address_rate.record(message.from, at);
                Admission::Accepted(entry, answerer)
            }
            Appended::Known { .. } => Admission::Known(self.store.entries_of(user, &message.id).await?, answerer),
        })
    }

    /// Counts a message that was accepted, and gives back what was claimed for one that was not.
    async fn settle(&self, claim: Claim<'_>, ours: bool, admission: &Result<Admission, StoreError>) {
        let (Some(shared), Some((from, at))) = (self.shared.as_ref().filter(|_| ours), claim.counted) else { return };
        match admission {
            Ok(Admission::Accepted(..)) => {}
            Ok(Admission::Known(known, _)) if !is_answered(known) => shared.forgive(claim.user, from, at).await,
            Ok(Admission::Known(..) | Admission::Refused(_)) | Err(_) => shared.release(claim).await,
        }
    }

    /// Whether the message has its answer.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn is_answered(&self, user: UserLabel, id: &MessageId) -> Result<bool, StoreError> {
        Ok(is_answered(&self.store.entries_of(user, id).await?))
    }

    /// Gives back the claim to a message that has its answer, or gets none here.
    pub async fn release(&self, user: UserLabel, id: &MessageId) {
        if let Some(shared) = &self.shared {
            shared.release(Claim { user, id, counted: None }).await;
        }
    }

    /// Claims a message that was accepted, whatever the limits say. Says who is to answer it.
    ///
    /// # Errors
    ///
    /// The person has as many under way as they may.
    pub async fn claim_accepted(&self, user: UserLabel, id: &MessageId) -> Result<Answerer, Refusal> {
        // It was promised an answer: there is room, however many wait.
        let room = self.model.as_ref().map(|_| self.slots.insist());
        self.claim(Claim { user, id, counted: None }, room).await
    }

    /// Tells Redis what counts: it may have started anew.
    pub async fn recall(&self) {
        let now = Instant::now();
        if let Some(shared) = &self.shared {
            shared.recall(&self.rate.events(now), &self.address_rate.events(now)).await;
        }
    }

    /// Whether events of `core` are our own.
    pub fn is_this(&self, core: CoreId) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_this(core))
    }
}

fn is_answered(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.role == Role::Assistant)
}
