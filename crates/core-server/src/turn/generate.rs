//! Answers generated: by the model, or by the companion where none may be asked, or is to be.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join;
use protocol::server_frame::{Finish, Source, Timing};
use safety::Level;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::excluded::OpenError;
use super::stream::{Progress, stream};
use super::{AnswerSink, MessageRejection, Outcome, PendingTurn, Permit, TurnError, TurnService};
use crate::limits::{ConcurrencyPermit, PermitReservation, Priority};
use crate::llm::{CallContext, LlmError, Model};
use crate::store::StoreError;

impl TurnService {
    /// Generates the answer to `turn`, which `permit` allows, and tells `sink` as it comes.
    /// Ends early, with what there is, when `stop` is cancelled. Stores nothing: see [`TurnService::record`].
    ///
    /// # Errors
    ///
    /// See [`TurnError`].
    pub async fn answer(
        &self,
        turn: &PendingTurn,
        mut permit: Permit,
        sink: &dyn AnswerSink,
        stop: &CancellationToken,
    ) -> Result<Outcome, TurnError> {
        let span = tracing::info_span!("turn", message.label = %turn.label, otel.kind = "internal");
        boot::telemetry::set_parent(&span, turn.trace);
        let mut progress = self.progress();
        let finish = {
            let model = self.model.as_ref().filter(|_| permit.may_call_model() && is_for_model(turn));
            let generate =
                self.generate((turn, model, permit.slot_reservation.take()), sink, &mut progress).instrument(span);
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(Finish::Stopped),
                finish = generate => finish,
            }
        };
        self.budget.settle(turn.label.user, permit, progress.called).await;
        finish.map(|finish| self.outcome(turn, finish, progress))
    }

    /// The outcome of a job that was stopped before it began.
    pub fn stopped_before_start(&self, turn: &PendingTurn) -> Outcome {
        self.outcome(turn, Finish::Stopped, self.progress())
    }

    fn progress(&self) -> Progress {
        Progress::new(if self.model.is_some() { Source::Llm } else { Source::Companion })
    }

    async fn generate(
        &self,
        (turn, model, slot_reservation): (&PendingTurn, Option<&Model>, Option<PermitReservation>),
        sink: &dyn AnswerSink,
        progress: &mut Progress,
    ) -> Result<Finish, TurnError> {
        let Some(model) = model else {
            // Somebody else may have the place in the queue.
            drop(slot_reservation);
            let raised = self.second_opinion(turn, sink).await;
            return self.answer_by_companion(raised.as_ref().unwrap_or(turn), sink, progress).await;
        };
        let slot = self.slot_for(model, slot_reservation, (turn, sink));
        let (raised, slot) = if self.is_opinion_wanted(turn) {
            // Beside the wait for the slot: an opinion delays the answer only where there is none, and by its own
            // time limit at most.
            let (raised, slot) = Box::pin(join(self.second_opinion(turn, sink), slot)).await;
            (raised, slot?)
        } else {
            (None, slot.await?)
        };
        let turn = raised.as_ref().unwrap_or(turn);
        if let Some(slot) = slot {
            sink.started();
            let finish = self.answer_by_model(model, turn, sink, progress).await?;
            // The time of an answer that was cut short says nothing of how long others take.
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

    /// The answer of `model`; `None` where it gives none.
    async fn answer_by_model(
        &self,
        model: &Model,
        turn: &PendingTurn,
        sink: &dyn AnswerSink,
        progress: &mut Progress,
    ) -> Result<Option<Finish>, TurnError> {
        progress.queue = Some(Instant::now());
        let prompt = self.context.build(&*self.store, turn).await.map_err(|error| history_error(turn, &error))?;
        let trace = boot::telemetry::current_traceparent(&tracing::Span::current(), turn.trace);
        // From here on it counts, also if the person stops it at once.
        progress.called = true;
        match self.stream_answer(model, turn, prompt, CallContext { label: turn.label, trace }).await {
            Ok((answer, prompt)) => {
                let finish = stream(turn, answer, sink, progress).await;
                if let (Some(model), Some(usage)) = (&progress.model, progress.usage) {
                    self.context.learn(model, &prompt, usage.prompt_tokens);
                }
                progress.summary_job = prompt.summary_job.filter(|_| finish != Finish::Error);
                // Without a word left, all of it was thinking, which was taken back.
                Ok(Some(finish).filter(|_| 0 < progress.chars))
            }
            // Why it is left alone, its breaker has logged once.
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

    /// A slot for a call to `model`; `None` where no provider may be asked, or none any more by the time that there
    /// is a slot. What would hold a slot, or wait for one, in vain must not keep a person from the companion's answer.
    async fn slot_for(
        &self,
        model: &Model,
        slot_reservation: Option<PermitReservation>,
        (turn, sink): (&PendingTurn, &dyn AnswerSink),
    ) -> Result<Option<ConcurrencyPermit>, MessageRejection> {
        if !model.can_attempt() {
            return Ok(None);
        }
        // Without a promise there was no provider to be asked. There is one now: if the queue has room for it.
        let Some(slot_reservation) = slot_reservation.or_else(|| self.slots.reserve().ok()) else { return Ok(None) };
        let priority = if turn.risk.is_high() { Priority::First } else { Priority::Ordinary };
        let mut slot = pin!(async {
            match slot_reservation.acquire(priority, |ahead| sink.queued(ahead)).await {
                Ok(slot) => Ok(Some(slot)),
                // One in risk is never refused: the companion answers.
                Err(_) if turn.risk.is_high() => Ok(None),
                Err(full) => Err(MessageRejection::from(full)),
            }
        });
        // One that is free is taken although every breaker is open: one call finds out whether to close it.
        if let Some(slot) = slot.as_mut().now_or_never() {
            return slot;
        }
        tokio::select! {
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
        // Its source is left out: who is answered by the companion, or has an answer replaced, may be at risk.
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

/// Whether the model is to answer `turn`. Where minutes count it is not, nor where only the truth will do, nor where
/// a person in risk takes leave.
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
