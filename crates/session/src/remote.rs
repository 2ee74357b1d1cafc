//! Agreement with the other cores that have the session: their events, and the answers that they give.

use protocol::server_frame::{Done, ErrorFrame};
use protocol::{MessageId, ServerFrame};

use crate::commits::{CatchUpReason, Commit};
use crate::cx::Cx;
use crate::effect::{AnswerQuery, ClaimsQuery, Delta, Effect, Recipients};
use crate::event::{CoreId, SessionEvent};
use crate::input::Claims;
use crate::ledger::Ledger;
use crate::message::{Failure, MessageRejection};
use crate::replicas::{AppliedDelta, FollowStep, Replicas};

/// View of the ledger for what concerns other cores.
pub(crate) struct Agreement<'a>(pub(crate) &'a mut Ledger);

impl Agreement<'_> {
    // ---- membership -----------------------------------------------------------------------------

    /// Handles the start of the subscription.
    pub(crate) fn on_subscribed(&mut self, cx: &mut Cx<'_>) {
        let connections = self.0.conversation.fanout.local_connections();
        let Some(replicas) = &mut self.0.conversation.fanout.replicas else { return };
        replicas.publish_hello(connections, cx);
        if replicas.may_have_missed_events() {
            self.catch_up();
        }
    }

    /// Updates the replicas, with the number of connections here.
    pub(crate) fn update(&mut self, cx: &mut Cx<'_>, update: impl FnOnce(&mut Replicas, usize, &mut Cx<'_>)) {
        let fanout = &mut self.0.conversation.fanout;
        let connections = fanout.local_connections();
        if let Some(replicas) = &mut fanout.replicas {
            update(replicas, connections, cx);
            fanout.update_abandoned_since(cx.now());
        }
    }

    /// Handles an event of `core`.
    pub(crate) fn on_event(&mut self, core: CoreId, event: SessionEvent, cx: &mut Cx<'_>) {
        let fanout = &mut self.0.conversation.fanout;
        let connections = fanout.local_connections();
        let Some(replicas) = &mut fanout.replicas else { return };
        let is_new = replicas.on_event_from(core, event.connections());
        if is_new || matches!(event, SessionEvent::Hello { .. }) {
            replicas.publish_connections(connections, cx);
        }
        fanout.update_abandoned_since(cx.now());
        if is_new {
            // Its events before this subscription were missed.
            self.catch_up();
        }
        match event {
            SessionEvent::Hello { .. } => self.publish_draft(cx),
            SessionEvent::Here { .. } => {}
            SessionEvent::Frame(frame) => self.on_frame(core, *frame, cx),
            SessionEvent::Stop { id } => self.0.conversation.stop(&id, cx),
            SessionEvent::Locale { locale } => self.0.conversation.profile.choose(locale),
            SessionEvent::Country { country } => self.0.conversation.profile.set_country(country),
            SessionEvent::Rotated { rotations } => self.0.conversation.fanout.revoke(rotations, None, cx),
            SessionEvent::Erased => self.0.end_here(0, cx),
        }
    }

    /// Publishes the answer in progress here to the other cores, from its start.
    fn publish_draft(&self, cx: &mut Cx<'_>) {
        let conversation = &self.0.conversation;
        if let (Some(delta), Some(replicas)) = (conversation.turns.draft_delta(), &conversation.fanout.replicas) {
            replicas.publish_frame(&delta.into_frame(), cx);
        }
    }

    fn catch_up(&mut self) {
        self.0.commits.push(Commit::CatchUp(CatchUpReason::Gap));
    }

    // ---- frames ---------------------------------------------------------------------------------

    fn on_frame(&mut self, core: CoreId, frame: ServerFrame, cx: &mut Cx<'_>) {
        let conversation = &mut self.0.conversation;
        let published = conversation.published.seq();
        match frame {
            ServerFrame::Turn(entry) if entry.seq <= published => {}
            ServerFrame::Turn(entry) if entry.seq == published + 1 => conversation.apply_entry(entry, None, cx),
            ServerFrame::Turn(_) => self.catch_up(),
            ServerFrame::Forgotten(forgotten) if forgotten.seq <= published => {}
            ServerFrame::Forgotten(forgotten) if forgotten.seq == published + 1 => {
                conversation.apply_forgotten(forgotten, cx);
            }
            ServerFrame::Forgotten(_) => self.catch_up(),
            ServerFrame::Delta { id, offset, text, exercise } => {
                let chars = text.chars();
                self.on_delta(core, Delta { id, offset, chars, text, exercise }, cx);
            }
            ServerFrame::Done(done) => self.on_done(core, done, cx),
            ServerFrame::Error(error) => self.on_error(core, error, cx),
            ServerFrame::Support(support) => {
                conversation.assessor.watch.learn_shown(&support.id, &support.help);
                conversation.fanout.publish_locally(Recipients::All, ServerFrame::Support(support), cx);
            }
            // Clients would skip the entries before it, which are missing here. It comes as `turn` behind them.
            ServerFrame::Accepted { seq, .. } if published + 1 < seq => {}
            frame => conversation.fanout.publish_locally(Recipients::All, frame, cx),
        }
    }

    fn on_delta(&mut self, core: CoreId, delta: Delta, cx: &mut Cx<'_>) {
        let conversation = &mut self.0.conversation;
        let Some(replicas) = &mut conversation.fanout.replicas else { return };
        // Answered here as well, during a partition: connections here get this core's answer. Or its stored answer was
        // published here before, by a catch-up.
        if conversation.turns.is_in_flight(&delta.id) || replicas.is_answered(&delta.id) {
            return;
        }
        let id = delta.id.clone();
        if !replicas.has_draft_of(&id) {
            replicas.follow(id.clone(), None, cx.now());
        }
        match replicas.apply_delta(core, delta) {
            AppliedDelta::Duplicate => {}
            AppliedDelta::New(delta) => {
                replicas.note_shown(&id);
                conversation.fanout.publish_delta_locally(delta, cx);
            }
            AppliedDelta::Gap => {
                // A `Hello` makes the answering core publish its whole draft again.
                let connections = conversation.fanout.local_connections();
                if let Some(replicas) = &mut conversation.fanout.replicas {
                    replicas.publish_hello(connections, cx);
                }
            }
        }
    }

    fn on_done(&mut self, core: CoreId, done: Box<Done>, cx: &mut Cx<'_>) {
        let conversation = &mut self.0.conversation;
        let is_in_flight = conversation.turns.is_in_flight(&done.id);
        let is_complete = |replicas: &Replicas| replicas.has_complete_draft(core, &done.id, done.chars);
        let is_complete = !is_in_flight && conversation.fanout.replicas.as_deref().is_some_and(is_complete);
        let is_answered = conversation.fanout.replicas.as_ref().is_some_and(|it| it.is_answered(&done.id));
        match done.seq {
            // Its entry was published before its deltas arrived.
            Some(seq) if seq <= conversation.published.seq() => {
                if is_complete && conversation.has_remote_draft(&done.id) {
                    conversation.unfollow(&done.id, cx.now());
                    conversation.fanout.publish_locally(Recipients::All, ServerFrame::Done(done), cx);
                } else {
                    self.end_late_draft(&done.id, cx);
                }
            }
            Some(seq) if !is_complete || !conversation.published.advance(seq) => self.catch_up(),
            // This core answers the message too, and goes on. Or its stored answer was published here before.
            None if is_in_flight || is_answered => {}
            _ => {
                if let Some(draft) = conversation.unfollow(&done.id, cx.now()) {
                    conversation.assessor.watch.answered(&draft.text);
                }
                if done.seq.is_some() {
                    conversation.note_answered(&done.id);
                }
                conversation.fanout.publish_locally(Recipients::All, ServerFrame::Done(done), cx);
            }
        }
    }

    fn on_error(&mut self, core: CoreId, error: ErrorFrame, cx: &mut Cx<'_>) {
        let conversation = &mut self.0.conversation;
        let Some(id) = &error.id else {
            return conversation.fanout.publish_locally(Recipients::All, ServerFrame::Error(error), cx);
        };
        let is_followed = |replicas: &Replicas| replicas.is_followed_core(core, id);
        let is_relevant = conversation.fanout.replicas.as_deref().is_none_or(is_followed);
        // Of no concern while this or another core answers the message.
        if is_relevant && !conversation.turns.is_in_flight(id) {
            cx.start(Effect::ReadAnswer(AnswerQuery::RemoteError(Box::new(error))));
        }
    }

    // ---- followed answers -------------------------------------------------------------------------

    /// Polls the claims that are due. If the core that answers dies, the message is answered here if it was sent here and
    /// no text was shown; else clients get an error, to resubmit it.
    pub(crate) fn poll(&mut self, cx: &mut Cx<'_>) {
        let Some(replicas) = &self.0.conversation.fanout.replicas else { return };
        for id in replicas.due(cx.now()) {
            if self.0.conversation.is_followed(&id) {
                self.0.conversation.set_step(&id, FollowStep::ReadClaim);
                cx.start(Effect::ReadClaims(ClaimsQuery::Followed(id)));
            } else {
                // A client that comes back starts to follow it again.
                self.0.conversation.unfollow(&id, cx.now());
            }
        }
    }

    pub(crate) fn on_claims(&mut self, query: ClaimsQuery, claims: Claims, cx: &mut Cx<'_>) {
        match query {
            ClaimsQuery::Order => self.0.conversation.turns.on_order(claims, cx),
            ClaimsQuery::Followed(id) if self.0.conversation.step(&id) == Some(FollowStep::ReadClaim) => {
                if claims == Claims::Held {
                    return self.0.conversation.poll_again(&id, cx);
                }
                // The end event may have been lost, or published before the subscription: the store has the answer.
                self.0.conversation.set_step(&id, FollowStep::CatchUp { is_free: claims == Claims::Free });
                self.0.commits.push(Commit::CatchUp(CatchUpReason::Followed(id)));
            }
            ClaimsQuery::Followed(_) => {}
        }
    }

    pub(crate) fn on_answer_read(&mut self, query: AnswerQuery, result: Result<bool, Failure>, cx: &mut Cx<'_>) {
        if let Err(Failure::NoSession) = result {
            self.0.end(0, cx);
        }
        match (query, result) {
            // During a partition two cores may answer a message, and the error is that of the slower one.
            (AnswerQuery::RemoteError(_), Ok(true)) => self.catch_up(),
            (AnswerQuery::RemoteError(error), _) => self.0.conversation.publish_remote_error(*error, cx),
            (AnswerQuery::Followed(id), _) if self.0.conversation.step(&id) != Some(FollowStep::ReadAnswer) => {}
            (AnswerQuery::Followed(id), Ok(true)) => self.end_late_draft(&id, cx),
            (AnswerQuery::Followed(id), Ok(false)) if self.0.conversation.is_followed(&id) => {
                self.0.conversation.set_step(&id, FollowStep::TakeOver);
                self.0.commits.push(Commit::TakeOver(id));
            }
            // An unavailable store decides nothing: the next poll reads again.
            (AnswerQuery::Followed(id), _) => self.0.conversation.poll_again(&id, cx),
        }
    }

    /// Ends an answer whose text was shown behind its stored entry: no catch-up publishes it again.
    fn end_late_draft(&mut self, id: &MessageId, cx: &mut Cx<'_>) {
        let is_shown = self.0.conversation.fanout.replicas.as_ref().is_some_and(|replicas| replicas.is_shown(id));
        if is_shown {
            self.0.conversation.give_up(id, MessageRejection::abandoned(), cx);
        } else {
            self.0.conversation.unfollow(id, cx.now());
        }
    }
}
