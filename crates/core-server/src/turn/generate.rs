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

use super::refused::NoAnswer;
use super::stream::{Progress, stream};
use super::{Audience, Engine, Job, Outcome, Permit, Refusal, Unanswered};
use crate::limits::{ConcurrencyPermit, PermitReservation, Priority};
use crate::llm::{CallContext, LlmError, Model};
use crate::store::StoreError;

impl Engine {
    /// Generates the answer to `job`, which `permit` allows, and tells `audience` as it comes.
    /// Ends early, with what there is, when `stop` is cancelled. Stores nothing: see [`Engine::record`].
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn answer(
        &self,
        job: &Job,
        mut permit: Permit,
        audience: &dyn Audience,
        stop: &CancellationToken,
    ) -> Result<Outcome, Unanswered> {
        let span = tracing::info_span!("turn", message.label = %job.label, otel.kind = "internal");
        boot::telemetry::set_parent(&span, job.trace);
        let mut progress = self.progress();
        let finish = {
            let model = self.model.as_ref().filter(|_| permit.may_call_model() && is_for_the_model(job));
            let generate = self.generate((job, model, permit.room.take()), audience, &mut progress).instrument(span);
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(Finish::Stopped),
                finish = generate => finish,
            }
        };
        self.budget.settle(job.label.user, permit, progress.called).await;
        finish.map(|finish| self.outcome(job, finish, progress))
    }

    /// The outcome of a job that was stopped before it began.
    pub fn not_begun(&self, job: &Job) -> Outcome {
        self.outcome(job, Finish::Stopped, self.progress())
    }

    fn progress(&self) -> Progress {
        Progress::new(if self.model.is_some() { Source::Llm } else { Source::Companion })
    }

    async fn generate(
        &self,
        (job, model, room): (&Job, Option<&Model>, Option<PermitReservation>),
        audience: &dyn Audience,
        progress: &mut Progress,
    ) -> Result<Finish, Unanswered> {
        let Some(model) = model else {
            // Somebody else may have the place in the queue.
            drop(room);
            let raised = self.second_opinion(job, audience).await;
            return self.answer_by_companion(raised.as_ref().unwrap_or(job), audience, progress).await;
        };
        let slot = self.slot_for(model, room, (job, audience));
        let (raised, slot) = if self.is_opinion_wanted(job) {
            // Beside the wait for the slot: an opinion delays the answer only where there is none, and by its own
            // time limit at most.
            let (raised, slot) = Box::pin(join(self.second_opinion(job, audience), slot)).await;
            (raised, slot?)
        } else {
            (None, slot.await?)
        };
        let job = raised.as_ref().unwrap_or(job);
        if let Some(slot) = slot {
            audience.begun();
            let finish = self.answer_by_model(model, job, audience, progress).await?;
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
        self.answer_by_companion(job, audience, progress).await
    }

    /// The answer of `model`; `None` where it gives none.
    async fn answer_by_model(
        &self,
        model: &Model,
        job: &Job,
        audience: &dyn Audience,
        progress: &mut Progress,
    ) -> Result<Option<Finish>, Unanswered> {
        progress.queue = Some(Instant::now());
        let prompt = self.context.build(&*self.store, job).await.map_err(|error| no_history(job, &error))?;
        let trace = boot::telemetry::current_traceparent(&tracing::Span::current(), job.trace);
        // From here on it counts, also if the person stops it at once.
        progress.called = true;
        match self.open_answer(model, job, prompt, CallContext { label: job.label, trace }).await {
            Ok((answer, prompt)) => {
                let finish = stream(job, answer, audience, progress).await;
                if let (Some(model), Some(usage)) = (&progress.model, progress.usage) {
                    self.context.learn(model, &prompt, usage.prompt_tokens);
                }
                progress.fold = prompt.fold.filter(|_| finish != Finish::Error);
                // Without a word left, all of it was thinking, which was taken back.
                Ok(Some(finish).filter(|_| 0 < progress.chars))
            }
            // Why it is left alone, its breaker has logged once.
            Err(NoAnswer::Model(LlmError::NoProvider)) => Ok(None),
            Err(NoAnswer::Model(error)) => {
                tracing::error!(
                    trace_id = %job.trace.trace_id, message.label = %job.label, %error,
                    "no answer from the model; serving rule-based fallback"
                );
                Ok(None)
            }
            Err(NoAnswer::Store(error)) => Err(no_history(job, &error)),
        }
    }

    /// A slot for a call to `model`; `None` where no provider may be asked, or none any more by the time that there
    /// is a slot. What would hold a slot, or wait for one, in vain must not keep a person from the companion's answer.
    async fn slot_for(
        &self,
        model: &Model,
        room: Option<PermitReservation>,
        (job, audience): (&Job, &dyn Audience),
    ) -> Result<Option<ConcurrencyPermit>, Refusal> {
        if !model.can_attempt() {
            return Ok(None);
        }
        // Without a promise there was no provider to be asked. There is one now: if the queue has room for it.
        let Some(room) = room.or_else(|| self.slots.reserve().ok()) else { return Ok(None) };
        let priority = if job.risk.is_high() { Priority::First } else { Priority::Ordinary };
        let mut slot = pin!(async {
            match room.acquire(priority, |ahead| audience.queued(ahead)).await {
                Ok(slot) => Ok(Some(slot)),
                // One in risk is never refused: the companion answers.
                Err(_) if job.risk.is_high() => Ok(None),
                Err(full) => Err(Refusal::from(full)),
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

    fn outcome(&self, job: &Job, finish: Finish, progress: Progress) -> Outcome {
        self.count(job, finish, &progress);
        let since = |at: Option<Instant>| at.map_or(0, |at| millis(at.saturating_duration_since(job.accepted_at)));
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
            fold: progress.fold,
        };
        // Its source is left out: who is answered by the companion, or has an answer replaced, may be at risk.
        tracing::info!(
            trace_id = %job.trace.trace_id, message.label = %job.label, turn.finish = %finish, turn.chars = outcome.chars,
            turn.queue_ms = outcome.timing.queue, turn.first_ms = outcome.timing.first, turn.total_ms = outcome.timing.total,
            "turn ended"
        );
        outcome
    }

    fn count(&self, job: &Job, finish: Finish, progress: &Progress) {
        let metrics = &self.metrics;
        metrics.turn_ended(progress.source, finish);
        let times = [
            (&metrics.turn_queue_wait, progress.queue),
            (&metrics.time_to_first_token, progress.first),
            (&metrics.turn_duration, Some(Instant::now())),
        ];
        for (histogram, at) in times {
            if let Some(at) = at {
                histogram.observe(at.saturating_duration_since(job.accepted_at).as_secs_f64());
            }
        }
    }
}

/// Whether the model is to answer `job`. Where minutes count it is not, nor where only the truth will do, nor where
/// a person in risk takes leave.
fn is_for_the_model(job: &Job) -> bool {
    job.risk.level < Level::Imminent
        && (job.risk.level == Level::None || !job.message_risk.takes_leave)
        && safety::companion::truth(job.text.expose(), job.language).is_none()
}

fn no_history(job: &Job, error: &StoreError) -> Unanswered {
    if let StoreError::NoSession { .. } = error {
        return Unanswered::NoSession;
    }
    tracing::error!(trace_id = %job.trace.trace_id, message.label = %job.label, %error, "no history");
    Unanswered::Refused(error.into())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
