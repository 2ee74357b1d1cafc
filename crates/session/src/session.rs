//! The session: inputs to effects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use protocol::server_frame::Support;
use protocol::{Country, Locale, MessageId, Timestamp, UserLabel, UserText};

use crate::assessor::Assessor;
use crate::commits::{CatchUpReason, Commit, Commits, Forgetting, Rotation, Submission};
use crate::conversation::Conversation;
use crate::cx::Cx;
use crate::effect::{Effect, Recipients};
use crate::event::SessionEvent;
use crate::fanout::Fanout;
use crate::help_lines::HelpLines;
use crate::ids::ConnectionId;
use crate::input::{Input, Now, StoredSession, TurnEvent};
use crate::ledger::{Ledger, Life};
use crate::message::Risk;
use crate::profile::Profile;
use crate::published::PublishedSeq;
use crate::remote::Agreement;
use crate::replicas::Replicas;
use crate::settings::Settings;
use crate::turns::Turns;
use crate::watch::{Watch, need_of};

/// Messages in risk that may wait for their answer beyond [`Settings::per_user_max`].
const MAX_BEYOND_LIMITS: usize = 8;

/// State of a session that is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Label of the person.
    pub user: UserLabel,
    /// Highest `seq`.
    pub seq: u64,
    /// Messages of the person.
    pub messages: u64,
    /// Stored language.
    pub locale: Locale,
    /// Stored country.
    pub country: Option<Country>,
    /// Number of times that the resume token was replaced.
    pub rotations: u64,
    /// The session was created just now.
    pub is_new: bool,
    /// Other cores may have it too; `None` without a cluster. The value says whether events of theirs arrive.
    pub cluster: Option<bool>,
}

/// Session of one person: accepted messages, the running answer, and attached connections. A state machine without I/O:
/// its owner passes inputs and starts the effects in their order.
#[derive(Debug)]
pub struct Session {
    ledger: Ledger,
    /// Messages in risk that wait for room beyond the limits.
    held: VecDeque<Box<Submission>>,
    /// The server goes away.
    is_draining: bool,
    /// It is not kept, and has not begun to end: it does once it is abandoned.
    may_expire: bool,
}

impl Session {
    /// Creates the session of a live person.
    pub fn new(settings: impl Into<Arc<Settings>>, opening: Opening, now: Instant) -> Self {
        let settings = settings.into();
        let Opening { user, seq, messages, locale, country, rotations, is_new, cluster } = opening;
        // A chosen locale is stored; the default one may have been chosen or not, so the first message decides.
        let is_language_open = messages == 0 && locale == Locale::default();
        // Without events it may be resumed and continued on another core before any arrives here.
        let replicas = cluster.map(|is_connected| Replicas::new(is_new && is_connected));
        let is_kept = user.is_kept();
        let conversation = Conversation {
            user,
            fanout: Fanout::new(replicas, rotations, now),
            published: PublishedSeq::new(seq),
            messages,
            turns: Turns::default(),
            assessor: Assessor::new(if is_new { Watch::of_new() } else { Watch::default() }),
            profile: Profile::new(locale, country, is_language_open),
            source: settings.source,
        };
        let (life, commits, beyond_limits_until) = (Life::Open, Commits::default(), None);
        let ledger = Ledger { settings, life, conversation, commits, forgettings: Vec::new(), beyond_limits_until };
        Self { ledger, held: VecDeque::new(), is_draining: false, may_expire: !is_kept }
    }

    /// Processes `input`, and appends its effects to `out`.
    pub fn on(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        let cx = &mut Cx::new(now, out);
        let was_busy = self.is_busy();
        let conversation = &mut self.ledger.conversation;
        match input {
            Input::Detach(id) => conversation.fanout.detach(id, cx),
            Input::HalfClose(id) => conversation.fanout.half_close(id, cx),
            Input::Submit { from, message, ticket } => self.submit(Box::new(Submission { from, message, ticket })),
            Input::Stop(id) => conversation.stop(&id, cx),
            Input::StopRemotely(id) => conversation.fanout.publish_to_cores(SessionEvent::Stop { id }, cx),
            Input::SetLocale(locale, ticket) => self.ledger.commits.push(Commit::SetLocale(locale, ticket)),
            Input::SetCountry(country, ticket) => {
                // Applies at once, also while the store is away: the next help must have these lines.
                conversation.profile.set_country(country);
                self.ledger.commits.push(Commit::SetCountry(country, ticket));
            }
            Input::ForgetLast { from, ticket } => {
                self.ledger.commits.push(Commit::Forget(Forgetting { from, ticket, id: None }));
            }
            Input::RotateResume { from, token, ticket } => {
                self.ledger.commits.push(Commit::RotateResume(Rotation { from, token, ticket }));
            }
            Input::Erase(ticket) => self.ledger.commits.push(Commit::Erase(ticket)),
            Input::CatchUp(ticket) => self.ledger.commits.push(Commit::CatchUp(CatchUpReason::Call(ticket))),
            Input::ResendHelp => conversation.resend_help(cx),
            Input::SaveHelp => self.ledger.save_help(),
            Input::Broadcast(frame) => conversation.fanout.publish(Recipients::All, frame, cx),
            Input::Turn(TurnEvent::Generated) => {
                let ended = conversation.turns.on_generated();
                ended.into_iter().for_each(|id| self.ledger.commits.push(Commit::Record(id)));
            }
            Input::Turn(TurnEvent::Ended(ended)) => self.ledger.on_turn_ended(ended, cx),
            Input::Turn(TurnEvent::Progress(progress)) => conversation.on_progress(progress, cx),
            Input::Stored(result) => self.ledger.on_stored(result, cx),
            Input::Claims(query, claims) => Agreement(&mut self.ledger).on_claims(query, claims, cx),
            Input::AnswerRead(query, result) => Agreement(&mut self.ledger).on_answer_read(query, result, cx),
            Input::Remote(core, event) => Agreement(&mut self.ledger).on_event(core, event, cx),
            Input::Subscribed => Agreement(&mut self.ledger).on_subscribed(cx),
            Input::NoSubscribers(revision) => {
                Agreement(&mut self.ledger).update(cx, |replicas, _, _| replicas.on_no_subscribers(revision));
            }
            Input::Missing => self.ledger.end(0, cx),
            Input::Tick { is_connected: true } => Agreement(&mut self.ledger).update(cx, Replicas::tick),
            Input::Tick { is_connected: false } | Input::Timeout => {}
            Input::Drain => {
                self.is_draining = true;
                // For the last time: a draining core waits for no retry.
                self.ledger.save_help();
            }
        }
        self.proceed(cx);
        if was_busy && !self.is_busy() {
            cx.start(Effect::Wake);
        }
    }

    /// Queues a message. One in risk is never rejected for a limit: it waits for room beyond the limits.
    fn submit(&mut self, submission: Box<Submission>) {
        if submission.message.risk.must_be_answered() {
            self.held.push_back(submission);
        } else {
            self.ledger.commits.push(Commit::Admit(submission));
        }
    }

    /// Starts everything that may start now.
    fn proceed(&mut self, cx: &mut Cx<'_>) {
        self.stop_if_abandoned(cx);
        if self.expires_at().is_some_and(|at| at <= cx.now()) {
            self.may_expire = false;
            self.ledger.commits.push(Commit::Expire);
        }
        Agreement(&mut self.ledger).poll(cx);
        let assessor = &mut self.ledger.conversation.assessor;
        if assessor.retry_at().is_some_and(|at| at <= cx.now() || self.is_draining) {
            assessor.take_retry();
            if !self.is_draining {
                self.ledger.save_help();
            }
        }
        self.admit_held(cx);
        self.ledger.proceed(cx);
        self.ledger.conversation.turns.begin_next(cx);
        self.ledger.conversation.turns.check_order(cx);
    }

    /// Admits messages in risk as far as there is room. Beyond the limits the companion answers one a second, and the
    /// next ones wait here, which stops the reads behind them.
    fn admit_held(&mut self, cx: &Cx<'_>) {
        let Ledger { settings, life, conversation, commits, beyond_limits_until, .. } = &mut self.ledger;
        let most = settings.per_user_max + MAX_BEYOND_LIMITS;
        beyond_limits_until.take_if(|until| *until <= cx.now());
        while beyond_limits_until.is_none()
            && (*life != Life::Open || conversation.turns.in_flight() + commits.admissions() < most)
            && let Some(submission) = self.held.pop_front()
        {
            commits.push(Commit::Admit(submission));
        }
    }

    /// Stops an answer to which no connection has listened for [`Settings::abandoned_after`].
    fn stop_if_abandoned(&mut self, cx: &mut Cx<'_>) {
        let conversation = &mut self.ledger.conversation;
        if conversation.abandoned_at(self.ledger.settings.abandoned_after).is_some_and(|at| at <= cx.now())
            && let Some(id) = conversation.turns.unfinished().cloned()
        {
            conversation.stop(&id, cx);
        }
    }

    /// Returns the time at which a session that is not kept ends: no connection has listened for
    /// [`Settings::abandoned_after`].
    fn expires_at(&self) -> Option<Instant> {
        let since =
            self.ledger.conversation.fanout.abandoned_since().filter(|_| self.may_expire && !self.is_draining)?;
        Some(since + self.ledger.settings.abandoned_after)
    }

    /// Returns the time at which [`Input::Timeout`] is due; `None` while the session waits for no time.
    pub fn deadline(&self) -> Option<Instant> {
        let Ledger { settings, conversation, beyond_limits_until, .. } = &self.ledger;
        let held = beyond_limits_until.filter(|_| !self.held.is_empty());
        let retry = conversation.assessor.retry_at();
        let order = conversation.turns.deadline();
        let poll = conversation.fanout.replicas.as_ref().and_then(|replicas| replicas.deadline());
        let abandoned = conversation.abandoned_at(settings.abandoned_after);
        [held, retry, order, poll, abandoned, self.expires_at()].into_iter().flatten().min()
    }

    // ---- calls with a result --------------------------------------------------------------------

    /// Attaches a connection: it gets every later frame, and the answer in progress from its start. `rotations`: those of
    /// the record that its token has found. Returns its id and the highest `seq` before that; `None` if the session is
    /// gone, or the token was replaced meanwhile. The owner must know the connection before it starts the effects.
    pub fn attach(&mut self, now: Now, rotations: u64, out: &mut Vec<Effect>) -> Option<(ConnectionId, u64)> {
        let cx = &mut Cx::new(now, out);
        let conversation = &mut self.ledger.conversation;
        if self.ledger.life != Life::Open || !conversation.fanout.admits(rotations, cx) {
            return None;
        }
        let id = conversation.attach(cx);
        Some((id, self.seq()))
    }

    /// Assesses message `id` as it arrives, and sends the help that it calls for to every connection. Idempotent per id
    /// and text. Returns true if help was sent.
    pub fn assess(&mut self, now: Now, id: &MessageId, text: &UserText, out: &mut Vec<Effect>) -> bool {
        let conversation = &mut self.ledger.conversation;
        // Before admission, so that an error about that message is in its language.
        conversation.profile.detect_language(text);
        let need = conversation.assessor.assess(id, text, now.wall);
        need.into_iter().for_each(|need| conversation.show(id.clone(), need, &mut Cx::new(now, out)));
        need.is_some()
    }

    /// Uses the country that `text` names or confirms, if the help shown last has asked for it, and sends that help again
    /// with its lines. The next admission stores the country.
    pub fn adopt_answered_country(&mut self, now: Now, text: &UserText, out: &mut Vec<Effect>) {
        let conversation = &mut self.ledger.conversation;
        let watch = &conversation.assessor.watch;
        let is_adopted = watch.shown().is_some()
            && (conversation.profile.adopt_answered_country(text)
                || watch.awaits_country() && conversation.profile.adopt_confirmed_country(text));
        if is_adopted {
            conversation.resend_help(&mut Cx::new(now, out));
        }
    }

    /// Takes over the assessment of a connection from before this session was opened. A session with entries keeps its
    /// own memory; the messages are assessed again when they are submitted.
    pub(crate) fn adopt(&mut self, now: Now, watch: Watch, shown: VecDeque<Support>, out: &mut Vec<Effect>) {
        let is_untouched = self.is_untouched();
        let conversation = &mut self.ledger.conversation;
        if is_untouched {
            conversation.assessor.watch = watch.into_restored();
        }
        for support in shown {
            if !is_untouched {
                conversation.assessor.watch.learn_shown(&support.id, &support.help);
            }
            let need = need_of(&support.help, conversation.assessor.watch.is_minor());
            conversation.count_help(need, &mut Cx::new(now, out));
            conversation.assessor.keep_unsaved(support);
        }
    }

    /// Returns true if the session has no entries, none in progress, and no other connection.
    fn is_untouched(&self) -> bool {
        let Conversation { published, assessor, fanout, .. } = &self.ledger.conversation;
        published.seq() == 0 && !self.is_busy() && !assessor.has_unsaved() && fanout.connections() <= 1
    }

    /// Keeps connection `id` open when the session ends: it awaits the response to its `erase`. Call it before
    /// [`Input::Erase`], and [`Session::end_erasure`] after its completion.
    pub fn await_erasure(&mut self, id: ConnectionId) {
        self.ledger.conversation.fanout.await_erasure(id);
    }

    /// Ends [`Session::await_erasure`], with the response or at its deadline. Returns the number of erased entries if
    /// the session is gone; the connection has no session then.
    pub fn end_erasure(&mut self, id: ConnectionId) -> Option<u64> {
        self.ledger.conversation.fanout.end_erasure(id);
        match self.ledger.life {
            Life::Open => None,
            Life::Gone { entries } => Some(entries),
        }
    }

    /// Applies a language that a client has asked for and that is the stored one: it counts as chosen.
    pub fn confirm_locale(&mut self, locale: Locale) {
        self.ledger.conversation.profile.choose(locale);
    }

    /// Records the time zone of a client: a guess at the country.
    pub fn note_time_zone(&mut self, time_zone: &UserText) {
        self.ledger.conversation.profile.note_time_zone(time_zone);
    }

    /// Replaces the memory of risk by the one from stored messages; only the first call does.
    pub fn restore_risk(&mut self, restored: Watch) {
        self.ledger.conversation.assessor.watch.restore(restored);
    }

    // ---- state ----------------------------------------------------------------------------------

    /// Returns the highest published `seq`.
    pub fn seq(&self) -> u64 {
        self.ledger.conversation.published.seq()
    }

    /// Returns the language of texts for the person.
    pub fn locale(&self) -> Locale {
        self.ledger.conversation.profile.locale()
    }

    /// Returns the chosen country.
    pub fn country(&self) -> Option<Country> {
        self.ledger.conversation.profile.whereabouts().country
    }

    /// Returns true if the store has entries or a language that this session lacks.
    pub fn is_outdated(&self, stored: StoredSession) -> bool {
        let profile = &self.ledger.conversation.profile;
        self.seq() < stored.seq || (profile.locale() != stored.locale && !profile.is_locale_unsaved())
    }

    /// Returns true while a message is being admitted, waits or is answered.
    pub fn is_busy(&self) -> bool {
        let Ledger { conversation, commits, .. } = &self.ledger;
        0 < conversation.turns.in_flight() || !self.held.is_empty() || 0 < commits.admissions()
    }

    /// Returns true if this core answers message `id`, now or later.
    pub fn is_in_flight(&self, id: &MessageId) -> bool {
        self.ledger.conversation.turns.is_in_flight(id)
    }

    /// Returns true if help waits to be stored.
    pub fn has_unsaved_help(&self) -> bool {
        self.ledger.conversation.assessor.has_unsaved()
    }

    /// Returns the memory of risk.
    pub fn watch(&self) -> &Watch {
        &self.ledger.conversation.assessor.watch
    }

    /// Number of connections here and on other cores.
    pub fn connections(&self) -> usize {
        self.ledger.conversation.fanout.connections()
    }

    /// Returns the risk in force.
    pub fn risk(&self, now: Timestamp) -> Risk {
        let watch = &self.ledger.conversation.assessor.watch;
        Risk { follows_high: watch.follows_high(self.ledger.settings.risk_window, now), ..watch.risk(now) }
    }

    /// Returns the help lines of the session.
    pub fn help_lines(&self) -> HelpLines<'_> {
        HelpLines::new(&self.ledger.conversation)
    }
}
