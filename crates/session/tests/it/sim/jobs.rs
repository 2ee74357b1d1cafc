//! Operations on the store and on the cluster that return a result to the session.

use std::time::Duration;

use protocol::MessageId;
use protocol::server_frame::{Entry, Forgotten, Role};
use session::{
    Admission, AdmissionRequest, AnswerOwner, AnswerQuery, Claims, ClaimsQuery, EntryPage, Failure, Grant, Input,
    MessageRejection, StoreRequest, Stored,
};

use super::cluster::{Claim, Claimed};
use super::store::{Appended, entry, unavailable};
use super::world::World;

const PER_USER_MAX: usize = 2;

type Operation = Box<dyn FnOnce(&mut World) -> Result<Stored, Failure>>;
type Stage<T> = Box<dyn FnOnce(&mut World, T)>;

impl World {
    /// Runs an operation on the store, and passes its result on. While the store is down it may be executed or not.
    pub(super) fn ask_store<T: 'static>(
        &mut self,
        core: usize,
        operation: impl FnOnce(&mut World) -> Result<T, Failure> + 'static,
        reply: impl FnOnce(&mut World, Result<T, Failure>) + 'static,
    ) {
        let (there, back) = (self.latency(), self.latency());
        let life = self.cores[core].life;
        self.after(there, move |world| {
            let is_faulty = world.store.is_down || world.is_fault(world.profile.lost_reply_per_mille);
            let is_lost = is_faulty || world.cores[core].life != life;
            let result = if is_lost && world.rng.bool() { Err(unavailable()) } else { operation(world) };
            world.after(back, move |world| {
                if world.cores[core].life == life {
                    reply(world, if is_faulty { Err(unavailable()) } else { result });
                }
            });
        });
    }

    /// Executes a request, and returns its result as an input.
    pub(super) fn execute(&mut self, core: usize, request: StoreRequest) {
        let reply = move |world: &mut World, result| world.feed(core, Input::Stored(result));
        let operation: Operation = match request {
            StoreRequest::Admit(request) => return self.admit(core, request),
            StoreRequest::Retry(request) => return self.retry(core, request),
            StoreRequest::SetLocale(locale) => Box::new(move |world| {
                world.store.locale = locale;
                if world.store.is_erased { Err(Failure::NoSession) } else { Ok(Stored::Saved) }
            }),
            StoreRequest::SetCountry(country) => Box::new(move |world| {
                world.store.country = Some(country);
                if world.store.is_erased { Err(Failure::NoSession) } else { Ok(Stored::Saved) }
            }),
            StoreRequest::AppendHelp { support, .. } => Box::new(move |world| {
                let mut entry = entry(&support.id, Role::Support, &support.text, world.wall());
                entry.help = Some(Box::new(support.help));
                Ok(match world.store.append(entry)? {
                    Appended::New(entry) => Stored::Appended(Box::new(entry)),
                    Appended::Existing(seq) | Appended::Forgotten(Forgotten { seq, .. }) => Stored::Existing(seq),
                })
            }),
            StoreRequest::ReadRecord { .. } => Box::new(|world| Ok(Stored::Record(world.store.record()))),
            StoreRequest::ReadEntries { after, limit } => Box::new(move |world| {
                if world.store.is_erased {
                    return Err(Failure::NoSession);
                }
                let entries: Vec<Entry> = world.store.after(after).cloned().collect();
                let forgotten = world.store.forgotten.iter().filter(|it| after < it.seq).cloned();
                let forgotten: Vec<Forgotten> = forgotten.collect();
                let rows = entries.len() + forgotten.len();
                world.require(rows < limit, || "a page does not hold a whole conversation".into());
                let last_seq = (0 < rows).then_some(world.store.last());
                Ok(Stored::Entries(EntryPage { entries, forgotten, rows, last_seq }))
            }),
            StoreRequest::ReadLastMessage => Box::new(|world| {
                let last = world.store.entries.iter().rev().find(|entry| entry.role == Role::User);
                let id = last.map(|last| last.id.clone());
                if world.store.is_erased { Err(Failure::NoSession) } else { Ok(Stored::LastMessage(id)) }
            }),
            StoreRequest::Forget { id, .. } => Box::new(move |world| world.store.forget(&id).map(Stored::Forgotten)),
            StoreRequest::RotateResume(_) => Box::new(|world| {
                world.store.rotations += 1;
                if world.store.is_erased { Err(Failure::NoSession) } else { Ok(Stored::Rotated(world.store.rotations)) }
            }),
            StoreRequest::Erase => Box::new(|world| world.store.erase().map(Stored::Erased)),
        };
        self.ask_store(core, operation, reply);
    }

    // ---- admission ----------------------------------------------------------------------------------

    /// Claims a message, stores it, and returns the admission.
    fn admit(&mut self, core: usize, request: AdmissionRequest) {
        let claimed = request.clone();
        self.claim(core, &claimed, Box::new(move |world, outcome| world.admit_claimed(core, request, outcome)));
    }

    fn admit_claimed(
        &mut self,
        core: usize,
        request: AdmissionRequest,
        claimed: Result<AnswerOwner, MessageRejection>,
    ) {
        let message = request.message;
        let id = message.id.clone();
        let owner = match claimed {
            Ok(owner) => owner,
            Err(rejection) => return self.find_or_reject(core, id, rejection),
        };
        let reply_id = id.clone();
        let operation = move |world: &mut World| {
            let appended = world.store.append(entry(&id, Role::User, &message.text, world.wall()))?;
            Ok((appended, world.store.entries_of(&id)))
        };
        self.ask_store(core, operation, move |world, result| {
            world.admitted(core, &reply_id, owner, result);
        });
    }

    fn admitted(
        &mut self,
        core: usize,
        id: &MessageId,
        owner: AnswerOwner,
        result: Result<(Appended, Vec<Entry>), Failure>,
    ) {
        let admission = match result {
            Ok((Appended::New(entry), _)) => Ok(Admission::Accepted(entry, owner)),
            Ok((Appended::Forgotten(forgotten), _)) => {
                self.return_permit(core, id, owner);
                Ok(Admission::Forgotten(forgotten))
            }
            Ok((Appended::Existing(_), known)) if !is_answered(&known) => Ok(Admission::Known(known, owner)),
            Ok((Appended::Existing(_), known)) => {
                self.return_permit(core, id, owner);
                Ok(Admission::Known(known, AnswerOwner::OtherCore))
            }
            Err(failure) => {
                self.return_permit(core, id, owner);
                Err(failure)
            }
        };
        self.feed(core, Input::Stored(admission.map(Stored::Admission)));
    }

    fn return_permit(&mut self, core: usize, id: &MessageId, owner: AnswerOwner) {
        if let AnswerOwner::ThisCore(_) = owner
            && let Some(number) = self.cores[core].take_permit(id)
        {
            self.release_claim(core, id.clone(), number, false);
        }
    }

    /// A rejected message may be stored: then it is looked up, and its answer with it.
    fn find_or_reject(&mut self, core: usize, id: MessageId, rejection: MessageRejection) {
        let found = id.clone();
        self.ask_store(
            core,
            move |world| {
                if world.store.is_erased { Ok(Vec::new()) } else { Ok(world.store.entries_of(&found)) }
            },
            move |world, known: Result<Vec<Entry>, Failure>| {
                let now_ms = world.now_ms;
                let link = &world.cores[core].link;
                let own = link.id;
                let is_held_remotely = link.is_connected
                    && world.cluster.in_flight(now_ms).iter().any(|claim| claim.id == id && claim.core != own);
                let admission = known.map(|known| match known {
                    known if known.is_empty() => Admission::Rejected(rejection),
                    known if is_answered(&known) || is_held_remotely => Admission::Known(known, AnswerOwner::OtherCore),
                    _ => Admission::Rejected(rejection),
                });
                world.feed(core, Input::Stored(admission.map(Stored::Admission)));
            },
        );
    }

    /// Claims another attempt to answer a stored message.
    fn retry(&mut self, core: usize, request: AdmissionRequest) {
        let id = request.message.id.to_string();
        let is_stopped = self.cores[core].stopped.contains(&id)
            || (self.cores[core].link.is_connected && self.cluster.stopped.contains(&id));
        if is_stopped {
            let rejected = Ok(Stored::Retry(Err(MessageRejection::abandoned())));
            return self.for_session(core, 1, move |world| world.feed(core, Input::Stored(rejected)));
        }
        self.claim(
            core,
            &request,
            Box::new(move |world, owner| {
                world.feed(core, Input::Stored(Ok(Stored::Retry(owner))));
            }),
        );
    }

    /// Checks the limits and claims a message. Without the cluster every core is on its own.
    fn claim(&mut self, core: usize, request: &AdmissionRequest, then: Stage<Result<AnswerOwner, MessageRejection>>) {
        let AdmissionRequest { message, is_busy, .. } = request;
        let is_limited = *is_busy || self.is_fault(self.profile.limited_per_mille);
        let is_beyond_limits = is_limited && message.risk.must_be_answered();
        if is_limited && !is_beyond_limits {
            let rejection =
                if *is_busy { MessageRejection::busy() } else { MessageRejection::limited(Duration::from_secs(1)) };
            return self.for_session(core, 0, move |world| then(world, Err(rejection)));
        }
        let (id, number) = (message.id.clone(), self.number());
        let most = (!message.risk.must_be_answered()).then_some(PER_USER_MAX);
        let claimed = id.clone();
        let query = move |world: &mut World, core, previous| {
            world.cluster.stopped.remove(claimed.as_str());
            world.cluster.claim(Claim { id: claimed, core, number }, previous, most, world.now_ms)
        };
        self.ask_cluster(core, query, move |world, outcome| {
            let is_behind_others = match outcome {
                Some(Claimed::Held) => return then(world, Ok(AnswerOwner::OtherCore)),
                Some(Claimed::Busy) => return then(world, Err(MessageRejection::busy())),
                Some(Claimed::Granted { before }) => 0 < before,
                None => false,
            };
            world.cores[core].stopped.remove(id.as_str());
            world.cores[core].permits.push((id, number));
            then(world, Ok(AnswerOwner::ThisCore(Grant { is_behind_others, is_beyond_limits })));
        });
    }

    // ---- reads ----------------------------------------------------------------------------------------

    pub(super) fn read_claims(&mut self, core: usize, query: ClaimsQuery) {
        let asked = query.clone();
        let read = move |world: &mut World, own, _| {
            let now_ms = world.now_ms;
            let claims = world.cluster.in_flight(now_ms);
            match asked {
                ClaimsQuery::Order => {
                    let is_behind = claims.iter().any(|claim| claim.core == own)
                        && claims.first().is_some_and(|first| first.core != own);
                    if is_behind { Claims::OtherCoreFirst } else { Claims::ThisCoreFirst }
                }
                ClaimsQuery::Followed(id) if claims.iter().any(|claim| claim.id == id) => Claims::Held,
                ClaimsQuery::Followed(_) => Claims::Free,
            }
        };
        self.ask_cluster(core, read, move |world, claims| {
            world.feed(core, Input::Claims(query, claims.unwrap_or(Claims::Unknown)));
        });
    }

    pub(super) fn read_answer(&mut self, core: usize, query: AnswerQuery) {
        let id = match &query {
            AnswerQuery::Followed(id) => Some(id.clone()),
            AnswerQuery::RemoteError(error) => error.id.clone(),
        };
        let read = move |world: &mut World| {
            if world.store.is_erased {
                return Err(Failure::NoSession);
            }
            Ok(id.is_some_and(|id| world.store.find(&id, Role::Assistant).is_some()))
        };
        self.ask_store(core, read, move |world, result| world.feed(core, Input::AnswerRead(query, result)));
    }
}

fn is_answered(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.role == Role::Assistant)
}
