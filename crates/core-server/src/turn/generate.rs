//! Generates answers: by the model, or by the companion if no model is available or allowed.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join;
use limits::{ConcurrencyPermit, PermitReservation, Priority};
use llm::{CallContext, LlmError, Model};
use protocol::server_frame::{Finish, Source, Timing};
use safety::Level;
use store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::excluded::OpenError;
use super::stream::{Progress, stream};
use super::{AnswerSink, MessageRejection, Outcome, PendingTurn, Permit, TurnError, TurnService};

impl TurnService {
    /// Generates the answer to `turn`, within `permit`, and streams it to `sink`. `stop` ends it early, with the text so
    /// far. Stores nothing: see [`TurnService::record`].
    ///
    /// # Errors
    ///
    /// [`TurnError`]; the attempt is settled in any case.
    pub async fn answer(
        &self,
        turn: &PendingTurn,
        mut permit: Permit,
        sink: &dyn AnswerSink,
        stop: &CancellationToken,
    ) -> Result<Outcome, TurnError> {
        let span = tracing::info_span!("turn", message.label = %turn.label, otel.kind = "internal");
        service_runtime::telemetry::set_parent(&span, turn.trace);
        let mut progress = self.progress();
        let finish = {
            let generate = self.generate(turn, &mut permit, sink, &mut progress).instrument(span);
            tokio::select! {
                // `stop` first: an answer that completes in the same poll was stopped by the person.
                biased;
                () = stop.cancelled() => Ok(Finish::Stopped),
                finish = generate => finish,
            }
        };
        self.budget.settle(turn.label.user, permit, progress.called).await;
        finish.map(|finish| self.outcome(turn, finish, progress))
    }

    /// Returns the outcome of a turn that was stopped before it started.
    pub fn stopped_before_start(&self, turn: &PendingTurn) -> Outcome {
        self.outcome(turn, Finish::Stopped, self.progress())
    }

    fn progress(&self) -> Progress {
        Progress::new(if self.model.is_some() { Source::Llm } else { Source::Companion })
    }

    async fn generate(
        &self,
        turn: &PendingTurn,
        permit: &mut Permit,
        sink: &dyn AnswerSink,
        progress: &mut Progress,
    ) -> Result<Finish, TurnError> {
        let slot_reservation = permit.slot_reservation.take();
        let Some(model) = self.model.as_ref().filter(|_| permit.may_call_model() && is_for_model(turn)) else {
            // Frees the place in the queue at once: the second opinion below may take its whole timeout.
            drop(slot_reservation);
            let raised = self.second_opinion(turn, sink).await;
            return self.answer_by_companion(raised.as_ref().unwrap_or(turn), sink, progress).await;
        };
        let slot = self.slot_for(model, slot_reservation, turn, sink);
        let (raised, slot) = if self.is_opinion_wanted(turn) {
            // Concurrently with the wait for the slot: an opinion delays the answer only if a slot is free, and by
            // its own timeout at most.
            let (raised, slot) = Box::pin(join(self.second_opinion(turn, sink), slot)).await;
            (raised, slot?)
        } else {
            (None, slot.await?)
        };
        let turn = raised.as_ref().unwrap_or(turn);
        if let Some(slot) = slot {
            sink.started();
            let finish = self.answer_by_model(model, turn, sink, progress).await?;
            // A screened answer was cut short: its duration must not enter the estimate of waits.
            if progress.source == Source::Llm {
                slot.complete();
            } else {
                drop(slot);
            }
            if let Some(finish) = finish {
                return Ok(finish);
            }
        }
        self.answer_by_companion(turn, sink, progress).await
    }

    /// Streams the answer of `model`; `None` if it gives none.
    async fn answer_by_model(
        &self,
        model: &Model,
        turn: &PendingTurn,
        sink: &dyn AnswerSink,
        progress: &mut Progress,
    ) -> Result<Option<Finish>, TurnError> {
        progress.queue = Some(Instant::now());
        let prompt = self.context.build(&*self.store, turn).await.map_err(|error| history_error(turn, &error))?;
        let trace = service_runtime::telemetry::current_traceparent(&tracing::Span::current(), turn.trace);
        // Counts from here on, even if the person stops it at once: the provider may charge for it.
        progress.called = true;
        match self.stream_answer(model, turn, prompt, CallContext { label: turn.label, trace }).await {
            Ok((answer, prompt)) => {
                let finish = stream(turn, answer, sink, progress).await;
                if let (Some(model), Some(usage)) = (&progress.model, progress.usage) {
                    self.context.learn(model, &prompt, usage.prompt_tokens);
                }
                progress.summary_job = prompt.summary_job.filter(|_| finish != Finish::Error);
                // Without text, all of it was thinking, which was discarded.
                Ok(Some(finish).filter(|_| 0 < progress.chars))
            }
            // Not logged here: the breaker has logged its opening once.
            Err(OpenError::Model(LlmError::NoProvider)) => Ok(None),
            Err(OpenError::Model(error)) => {
                tracing::error!(
                    trace_id = %turn.trace.trace_id, message.label = %turn.label, %error,
                    "no answer from the model; serving rule-based fallback"
                );
                Ok(None)
            }
            Err(OpenError::Store(error)) => Err(history_error(turn, &error)),
        }
    }

    /// Acquires a slot for a call to `model`; `None` if every breaker is open, now or before a slot is free. A wait that
    /// cannot lead to a call must not delay the companion's answer.
    async fn slot_for(
        &self,
        model: &Model,
        slot_reservation: Option<PermitReservation>,
        turn: &PendingTurn,
        sink: &dyn AnswerSink,
    ) -> Result<Option<ConcurrencyPermit>, MessageRejection> {
        if !model.can_attempt() {
            return Ok(None);
        }
        // No reservation: every breaker was open at admission. One has closed since; enter the queue if it has room.
        let Some(slot_reservation) = slot_reservation.or_else(|| self.slots.reserve().ok()) else { return Ok(None) };
        let priority = if turn.risk.is_high() { Priority::First } else { Priority::Ordinary };
        let mut slot = pin!(async {
            match slot_reservation.acquire(priority, |ahead| sink.queued(ahead)).await {
                Ok(slot) => Ok(Some(slot)),
                // A message in risk is never rejected: the companion answers.
                Err(_) if turn.risk.must_be_answered() => Ok(None),
                Err(full) => Err(MessageRejection::from(full)),
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

    fn outcome(&self, turn: &PendingTurn, finish: Finish, progress: Progress) -> Outcome {
        self.count(turn, finish, &progress);
        let since = |at: Option<Instant>| at.map_or(0, |at| millis(at.saturating_duration_since(turn.accepted_at)));
        let outcome = Outcome {
            finish,
            source: progress.source,
            model: progress.model,
            chars: progress.chars,
            timing: Timing {
                queue: since(progress.queue),
                first: since(progress.first),
                total: since(Some(Instant::now())),
            },
            usage: progress.usage,
            exercise: progress.exercise,
            summary_job: progress.summary_job,
        };
        // Without the source: an answer by the companion, or a screened one, may reveal a person at risk.
        tracing::info!(
            trace_id = %turn.trace.trace_id, message.label = %turn.label, turn.finish = %finish, turn.chars = outcome.chars,
            turn.queue_ms = outcome.timing.queue, turn.first_ms = outcome.timing.first, turn.total_ms = outcome.timing.total,
            "turn ended"
        );
        outcome
    }

    fn count(&self, turn: &PendingTurn, finish: Finish, progress: &Progress) {
        let metrics = &self.metrics;
        metrics.turn_ended(progress.source, finish);
        let times = [
            (&metrics.turn_queue_wait, progress.queue),
            (&metrics.time_to_first_token, progress.first),
            (&metrics.turn_duration, Some(Instant::now())),
        ];
        for (histogram, at) in times {
            if let Some(at) = at {
                histogram.observe(at.saturating_duration_since(turn.accepted_at).as_secs_f64());
            }
        }
    }
}

/// Returns true if the model may answer `turn`. The companion answers at imminent risk, to questions about itself that
/// need a true answer, and to a good-bye of a person in risk.
fn is_for_model(turn: &PendingTurn) -> bool {
    turn.risk.level < Level::Imminent
        && (turn.risk.level == Level::None || !turn.message_risk.takes_leave)
        && safety::companion::truth(turn.text.expose(), turn.language).is_none()
}

fn history_error(turn: &PendingTurn, error: &StoreError) -> TurnError {
    if let StoreError::NoSession { .. } = error {
        return TurnError::NoSession;
    }
    tracing::error!(trace_id = %turn.trace.trace_id, message.label = %turn.label, %error, "failed to load history");
    TurnError::Rejected(error.into())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
