//! Entries, turns and help of a session, as its connections get them.

use std::time::{Duration, Instant};

use protocol::server_frame::{Done, Entry, ErrorFrame, Finish, Forgotten, Role, Source, Support, Timing};
use protocol::{MessageId, MessageLabel, ServerFrame, UserLabel, UserText};
use safety::resources::Need;

use crate::assessor::Assessor;
use crate::cx::Cx;
use crate::effect::{AnswerQuery, Count, Delta, Effect, Recipients};
use crate::fanout::Fanout;
use crate::help::wire_resources;
use crate::ids::ConnectionId;
use crate::input::{Grant, Progress};
use crate::message::{Failure, Message, MessageRejection, Turn};
use crate::profile::Profile;
use crate::published::PublishedSeq;
use crate::replicas::{FollowStep, POLL_INTERVAL, RemoteDraft, Replicas, StoredMessage};
use crate::turns::Turns;
use crate::watch::need_of;

/// The conversation, without the operations on the store.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) user: UserLabel,
    pub(crate) fanout: Fanout,
    pub(crate) published: PublishedSeq,
    /// Messages of the person so far.
    pub(crate) messages: u64,
    pub(crate) turns: Turns,
    pub(crate) assessor: Assessor,
    pub(crate) profile: Profile,
    /// Origin of answers, as far as it is known before they begin.
    pub(crate) source: Source,
}

impl Conversation {
    // ---- connections ------------------------------------------------------------------------

    /// Attaches a connection, and sends it the turns in flight and help that is not stored yet.
    pub(crate) fn attach(&mut self, cx: &mut Cx<'_>) -> ConnectionId {
        let id = self.fanout.attach(cx);
        let mut send = |frame| cx.start(Effect::Send(Recipients::Only(id), frame));
        self.turns.current_frame().into_iter().for_each(&mut send);
        self.remote_draft().map(|draft| whole(draft).into_frame()).into_iter().for_each(&mut send);
        let unsaved = self.assessor.unsaved().cloned();
        unsaved.map(|support| ServerFrame::Support(Box::new(support))).for_each(&mut send);
        self.turns.waiting_frames().for_each(send);
        id
    }

    fn remote_draft(&self) -> Option<&RemoteDraft> {
        let draft = self.fanout.replicas.as_ref()?.draft()?;
        (!draft.text.is_empty()).then_some(draft)
    }

    pub(crate) fn publish_accepted(&self, sender: ConnectionId, message: &Message, seq: u64, cx: &mut Cx<'_>) {
        self.fanout.publish(self.fanout.to_sender(sender), accepted(message, seq), cx);
    }

    /// Publishes and counts the rejection of message `id`; behind help lines, if a level is remembered.
    pub(crate) fn reject(&self, to: Recipients, id: MessageId, rejection: MessageRejection, cx: &mut Cx<'_>) {
        cx.start(Effect::Count(Count::Rejected(rejection.code)));
        if let Some(need) = self.assessor.need_at_rejection(&id, cx.wall()) {
            let support = self.support(id.clone(), need, cx);
            self.fanout.publish(to, ServerFrame::Support(Box::new(support)), cx);
        }
        self.fanout.publish(to, self.error(id, rejection), cx);
    }

    pub(crate) fn error(&self, id: MessageId, rejection: MessageRejection) -> ServerFrame {
        ServerFrame::Error(rejection.frame(self.profile.language()).with_id(Some(id)))
    }

    // ---- help -------------------------------------------------------------------------------

    /// Sends the help that `need` calls for to every connection, and keeps it for the store.
    pub(crate) fn show(&mut self, id: MessageId, need: Need, cx: &mut Cx<'_>) {
        self.count_help(need, cx);
        let support = self.support(id, need, cx);
        self.fanout.publish(Recipients::All, ServerFrame::Support(Box::new(support.clone())), cx);
        self.assessor.keep_unsaved(support);
    }

    /// Builds the help for `need`, with the lines of the country in force.
    fn support(&self, id: MessageId, need: Need, cx: &Cx<'_>) -> Support {
        self.profile.whereabouts().support(id, need, self.profile.language(), cx.wall())
    }

    pub(crate) fn count_help(&self, need: Need, cx: &mut Cx<'_>) {
        cx.start(Effect::Count(Count::HelpShown(need, self.profile.language())));
    }

    /// Sends recent help again, with the lines of the country in force.
    pub(crate) fn resend_help(&self, cx: &mut Cx<'_>) {
        let Some((id, need)) = self.assessor.watch.shown() else { return };
        let support = self.support(id.clone(), need, cx);
        self.fanout.publish(Recipients::All, ServerFrame::Support(Box::new(support)), cx);
    }

    /// Adds help lines to stored help: the current ones, because the data changes.
    pub(crate) fn attach_resources(&self, entry: &mut Entry, now: protocol::Timestamp) {
        if let Some(help) = entry.help.as_mut().filter(|_| entry.role == Role::Support) {
            let need = need_of(help, self.assessor.watch.is_minor());
            help.resources = wire_resources(self.profile.whereabouts().select(need, self.profile.language(), now));
        }
    }

    // ---- turns ------------------------------------------------------------------------------

    /// Queues the answer to a stored message.
    pub(crate) fn enqueue(&mut self, stored: StoredMessage, grant: Grant, cx: &mut Cx<'_>) {
        let StoredMessage { from, message, seq } = stored;
        // A client that attaches must get one answer to a message: this core's, from now on.
        self.unfollow(&message.id, cx.now());
        let turn = Turn {
            label: MessageLabel { user: self.user, number: self.messages },
            seq,
            language: self.profile.language(),
            accepted_at: cx.now(),
            message_risk: self.assessor.message_risk(&message.id, &message.text),
            emergency: self.profile.whereabouts().emergency_number(),
            country: self.profile.whereabouts().country,
            message,
        };
        self.turns.push(Box::new(turn), from, grant.is_behind_others);
    }

    /// Handles progress of the running turn.
    pub(crate) fn on_progress(&mut self, progress: Progress, cx: &mut Cx<'_>) {
        match progress {
            Progress::Queued(ahead) => {
                self.turns.set_ahead(ahead);
                if let Some((id, sender)) = self.turns.answering() {
                    let queued = ServerFrame::Queued { id: id.clone(), ahead };
                    self.fanout.publish(self.fanout.to_waiting_sender(sender), queued, cx);
                }
            }
            Progress::Started => self.turns.set_ahead(0),
            Progress::Delta(delta) => {
                if self.turns.append(&delta) {
                    self.fanout.publish_delta(delta, cx);
                }
            }
            Progress::Restarted => self.turns.restart(),
            Progress::RiskRaised(risk) => {
                if let Some(id) = self.turns.answering().map(|(id, _)| id.clone())
                    && let Some(need) = self.assessor.watch.raise(&id, risk)
                {
                    self.show(id, need, cx);
                }
            }
        }
    }

    /// Stops the answer to message `id`, or removes the message from the queue.
    pub(crate) fn stop(&mut self, id: &MessageId, cx: &mut Cx<'_>) {
        if let Some(unstarted) = self.turns.stop(id, cx) {
            cx.start(Effect::Release { id: unstarted.turn.message.id.clone(), is_stopped: true });
            self.fanout.publish(Recipients::All, unstarted.done(self.source, cx.now()), cx);
            cx.start(Effect::Count(Count::Unstarted(unstarted.turn)));
        }
    }

    /// Returns the time at which the running answer has had no listener for `limit`.
    pub(crate) fn abandoned_at(&self, limit: Duration) -> Option<Instant> {
        self.turns.unfinished()?;
        Some(self.fanout.abandoned_since()? + limit)
    }

    /// Publishes the end of the turn, whose answer is stored if `done` has a `seq`.
    pub(crate) fn publish_done(&mut self, done: Box<Done>, cx: &mut Cx<'_>) {
        if self.turns.take_ended().is_some() {
            self.published.skip_to(done.seq.unwrap_or_default());
            if done.seq.is_some() {
                self.note_answered(&done.id);
            }
            self.fanout.publish(Recipients::All, ServerFrame::Done(done), cx);
        }
    }

    /// Publishes the failure of the turn: to its sender, or to all if they have read the answer.
    pub(crate) fn publish_failed(&mut self, failure: Failure, is_read: bool, cx: &mut Cx<'_>) {
        let Some((id, sender)) = self.turns.take_ended() else { return };
        // At the end of the session connections are closed with its reason instead.
        if let Failure::Rejected(rejection) = failure {
            let to = if is_read { Recipients::All } else { self.fanout.to_waiting_sender(sender) };
            self.reject(to, id, rejection, cx);
        }
    }

    // ---- entries of other cores ---------------------------------------------------------------

    /// Publishes an entry that another core has stored, if it is the next one. `sender`: the connection that has
    /// resubmitted its message; it gets its result separately.
    pub(crate) fn apply_entry(&mut self, entry: Entry, sender: Option<ConnectionId>, cx: &mut Cx<'_>) {
        // Its event may have arrived during the read.
        if !self.published.advance(entry.seq) {
            return;
        }
        self.messages += u64::from(entry.role == Role::User);
        self.assessor.watch.learn(&entry);
        let to = sender.map_or(Recipients::All, Recipients::AllExcept);
        if entry.role != Role::Assistant {
            return match sender {
                // The commit succeeded but its reply was lost, so no core has published it.
                Some(_) => self.fanout.publish(to, ServerFrame::Turn(entry), cx),
                None => self.fanout.publish_locally(to, ServerFrame::Turn(entry), cx),
            };
        }
        let remote_draft = self.unfollow(&entry.id, cx.now()).map(|draft| draft.text);
        self.note_answered(&entry.id);
        match self.turns.supersede(&entry.id, cx).or(remote_draft) {
            Some(shown) => self.publish_rest(to, &shown, &entry, cx),
            None => self.fanout.publish_locally(to, ServerFrame::Turn(entry), cx),
        }
    }

    /// Publishes that another core has forgotten a message, if that is the next entry.
    pub(crate) fn apply_forgotten(&mut self, forgotten: Forgotten, cx: &mut Cx<'_>) {
        if self.published.advance(forgotten.seq) {
            self.forget(&forgotten.id, cx);
            self.fanout.publish_locally(Recipients::All, ServerFrame::Forgotten(forgotten), cx);
        }
    }

    /// [`Conversation::apply_forgotten`], as the store has it: entries before it that are missing are gone.
    pub(crate) fn apply_missed_forgotten(&mut self, forgotten: Forgotten, cx: &mut Cx<'_>) {
        self.published.skip_to(forgotten.seq.saturating_sub(1));
        self.apply_forgotten(forgotten, cx);
    }

    /// Ends everything in progress for a message that is forgotten. The level of risk stays.
    pub(crate) fn forget(&mut self, id: &MessageId, cx: &mut Cx<'_>) {
        self.turns.supersede(id, cx);
        self.unfollow(id, cx.now());
        // Deltas of another core's answer may still be on their way.
        self.note_answered(id);
        self.assessor.on_saved(id);
    }

    /// Publishes the rest of a stored answer, of which connections here have the beginning.
    fn publish_rest(&self, to: Recipients, shown: &UserText, answer: &Entry, cx: &mut Cx<'_>) {
        let (offset, rest) = match answer.text.expose().strip_prefix(shown.expose()) {
            Some(rest) => (shown.chars(), rest),
            // Connections here have the losing one of two answers: the delta from offset 0 replaces it.
            None => (0, answer.text.expose()),
        };
        if !rest.is_empty() {
            let text = UserText::new(rest);
            let delta = ServerFrame::Delta { id: answer.id.clone(), offset, text, exercise: None };
            self.fanout.publish_locally(to, delta, cx);
        }
        self.fanout.publish_locally(to, stored_done(answer), cx);
    }

    /// Sends the stored answer to the connection that has resubmitted its message. Only this one needs it; a client that
    /// resumes gets it from the replay.
    pub(crate) fn redeliver(&self, stored: StoredMessage, answer: &Entry, cx: &mut Cx<'_>) {
        let StoredMessage { from: to, message, seq } = stored;
        self.fanout.publish_locally(Recipients::Only(to), accepted(&message, seq), cx);
        let text = answer.text.clone();
        let delta = ServerFrame::Delta { id: answer.id.clone(), offset: 0, text, exercise: None };
        self.fanout.publish_locally(Recipients::Only(to), delta, cx);
        self.fanout.publish_locally(Recipients::Only(to), stored_done(answer), cx);
    }

    // ---- remote answers -----------------------------------------------------------------------

    /// Stops following the answer of another core to `id`. Returns the draft that was published here.
    pub(crate) fn unfollow(&mut self, id: &MessageId, now: Instant) -> Option<RemoteDraft> {
        let replicas = self.fanout.replicas.as_mut()?;
        let draft = replicas.unfollow(id);
        self.turns.on_remote_turn_ended(now);
        draft
    }

    /// Returns true if deltas of another core's answer to `id` have arrived, and no later ones of another answer.
    pub(crate) fn has_remote_draft(&self, id: &MessageId) -> bool {
        self.fanout.replicas.as_deref().is_some_and(|replicas| replicas.has_draft_of(id))
    }

    /// Records that the stored answer to `id` was published here. Deltas of another core may still be on their way.
    pub(crate) fn note_answered(&mut self, id: &MessageId) {
        if let Some(replicas) = &mut self.fanout.replicas {
            replicas.note_answered(id);
        }
    }

    /// Returns true if a connection here follows another core's answer to `id`.
    pub(crate) fn is_followed(&self, id: &MessageId) -> bool {
        let follows = |replicas: &Replicas| replicas.follows(id);
        0 < self.fanout.local_connections() && self.fanout.replicas.as_deref().is_some_and(follows)
    }

    /// Goes on with a followed answer once every stored entry is published.
    pub(crate) fn on_followed_caught_up(&mut self, id: MessageId, cx: &mut Cx<'_>) {
        match self.step(&id) {
            Some(FollowStep::CatchUp { is_free: true }) => {
                self.set_step(&id, FollowStep::ReadAnswer);
                cx.start(Effect::ReadAnswer(AnswerQuery::Followed(id)));
            }
            Some(FollowStep::CatchUp { is_free: false }) => self.poll_again(&id, cx),
            _ => {}
        }
    }

    /// Polls the claim to `id` again later.
    pub(crate) fn poll_again(&mut self, id: &MessageId, cx: &Cx<'_>) {
        self.set_step(id, FollowStep::PollAt(cx.now() + POLL_INTERVAL));
    }

    /// Returns the step of the followed answer to `id`; `None` if it is not followed.
    pub(crate) fn step(&self, id: &MessageId) -> Option<FollowStep> {
        self.fanout.replicas.as_ref()?.step(id)
    }

    pub(crate) fn set_step(&mut self, id: &MessageId, step: FollowStep) {
        if let Some(replicas) = &mut self.fanout.replicas {
            replicas.set_step(id, step);
        }
    }

    /// Returns true if message `id` still lacks a core that answers it. One that was resubmitted meanwhile is in flight
    /// here, or followed from the beginning.
    pub(crate) fn is_to_be_taken_over(&self, id: &MessageId) -> bool {
        self.step(id) == Some(FollowStep::TakeOver)
    }

    /// Ends the followed answer to `id` with an error for the connections here.
    pub(crate) fn give_up(&mut self, id: &MessageId, rejection: MessageRejection, cx: &mut Cx<'_>) {
        self.unfollow(id, cx.now());
        self.fanout.publish_locally(Recipients::All, self.error(id.clone(), rejection), cx);
    }

    /// Publishes the failure of another core's answer.
    pub(crate) fn publish_remote_error(&mut self, error: ErrorFrame, cx: &mut Cx<'_>) {
        if let Some(id) = &error.id {
            self.unfollow(id, cx.now());
        }
        self.fanout.publish_locally(Recipients::All, ServerFrame::Error(error), cx);
    }
}

fn accepted(message: &Message, seq: u64) -> ServerFrame {
    ServerFrame::Accepted { id: message.id.clone(), seq, trace_id: message.trace.trace_id }
}

/// Returns the delta of all text of `draft`.
fn whole(draft: &RemoteDraft) -> Delta {
    Delta { id: draft.id.clone(), offset: 0, chars: draft.chars, text: draft.text.clone(), exercise: None }
}

/// Builds the `done` of an answer that was stored earlier; its timing is not stored.
fn stored_done(answer: &Entry) -> ServerFrame {
    ServerFrame::Done(Box::new(Done {
        id: answer.id.clone(),
        seq: Some(answer.seq),
        finish: answer.finish.unwrap_or(Finish::Stop),
        source: answer.source.unwrap_or(Source::Llm),
        model: None,
        chars: answer.text.chars(),
        ms: Timing::default(),
        usage: None,
        exercise: None,
    }))
}
