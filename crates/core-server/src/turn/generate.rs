//! Generates answers: by the model, or by the companion if no model is available or allowed.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join;
use limits::{ConcurrencyPermit, PermitReservation, Priority};
use llm::{CallContext, LlmError, Model};
use protocol::server_frame::{Finish, Source};
use safety::Level;
use session::{Failure, MessageRejection, Progress, Turn, TurnEvent};
use store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, stream};
use super::excluded::OpenError;
use super::{AnswerSink, Permit, TurnService, overloaded, store_failure};

impl TurnService {
    /// Generates the answer to `turn`, within `permit`, and streams it to `sink`. `stop` ends it early, with the text so
    /// far.
    ///
    /// # Errors
    ///
    /// [`Failure`]; the attempt is settled in any case.
    pub(super) async fn answer(
        &self,
        turn: &Turn,
        mut permit: Permit,
        sink: &dyn AnswerSink,
        stop: &CancellationToken,
    ) -> Result<(Finish, Answer), Failure> {
        let mut answer = Answer::new(turn.message.id.clone(), self.expected_source());
        let finish = {
            let generation = Generation { service: self, turn, sink };
            let generate = generation.run(&mut permit, &mut answer);
            tokio::select! {
                // `stop` first: an answer that completes in the same poll was stopped by the person.
                biased;
                () = stop.cancelled() => Ok(Finish::Stopped),
                finish = generate => finish,
            }
        };
        self.budget.settle(turn.label.user, permit, answer.is_called).await;
        self.observe(turn, *finish.as_ref().map_err(|failure| *failure)?, &answer);
        finish.map(|finish| (finish, answer))
    }

    /// Returns the origin of answers, as far as it is known before they begin.
    pub fn expected_source(&self) -> Source {
        if self.model.is_some() { Source::Llm } else { Source::Companion }
    }

    /// Counts and logs a turn that was stopped before it was started.
    pub fn observe_unstarted(&self, turn: &Turn) {
        let _turn = span_of(turn).entered();
        self.observe(turn, Finish::Stopped, &Answer::new(turn.message.id.clone(), self.expected_source()));
    }

    /// Counts and logs a turn that has ended its generation.
    fn observe(&self, turn: &Turn, finish: Finish, answer: &Answer) {
        let metrics = &self.metrics;
        metrics.turn_ended(answer.source, finish);
        let times = [
            (&metrics.turn_queue_wait, answer.queue),
            (&metrics.time_to_first_token, answer.first),
            (&metrics.turn_duration, Some(Instant::now())),
        ];
        for (histogram, at) in times {
            if let Some(at) = at {
                histogram.observe(since_accepted(turn, at).as_secs_f64());
            }
        }
        let millis = |at: Option<Instant>| at.map_or(0, |at| millis(since_accepted(turn, at)));
        // Without the source: an answer by the companion, or a screened one, may reveal a person at risk.
        tracing::info!(
            turn.finish = %finish, turn.chars = answer.chars,
            turn.queue_ms = millis(answer.queue), turn.first_ms = millis(answer.first), turn.total_ms = millis(Some(Instant::now())),
            "turn ended"
        );
    }
}

/// Generation of the answer to one turn.
#[derive(Clone, Copy)]
pub(super) struct Generation<'a> {
    pub(super) service: &'a TurnService,
    pub(super) turn: &'a Turn,
    pub(super) sink: &'a dyn AnswerSink,
}

impl<'a> Generation<'a> {
    /// Returns the generation of the answer to `raised`, the turn at a higher risk, if there is one.
    fn of(self, raised: Option<&'a Turn>) -> Self {
        Self { turn: raised.unwrap_or(self.turn), ..self }
    }

    /// Generates the answer within `permit`: a second opinion on the risk beside the wait for a slot, then the model's
    /// answer from its context, or the companion's.
    async fn run(self, permit: &mut Permit, answer: &mut Answer) -> Result<Finish, Failure> {
        let slot_reservation = permit.slot_reservation.take();
        let Some(model) = self.service.model.as_ref().filter(|_| permit.may_call_model() && is_for_model(self.turn))
        else {
            // Frees the place in the queue at once: the second opinion below may take its whole timeout.
            drop(slot_reservation);
            let raised = self.second_opinion().await;
            return self.of(raised.as_ref()).answer_by_companion(answer).await;
        };
        let slot = self.slot_for(model, slot_reservation);
        let (raised, slot) = if self.is_opinion_wanted() {
            // Concurrently with the wait for the slot: an opinion delays the answer only if a slot is free, and by
            // its own timeout at most.
            let (raised, slot) = Box::pin(join(self.second_opinion(), slot)).await;
            (raised, slot.map_err(Failure::Rejected)?)
        } else {
            (None, slot.await.map_err(Failure::Rejected)?)
        };
        let generation = self.of(raised.as_ref());
        if let Some(slot) = slot {
            self.sink.on(TurnEvent::Progress(Progress::Started));
            let finish = generation.answer_by_model(model, answer).await?;
            // A screened answer was cut short: its duration must not enter the estimate of waits.
            if answer.source == Source::Llm {
                slot.complete();
            } else {
                drop(slot);
            }
            if let Some(finish) = finish {
                return Ok(finish);
            }
        }
        generation.answer_by_companion(answer).await
    }

    /// Streams the answer of `model`; `None` if it gives none.
    async fn answer_by_model(self, model: &Model, answer: &mut Answer) -> Result<Option<Finish>, Failure> {
        answer.queue = Some(Instant::now());
        let prompt =
            self.service.context.build(&*self.service.store, self.turn).await.map_err(|error| history_error(&error))?;
        let trace = service_runtime::telemetry::current_traceparent(&tracing::Span::current(), self.turn.message.trace);
        // Counts from here on, even if the person stops it at once: the provider may charge for it.
        answer.is_called = true;
        match self.open(model, prompt, CallContext { label: self.turn.label, trace }).await {
            Ok((completion, prompt)) => {
                let finish = stream(self.turn, completion, self.sink, answer).await;
                if let (Some(model), Some(usage)) = (&answer.model, answer.usage) {
                    self.service.context.learn(model, &prompt, usage.prompt_tokens);
                }
                answer.summary_job = prompt.summary_job.filter(|_| finish != Finish::Error);
                // Without text, all of it was thinking, which was discarded.
                Ok(Some(finish).filter(|_| 0 < answer.chars))
            }
            // Not logged here: the breaker has logged its opening once.
            Err(OpenError::Model(LlmError::NoProvider)) => Ok(None),
            Err(OpenError::Model(error)) => {
                tracing::error!(
                    %error, "no answer from the model; serving rule-based fallback"
                );
                Ok(None)
            }
            Err(OpenError::Store(error)) => Err(history_error(&error)),
        }
    }

    /// Acquires a slot for a call to `model`; `None` if every breaker is open, now or before a slot is free. A wait that
    /// cannot lead to a call must not delay the companion's answer.
    async fn slot_for(
        self,
        model: &Model,
        slot_reservation: Option<PermitReservation>,
    ) -> Result<Option<ConcurrencyPermit>, MessageRejection> {
        if !model.can_attempt() {
            return Ok(None);
        }
        // No reservation: every breaker was open at admission. One has closed since; enter the queue if it has room.
        let Some(slot_reservation) = slot_reservation.or_else(|| self.service.slots.reserve().ok()) else {
            return Ok(None);
        };
        let priority = if self.turn.message.risk.is_high() { Priority::First } else { Priority::Ordinary };
        let mut slot = pin!(async {
            match slot_reservation
                .acquire(priority, |ahead| self.sink.on(TurnEvent::Progress(Progress::Queued(ahead))))
                .await
            {
                Ok(slot) => Ok(Some(slot)),
                // A message in risk is never rejected: the companion answers.
                Err(_) if self.turn.message.risk.must_be_answered() => Ok(None),
                Err(full) => Err(overloaded(full)),
            }
        });
        // A free slot is taken even if every breaker is open: this call may be the probe that closes one.
        if let Some(slot) = slot.as_mut().now_or_never() {
            return slot;
        }
        tokio::select! {
            // Unavailability first: a slot without a provider would be held in vain.
            biased;
            () = model.became_unavailable() => Ok(None),
            slot = slot => slot,
        }
    }
}

/// Creates the span of a turn, which carries its ids to every line in it. At the highest level: no filter of lines may
/// take the ids from a warning.
pub(super) fn span_of(turn: &Turn) -> tracing::Span {
    let trace_id = turn.message.trace.trace_id;
    let span = tracing::error_span!("turn", %trace_id, message.label = %turn.label);
    service_runtime::telemetry::set_parent(&span, turn.message.trace);
    span
}

/// Returns the time from the admission of the message of `turn` to `at`.
pub(super) fn since_accepted(turn: &Turn, at: Instant) -> Duration {
    at.into_std().saturating_duration_since(turn.accepted_at)
}

/// Returns true if the model may answer `turn`. The companion answers at imminent risk, to questions about itself that
/// need a true answer, and to a good-bye of a person in risk.
fn is_for_model(turn: &Turn) -> bool {
    turn.message.risk.level < Level::Imminent
        && (turn.message.risk.level == Level::None || !turn.message_risk.takes_leave)
        && safety::companion::truth(turn.message.text.expose(), turn.language).is_none()
}

fn history_error(error: &StoreError) -> Failure {
    if !matches!(error, StoreError::NoSession { .. }) {
        tracing::error!(%error, "failed to load history");
    }
    store_failure(error)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
