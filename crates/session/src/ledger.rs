//! Operations on the store, and the publication of their results.

mod catch_up;
mod forgetting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::server_frame::{Entry, Role};
use protocol::{CloseReason, MessageId, ServerFrame, UserText};

use crate::commits::{Active, CatchUpReason, Commit, Commits, Forgetting, Rotation, Submission, Then};
use crate::conversation::Conversation;
use crate::cx::Cx;
use crate::effect::{AdmissionRequest, Completed, Count, Effect, Recipients, StoreRequest};
use crate::event::SessionEvent;
use crate::ids::Ticket;
use crate::input::{Admission, AnswerOwner, Ended, Stored};
use crate::message::{Failure, Message, MessageRejection};
use crate::replicas::StoredMessage;
use crate::settings::Settings;

/// Pause after a message that was answered beyond the limits: risk words must not buy a flood.
const BEYOND_LIMITS_PAUSE: Duration = Duration::from_secs(1);

/// The conversation, and the order in which it is stored.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Shared by all sessions.
    pub(crate) settings: Arc<Settings>,
    pub(crate) life: Life,
    pub(crate) conversation: Conversation,
    pub(crate) commits: Commits,
    /// Messages to be forgotten once their turns have ended.
    pub(crate) forgettings: Vec<Forgetting>,
    /// Earliest time of the next answer beyond the limits.
    pub(crate) beyond_limits_until: Option<Instant>,
}

/// Life of a session. It ends once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// The store has it, as far as this core knows.
    Open,
    /// The store no longer has it.
    Gone {
        /// Number of entries that this core erased.
        entries: u64,
    },
}

impl Ledger {
    /// Starts the operations that wait, until one is in progress.
    pub(crate) fn proceed(&mut self, cx: &mut Cx<'_>) {
        self.resume_forgetting();
        while let Some(commit) = self.commits.next() {
            match self.life {
                Life::Open => self.begin(commit, cx),
                Life::Gone { entries } => begin_without_session(commit, entries, cx),
            }
        }
    }

    fn begin(&mut self, commit: Commit, cx: &mut Cx<'_>) {
        match commit {
            Commit::Admit(submission) => self.begin_admission(submission, cx),
            Commit::Record(id) => self.begin_recording(id, cx),
            Commit::SaveHelp => {
                let after = self.conversation.published.seq();
                if let Some(support) = self.conversation.assessor.next_unsaved().cloned().map(Box::new) {
                    self.request(
                        Active::AppendHelp(support.id.clone()),
                        StoreRequest::AppendHelp { support, after },
                        cx,
                    );
                }
            }
            Commit::CatchUp(reason) => {
                let is_background = !matches!(reason, CatchUpReason::Call(_));
                let spoken = self.conversation.profile.locale();
                self.request(Active::ReadRecord { reason, spoken }, StoreRequest::ReadRecord { is_background }, cx);
            }
            Commit::TakeOver(id) => self.begin_take_over(&id, cx),
            Commit::SetLocale(locale, ticket) => {
                self.request(Active::SaveLocale(locale, Some(ticket)), StoreRequest::SetLocale(locale), cx);
            }
            Commit::SetCountry(country, ticket) => {
                self.request(Active::SaveCountry(country, Some(ticket)), StoreRequest::SetCountry(country), cx);
            }
            Commit::RotateResume(rotation) => {
                let request = StoreRequest::RotateResume(rotation.token.clone());
                self.request(Active::RotateResume(rotation), request, cx);
            }
            Commit::Forget(forgetting) => self.begin_forgetting(forgetting, cx),
            Commit::Expire => self.request(Active::Expire, StoreRequest::Erase, cx),
            Commit::Erase(ticket) => self.request(Active::Erase(ticket), StoreRequest::Erase, cx),
        }
    }

    fn request(&mut self, active: Active, request: StoreRequest, cx: &mut Cx<'_>) {
        self.commits.begin(active);
        cx.start(Effect::Store(request));
    }

    /// Admits a message, behind a language and a country that it, or one before it, has shown.
    fn begin_admission(&mut self, submission: Box<Submission>, cx: &mut Cx<'_>) {
        let profile = &mut self.conversation.profile;
        if let Some(locale) = profile.take_unsaved_locale() {
            self.commits.push_front(Commit::Admit(submission));
            return self.request(Active::SaveLocale(locale, None), StoreRequest::SetLocale(locale), cx);
        }
        if let Some(country) = profile.take_unsaved_country() {
            self.commits.push_front(Commit::Admit(submission));
            return self.request(Active::SaveCountry(country, None), StoreRequest::SetCountry(country), cx);
        }
        let Submission { from, message, ticket } = &*submission;
        if let Some(seq) = self.conversation.turns.adopt_resubmission(&message.id, *from) {
            self.conversation.publish_accepted(*from, message, seq, cx);
            return cx.start(Effect::Complete(*ticket, Ok(Completed::Done)));
        }
        let request = StoreRequest::Admit(self.attempt(message.clone()));
        self.request(Active::Admit(submission), request, cx);
    }

    fn attempt(&self, message: Message) -> AdmissionRequest {
        let is_busy = self.settings.per_user_max <= self.conversation.turns.in_flight();
        AdmissionRequest { message, after: self.conversation.published.seq(), is_busy }
    }

    /// Lets the turn record its answer. The next entry is stored after `done` is published.
    fn begin_recording(&mut self, id: MessageId, cx: &mut Cx<'_>) {
        let conversation = &mut self.conversation;
        if !conversation.turns.is_current(&id) {
            // The turn has failed before it was its answer's time.
            return;
        }
        let text = conversation.turns.answer_to_record();
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            conversation.assessor.watch.answered(text);
        }
        let after = text.map(|_| conversation.published.seq());
        self.commits.begin(Active::Record);
        cx.start(Effect::RecordTurn { id, after });
    }

    fn begin_take_over(&mut self, id: &MessageId, cx: &mut Cx<'_>) {
        // Resubmitted meanwhile, and in flight here or followed again.
        if self.conversation.is_to_be_taken_over(id) {
            let sent = self.conversation.fanout.replicas.as_mut().and_then(|replicas| replicas.take_unanswered(id));
            match sent {
                Some(stored) => {
                    let request = StoreRequest::Retry(self.attempt(stored.message.clone()));
                    self.request(Active::Retry(Box::new(stored)), request, cx);
                }
                None => self.conversation.give_up(id, MessageRejection::abandoned(), cx),
            }
        }
    }

    // ---- results --------------------------------------------------------------------------------

    /// Handles the result of the operation in progress.
    pub(crate) fn on_stored(&mut self, result: Result<Stored, Failure>, cx: &mut Cx<'_>) {
        if let Err(Failure::NoSession) = result {
            self.end(0, cx);
        }
        match (self.commits.take_active(), result) {
            (Some(active), Err(failure)) => self.on_failed(active, failure, cx),
            (Some(Active::SaveLocale(locale, ticket)), Ok(Stored::Saved)) => {
                if let Some(ticket) = ticket {
                    self.conversation.profile.choose(locale);
                    complete(ticket, cx);
                }
                self.conversation.fanout.publish_to_cores(SessionEvent::Locale { locale }, cx);
            }
            (Some(Active::SaveCountry(country, ticket)), Ok(Stored::Saved)) => {
                ticket.into_iter().for_each(|ticket| complete(ticket, cx));
                self.conversation.fanout.publish_to_cores(SessionEvent::Country { country }, cx);
            }
            (Some(Active::Admit(submission)), Ok(Stored::Admission(admission))) => {
                self.on_admission(submission, admission, cx);
            }
            (Some(Active::AppendHelp(_)), Ok(Stored::Appended(entry))) => {
                self.catch_up(entry.seq.saturating_sub(1), None, Then::PublishHelp(entry), cx);
            }
            (Some(Active::AppendHelp(id)), Ok(Stored::Existing(seq))) => {
                self.catch_up(seq, None, Then::ForgetHelp(id), cx);
            }
            (Some(Active::ReadRecord { reason, spoken }), Ok(Stored::Record(record))) => {
                self.on_record(record, spoken, reason, cx);
            }
            (Some(Active::Retry(stored)), Ok(Stored::Retry(owner))) => match owner {
                Ok(owner) => {
                    self.conversation.unfollow(&stored.message.id, cx.now());
                    self.answer_or_follow(*stored, owner, cx);
                }
                Err(rejection) => self.conversation.give_up(&stored.message.id, rejection, cx),
            },
            (Some(Active::RotateResume(rotation)), Ok(Stored::Rotated(rotations))) => {
                self.on_rotated(rotation, rotations, cx);
            }
            (Some(Active::ReadLastMessage(forgetting)), Ok(Stored::LastMessage(last))) => {
                self.on_last_message(forgetting, last, cx);
            }
            (Some(Active::Forget(forgetting)), Ok(Stored::Forgotten(erased))) => {
                self.on_forgotten(forgetting, erased, cx);
            }
            (Some(Active::Erase(ticket)), Ok(Stored::Erased(entries))) => {
                self.end(entries, cx);
                cx.start(Effect::Complete(ticket, Ok(Completed::Erased(entries))));
            }
            (Some(Active::Expire), Ok(Stored::Erased(entries))) => self.end(entries, cx),
            (Some(Active::ReadEntries(catch_up)), Ok(Stored::Entries(page))) => self.on_entries(catch_up, page, cx),
            // The owner returns the result that belongs to the request.
            (Some(_) | None, Ok(_)) | (None, Err(_)) => debug_assert!(false, "result without its operation"),
        }
    }

    fn on_failed(&mut self, active: Active, failure: Failure, cx: &mut Cx<'_>) {
        match active {
            Active::SaveLocale(_, None) => self.conversation.profile.restore_unsaved_locale(),
            Active::SaveCountry(_, None) => self.conversation.profile.restore_unsaved_country(),
            Active::SaveLocale(_, Some(ticket)) | Active::SaveCountry(_, Some(ticket)) => {
                cx.start(Effect::Complete(ticket, Err(failure)));
            }
            Active::RotateResume(Rotation { ticket, .. }) | Active::ReadLastMessage(Forgetting { ticket, .. }) => {
                cx.start(Effect::Complete(ticket, Err(failure)));
            }
            Active::Forget(Forgetting { ticket, .. }) => {
                cx.start(Effect::Complete(ticket, Err(failure)));
                // The store may have forgotten it all the same; a client that still shows it would repeat the call for another message.
                self.commits.push(Commit::CatchUp(CatchUpReason::Gap));
            }
            Active::Erase(ticket) => {
                let erased = if failure == Failure::NoSession { Ok(Completed::Erased(0)) } else { Err(failure) };
                cx.start(Effect::Complete(ticket, erased));
            }
            Active::Admit(submission) => {
                // At the end of the session its connection is closed with the reason instead.
                let rejection = if let Failure::Rejected(rejection) = failure { Some(rejection) } else { None };
                self.refuse(*submission, rejection, cx);
            }
            Active::AppendHelp(_) => self.conversation.assessor.on_save_failed(cx.now()),
            Active::Retry(stored) => {
                let rejection =
                    if let Failure::Rejected(rejection) = failure { rejection } else { MessageRejection::abandoned() };
                self.conversation.give_up(&stored.message.id, rejection, cx);
            }
            Active::ReadRecord { reason, .. } => self.on_catch_up_failed(reason, failure, cx),
            Active::ReadEntries(catch_up) => match catch_up.then {
                Then::CaughtUp(reason) => self.on_catch_up_failed(reason, failure, cx),
                then => {
                    self.conversation.fanout.close_all(CloseReason::Internal, cx);
                    self.continue_with(then, cx);
                }
            },
            // In memory, where only a session that is gone fails.
            Active::Expire => {}
            Active::Record => debug_assert!(false, "the turn itself reports the result"),
        }
    }

    fn on_rotated(&mut self, Rotation { from, token, ticket }: Rotation, rotations: u64, cx: &mut Cx<'_>) {
        let fanout = &mut self.conversation.fanout;
        fanout.publish_to_cores(SessionEvent::Rotated { rotations }, cx);
        fanout.revoke(rotations, Some(from), cx);
        cx.start(Effect::Complete(ticket, Ok(Completed::Rotated(token))));
    }

    // ---- messages -------------------------------------------------------------------------------

    fn on_admission(&mut self, submission: Box<Submission>, admission: Admission, cx: &mut Cx<'_>) {
        match admission {
            Admission::Accepted(entry, owner) => {
                self.catch_up(entry.seq.saturating_sub(1), None, Then::Accept(submission, entry, owner), cx);
            }
            Admission::Known(entries, owner) => {
                let last = entries.last().map_or(0, |last| last.seq);
                let own = Some((submission.from, submission.message.id.clone()));
                self.catch_up(last, own, Then::Resubmit(submission, entries, owner), cx);
            }
            Admission::Forgotten(forgotten) => {
                let Submission { from, ticket, .. } = *submission;
                self.conversation.fanout.publish_locally(Recipients::Only(from), ServerFrame::Forgotten(forgotten), cx);
                complete(ticket, cx);
                self.save_help();
            }
            Admission::Rejected(rejection) => {
                self.refuse(*submission, Some(rejection), cx);
            }
        }
    }

    /// Ends a submission whose message is not admitted.
    fn refuse(&mut self, submission: Submission, rejection: Option<MessageRejection>, cx: &mut Cx<'_>) {
        let Submission { from, message, ticket } = submission;
        if let Some(rejection) = rejection {
            // Only the sender: a client that has resumed meanwhile resubmits the message and gets its own result.
            self.conversation.reject(Recipients::Only(from), message.id, rejection, cx);
        }
        complete(ticket, cx);
        self.save_help();
    }

    fn accept(&mut self, submission: Submission, entry: Entry, owner: AnswerOwner, cx: &mut Cx<'_>) {
        let Submission { from, message, ticket } = submission;
        cx.start(Effect::Count(Count::Accepted));
        let conversation = &mut self.conversation;
        conversation.publish_accepted(from, &message, entry.seq, cx);
        let seq = entry.seq;
        // Skipped if another core, to which it was resubmitted, has published it already.
        if conversation.published.advance(seq) {
            conversation.messages += 1;
            conversation.fanout.publish(Recipients::AllExcept(from), ServerFrame::Turn(entry), cx);
        }
        self.answer_or_follow(StoredMessage { from, message, seq }, owner, cx);
        complete(ticket, cx);
        self.save_help();
    }

    /// Delivers the stored answer of a resubmitted message; without one the message is answered now.
    fn resubmit(&mut self, submission: Submission, entries: &[Entry], owner: AnswerOwner, cx: &mut Cx<'_>) {
        let Submission { from, message, ticket } = submission;
        cx.start(Effect::Count(Count::Deduplicated));
        let with_role = |role| entries.iter().find(|entry| entry.role == role);
        let seq = with_role(Role::User).map_or(0, |entry| entry.seq);
        if let Some(answer) = with_role(Role::Assistant) {
            self.conversation.redeliver(StoredMessage { from, message, seq }, answer, cx);
        } else {
            self.conversation.publish_accepted(from, &message, seq, cx);
            let text = with_role(Role::User).map_or_else(UserText::default, |entry| entry.text.clone());
            self.answer_or_follow(StoredMessage { from, message: Message { text, ..message }, seq }, owner, cx);
        }
        complete(ticket, cx);
        self.save_help();
    }

    /// Answers a stored message here, or follows the core that holds its claim.
    fn answer_or_follow(&mut self, stored: StoredMessage, owner: AnswerOwner, cx: &mut Cx<'_>) {
        match owner {
            // Erased between the admission and now.
            AnswerOwner::ThisCore(_) if self.life != Life::Open => {
                cx.start(Effect::Release { id: stored.message.id, is_stopped: false });
            }
            AnswerOwner::ThisCore(grant) => {
                if grant.is_beyond_limits {
                    cx.start(Effect::Count(Count::BeyondLimits));
                    self.beyond_limits_until = Some(cx.now() + BEYOND_LIMITS_PAUSE);
                }
                self.conversation.enqueue(stored, grant, cx);
            }
            AnswerOwner::OtherCore => {
                if let Some(replicas) = &mut self.conversation.fanout.replicas {
                    replicas.follow(stored.message.id.clone(), Some(stored), cx.now());
                }
            }
        }
    }

    /// Handles the end of the running turn, whose answer is recorded and whose claim is released.
    pub(crate) fn on_turn_ended(&mut self, ended: Ended, cx: &mut Cx<'_>) {
        let is_recording = matches!(self.commits.active(), Some(Active::Record));
        if is_recording {
            self.commits.take_active();
        }
        match ended {
            Ended::Failed(Failure::NoSession) | Ended::NotRecorded(Failure::NoSession) => {
                self.end(0, cx);
                self.conversation.publish_failed(Failure::NoSession, false, cx);
            }
            Ended::Failed(failure) => self.conversation.publish_failed(failure, false, cx),
            Ended::NotRecorded(failure) => self.conversation.publish_failed(failure, true, cx),
            Ended::Done(done) => {
                let before = done.seq.unwrap_or_default().saturating_sub(1);
                self.catch_up(before, None, Then::PublishDone(done), cx);
            }
        }
        self.save_help();
    }

    /// Stores help that was shown, as the next operation.
    pub(crate) fn save_help(&mut self) {
        if self.conversation.assessor.has_unsaved() && !self.commits.is_saving_help() {
            self.commits.push_front(Commit::SaveHelp);
        }
    }

    // ---- catching up ------------------------------------------------------------------------------

    fn continue_with(&mut self, then: Then, cx: &mut Cx<'_>) {
        match then {
            Then::Accept(submission, entry, owner) => self.accept(*submission, entry, owner, cx),
            Then::Resubmit(submission, entries, owner) => self.resubmit(*submission, &entries, owner, cx),
            Then::PublishDone(done) => self.conversation.publish_done(done, cx),
            Then::PublishHelp(entry) => self.publish_help(*entry, cx),
            Then::ForgetHelp(id) => {
                self.conversation.assessor.on_saved(&id);
                self.save_help();
            }
            Then::Forget(forgetting, erased) => self.forget(forgetting, erased, cx),
            Then::CaughtUp(reason) => self.on_caught_up(reason, cx),
        }
    }

    fn publish_help(&mut self, mut entry: Entry, cx: &mut Cx<'_>) {
        let conversation = &mut self.conversation;
        conversation.attach_resources(&mut entry, cx.wall());
        conversation.assessor.on_saved(&entry.id);
        if conversation.published.advance(entry.seq) {
            conversation.fanout.publish(Recipients::All, ServerFrame::Turn(entry), cx);
        }
        self.save_help();
    }

    fn on_caught_up(&mut self, reason: CatchUpReason, cx: &mut Cx<'_>) {
        match reason {
            CatchUpReason::Gap => {}
            CatchUpReason::Call(ticket) => complete(ticket, cx),
            CatchUpReason::Followed(id) => self.conversation.on_followed_caught_up(id, cx),
        }
    }

    fn on_catch_up_failed(&mut self, reason: CatchUpReason, failure: Failure, cx: &mut Cx<'_>) {
        if let CatchUpReason::Call(ticket) = reason {
            return cx.start(Effect::Complete(ticket, Err(failure)));
        }
        // Later frames must not hide the gap. Clients reconnect, and get it replayed.
        self.conversation.fanout.close_all(CloseReason::Internal, cx);
        self.on_caught_up(reason, cx);
    }

    // ---- the end ----------------------------------------------------------------------------------

    /// Ends a session that the store no longer has: cancels its turns, closes its connections with `erased` and
    /// publishes that to the other cores.
    pub(crate) fn end(&mut self, entries: u64, cx: &mut Cx<'_>) {
        if self.life == Life::Open {
            self.conversation.fanout.publish_to_cores(SessionEvent::Erased, cx);
            self.end_here(entries, cx);
        }
    }

    /// [`Ledger::end`] without the event to other cores.
    pub(crate) fn end_here(&mut self, entries: u64, cx: &mut Cx<'_>) {
        if self.life == Life::Open {
            self.life = Life::Gone { entries };
            self.conversation.turns.end(cx);
            self.conversation.fanout.end(cx);
        }
    }
}

fn complete(ticket: Ticket, cx: &mut Cx<'_>) {
    cx.start(Effect::Complete(ticket, Ok(Completed::Done)));
}

/// Completes an operation on a session that is gone: the store has nothing of it. `entries`: number of entries erased.
fn begin_without_session(commit: Commit, entries: u64, cx: &mut Cx<'_>) {
    match commit {
        // Its connection was closed with the reason: no frame can follow.
        Commit::Admit(submission) => complete(submission.ticket, cx),
        Commit::Record(id) => cx.start(Effect::RecordTurn { id, after: None }),
        Commit::SetLocale(_, ticket)
        | Commit::SetCountry(_, ticket)
        | Commit::RotateResume(Rotation { ticket, .. })
        | Commit::Forget(Forgetting { ticket, .. }) => {
            cx.start(Effect::Complete(ticket, Err(Failure::NoSession)));
        }
        Commit::CatchUp(CatchUpReason::Call(ticket)) => complete(ticket, cx),
        Commit::Erase(ticket) => cx.start(Effect::Complete(ticket, Ok(Completed::Erased(entries)))),
        Commit::Expire | Commit::SaveHelp | Commit::TakeOver(_) | Commit::CatchUp(_) => {}
    }
}
