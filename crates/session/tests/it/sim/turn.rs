//! Turns of the simulation: a model that gives another answer at each attempt.

use std::collections::VecDeque;

use protocol::server_frame::{Done, Finish, Role, Source, Timing};
use protocol::{ErrorCode, MessageId, UserText};
use session::{Delta, Ended, Failure, Input, MessageRejection, Progress, Turn, TurnEvent};

use super::bus::Released;
use super::profile::Faults;
use super::store::{Appended, entry, unavailable};
use super::world::World;

/// Time for which an answer is recorded again while the store is away.
const RECORD_TIMEOUT_MS: u64 = 30_000;
const RECORD_RETRY_MS: u64 = 250;

/// The turn in progress on a core.
pub(super) struct ModelTurn {
    number: u64,
    id: MessageId,
    text: UserText,
    plan: VecDeque<Step>,
    is_cancelled: bool,
    is_generated: bool,
    /// Its answer is being recorded.
    is_recording: bool,
}

/// Step of a plan.
#[derive(Debug)]
enum Step {
    Queued(usize),
    Started,
    Piece(String),
    Restart,
    /// The model fails without text.
    Fail,
}

impl World {
    pub(super) fn start_turn(&mut self, core: usize, turn: &Turn) {
        let id = turn.message.id.clone();
        self.require(self.cores[core].turn.is_none(), || format!("core {core}: two turns at once"));
        self.require(self.cores[core].has_permit(&id), || format!("core {core}: turn of {id} without a claim"));
        // Deaths and partitions make cores answer at the same time; nothing else does.
        let is_alone = self.faults != Faults::Absent || self.cores.iter().all(|other| other.turn.is_none());
        self.require(is_alone, || format!("core {core}: begins {id} while another core answers"));
        let (number, plan) = (self.number(), self.plan());
        let text = UserText::default();
        let (is_cancelled, is_generated, is_recording) = (false, false, false);
        let turn = ModelTurn { number, id, text, plan, is_cancelled, is_generated, is_recording };
        self.cores[core].turn = Some(turn);
        self.step_later(core, number);
    }

    /// Plans an answer. Its texts are short and alike, so that answers of several attempts begin or end alike.
    fn plan(&mut self) -> VecDeque<Step> {
        let mut plan = VecDeque::new();
        if self.rng.u8(..3) == 0 {
            (0..self.rng.usize(1..4)).rev().for_each(|ahead| plan.push_back(Step::Queued(ahead)));
        }
        if self.is_fault(40) {
            plan.push_back(Step::Fail);
            return plan;
        }
        plan.push_back(Step::Started);
        if self.rng.u8(..8) == 0 {
            // A model's thinking, which is no part of the answer.
            plan.extend([Step::Piece("T".into()), Step::Piece("t".into()), Step::Restart]);
        }
        for _ in 0..self.rng.usize(1..=5) {
            let letters = self.rng.usize(1..=3);
            let piece = (0..letters).map(|_| self.rng.choice(['a', 'b', 'ñ', '🫂']).unwrap()).collect();
            plan.push_back(Step::Piece(piece));
        }
        plan
    }

    fn step_later(&mut self, core: usize, number: u64) {
        // Once nothing goes wrong, everything must come to rest in time.
        let longest = if self.is_healed { 20 } else { self.profile.delta_interval_ms };
        let delay = self.rng.u64(0..=longest) + self.latency();
        self.for_session(core, delay, move |world| world.step_turn(core, number));
    }

    fn step_turn(&mut self, core: usize, number: u64) {
        let Some(turn) = self.cores[core].turn.as_mut().filter(|turn| turn.number == number && !turn.is_generated)
        else {
            return;
        };
        let step = if turn.is_cancelled { None } else { turn.plan.pop_front() };
        let progress = match step {
            Some(Step::Queued(ahead)) => Progress::Queued(ahead),
            Some(Step::Started) => Progress::Started,
            Some(Step::Piece(piece)) => {
                let (text, offset) = (UserText::new(piece), turn.text.chars());
                turn.text.push(&text);
                Progress::Delta(Delta { id: turn.id.clone(), offset, chars: text.chars(), text, exercise: None })
            }
            Some(Step::Restart) => {
                turn.text = UserText::default();
                Progress::Restarted
            }
            Some(Step::Fail) => {
                let rejection = MessageRejection { code: ErrorCode::Overloaded, retry_after: None };
                return self.end_turn(core, Ended::Failed(Failure::Rejected(rejection)));
            }
            None => {
                turn.is_generated = true;
                return self.feed(core, Input::Turn(TurnEvent::Generated));
            }
        };
        self.feed(core, Input::Turn(TurnEvent::Progress(progress)));
        self.step_later(core, number);
    }

    pub(super) fn cancel_turn(&mut self, core: usize, id: &MessageId) {
        // It may be about to end: then there is nothing to cancel.
        if let Some(turn) = self.cores[core].turn.as_mut().filter(|turn| turn.id == *id) {
            turn.is_cancelled |= !turn.is_generated;
            let number = turn.number;
            self.for_session(core, 0, move |world| world.step_turn(core, number));
        }
    }

    // ---- recording ------------------------------------------------------------------------------------

    pub(super) fn record_turn(&mut self, core: usize, id: &MessageId, after: Option<u64>) {
        let now_ms = self.now_ms;
        match &mut self.cores[core].turn {
            Some(turn) if turn.id == *id && turn.is_generated && !turn.is_recording => {
                turn.is_recording = true;
                let text = turn.text.clone();
                if after.is_none() || text.is_empty() {
                    return self.for_session(core, 0, move |world| world.recorded(core, Ok(None)));
                }
                self.record(core, text, now_ms + RECORD_TIMEOUT_MS);
            }
            _ => self.fail(|| format!("core {core}: records {id}, which is not generated")),
        }
    }

    /// Stores the answer, again and again while the store is away.
    fn record(&mut self, core: usize, text: UserText, until_ms: u64) {
        let Some(id) = self.cores[core].turn.as_ref().map(|turn| turn.id.clone()) else {
            return;
        };
        let finish = if self.cores[core].turn.as_ref().is_some_and(|turn| turn.is_cancelled) {
            Finish::Stopped
        } else {
            Finish::Stop
        };
        let answer = text.clone();
        let operation = move |world: &mut World| {
            let mut entry = entry(&id, Role::Assistant, &answer, world.wall());
            (entry.finish, entry.source) = (Some(finish), Some(Source::Llm));
            Ok(match world.store.append(entry)? {
                Appended::New(entry) => Some(Some(entry.seq)),
                Appended::Forgotten(_) => Some(None),
                // This answer, if the reply of its commit was lost, or that of another core.
                Appended::Existing(seq) => {
                    let is_same = world.store.at(seq).is_some_and(|stored| stored.text == answer);
                    is_same.then_some(Some(seq))
                }
            })
        };
        self.ask_store(core, operation, move |world, result| match result {
            Err(failure) if failure == unavailable() && world.now_ms < until_ms => {
                world.for_session(core, RECORD_RETRY_MS, move |world| world.record(core, text, until_ms));
            }
            Err(failure) => world.recorded(core, Err(failure)),
            Ok(None) => world.recorded(core, Err(Failure::Rejected(MessageRejection::abandoned()))),
            Ok(Some(seq)) => world.recorded(core, Ok(seq)),
        });
    }

    fn recorded(&mut self, core: usize, result: Result<Option<u64>, Failure>) {
        let Some(ModelTurn { id, text, is_cancelled, .. }) = &self.cores[core].turn else {
            return;
        };
        let ended = match result {
            Ok(seq) => Ended::Done(Box::new(Done {
                id: id.clone(),
                seq,
                finish: if *is_cancelled { Finish::Stopped } else { Finish::Stop },
                source: Source::Llm,
                model: None,
                chars: text.chars(),
                ms: Timing::default(),
                usage: None,
                exercise: None,
            })),
            Err(failure) => Ended::NotRecorded(failure),
        };
        self.end_turn(core, ended);
    }

    /// Releases the claim, and passes the end on.
    fn end_turn(&mut self, core: usize, ended: Ended) {
        let Some(turn) = self.cores[core].turn.take() else {
            return;
        };
        let is_stopped = matches!(&ended, Ended::Done(done) if done.seq.is_none() && done.finish == Finish::Stopped);
        let Some(number) = self.cores[core].take_permit(&turn.id) else {
            return self.fail(|| format!("core {core}: turn of {} ends without its claim", turn.id));
        };
        self.release_claim_then(core, Released { id: turn.id, number, is_stopped }, move |world| {
            world.feed(core, Input::Turn(TurnEvent::Ended(ended)));
        });
    }
}
