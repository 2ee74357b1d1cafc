//! Scripts for risk: emergencies, crises, somebody else at risk, and the kinds with words of their own.

use super::data::{Act, Group};
use super::memory::Memory;
use super::ordinary;
use super::reading::{Answer, Reading};
use crate::{Kind, Level, Subject};

const ASKS: [Act; 3] = [Act::ConcernAsk, Act::CrisisAsk, Act::CrisisAskNow];
const PLAN: [Act; 6] = [Act::PlanOne, Act::PlanTwo, Act::PlanThree, Act::PlanFour, Act::PlanFive, Act::PlanSix];
const CALLS: [Act; 2] = [Act::CrisisCall, Act::CrisisCallLine];
/// Acts that ask for means, or for distance from them.
const ASSESSING: [Act; 4] = [Act::CrisisMeans, Act::CrisisTime, Act::CrisisDistance, Act::Imminent];
/// Acts that ask for company.
const WITH: [Act; 5] =
    [Act::CrisisWith, Act::CrisisWithAdult, Act::CrisisWithOther, Act::CrisisRefused, Act::CrisisUnsure];
const EMERGENCY: [Act; 7] = [
    Act::Emergency,
    Act::EmergencyWith,
    Act::EmergencyAlone,
    Act::EmergencyComing,
    Act::EmergencyRefused,
    Act::EmergencySafe,
    Act::EmergencyStay,
];
/// Acts in the emergency of somebody else.
const HELPER_EMERGENCY: [Act; 2] = [Act::HelperNow, Act::HelperUrgent];
/// Acts about somebody else at risk.
const HELPER: [Act; 8] = [
    Act::HelperAsk,
    Act::HelperOther,
    Act::HelperNow,
    Act::HelperUrgent,
    Act::HelperQuestion,
    Act::HelperListen,
    Act::HelperMeans,
    Act::HelperLink,
];
const BARRIERS: [(Group, Act); 7] = [
    (Group::Cost, Act::BarrierCost),
    (Group::Police, Act::BarrierPolice),
    (Group::Worry, Act::BarrierWorry),
    (Group::Nobody, Act::BarrierNobody),
    (Group::Shame, Act::BarrierShame),
    (Group::Wait, Act::BarrierWait),
    (Group::Useless, Act::BarrierUseless),
];
/// Acts about violence by others.
const VIOLENCE: [Act; 5] =
    [Act::AbuseOpen, Act::AbuseNext, Act::AbuseUnsafe, Act::SexualViolenceOpen, Act::SexualViolenceNext];
/// Kinds with words of their own, the most urgent first.
const KINDS: [(Kind, Act, Act); 7] = [
    (Kind::SexualViolence, Act::SexualViolenceOpen, Act::SexualViolenceNext),
    (Kind::Abuse, Act::AbuseOpen, Act::AbuseNext),
    (Kind::HarmToOthers, Act::HarmOpen, Act::HarmNext),
    (Kind::SelfHarm, Act::SelfHarmOpen, Act::SelfHarmNext),
    (Kind::Substance, Act::SubstanceOpen, Act::SubstanceNext),
    (Kind::Eating, Act::EatingOpen, Act::EatingNext),
    (Kind::Psychosis, Act::PsychosisOpen, Act::PsychosisNext),
];

/// Returns `true` if an act belongs to the script for the person's own crisis.
fn is_crisis(act: Act) -> bool {
    ASKS.contains(&act)
        || WITH.contains(&act)
        || CALLS.contains(&act)
        || PLAN.contains(&act)
        || matches!(
            act,
            Act::CrisisPlan
                | Act::CrisisMeans
                | Act::CrisisTime
                | Act::CrisisDistance
                | Act::CrisisCallStay
                | Act::CrisisCallAfter
                | Act::CrisisCallNo
                | Act::CrisisDenied
                | Act::CrisisAgain
                | Act::Imminent
                | Act::PlanOffer
                | Act::PlanDone
                | Act::PlanDeclined
                | Act::LookBack
        )
}

/// Answers an attempt in progress, an overdose or a dangerous injury: the number, company, presence.
pub(super) fn emergency(memory: &Memory<'_>) -> Option<Act> {
    let (turn, now) = (memory.turn, memory.now());
    let own = turn.subject != Subject::Other && !is_emergency_of_other(memory);
    let acute = own && (turn.kinds.contains(Kind::Medical) || is_attempt(memory));
    let ongoing = memory.since(|act| EMERGENCY.contains(&act)).is_some_and(|since| since < 4);
    let safe = memory.readings().take(3).any(|reading| reading.has(Group::Safe));
    if !acute && (!ongoing || safe) {
        return (ongoing && now.has(Group::Safe)).then_some(Act::EmergencySafe);
    }
    if !ongoing {
        return Some(Act::Emergency);
    }
    let named = !now.topics.is_empty();
    Some(if now.has(Group::Called) {
        Act::EmergencyComing
    } else if now.has_any(&[Group::Police, Group::Refuse, Group::Stop, Group::Useless])
        || now.mentions(&["llamar", "call"])
    {
        Act::EmergencyRefused
    } else if now.has_company() {
        Act::EmergencyWith
    } else if now.has(Group::Alone) || memory.before() == Some(Act::Emergency) && now.rules_out_company() {
        Act::EmergencyAlone
    } else {
        match memory.answer() {
            Answer::No if memory.before() == Some(Act::Emergency) => Act::EmergencyAlone,
            Answer::No => Act::EmergencyRefused,
            Answer::Yes if memory.before() == Some(Act::Emergency) => Act::EmergencyWith,
            _ if named && memory.before() == Some(Act::Emergency) => Act::EmergencyWith,
            _ => Act::EmergencyStay,
        }
    })
}

/// Returns `true` if the message says that the person has made an attempt, or took too much of a drug.
fn is_attempt(memory: &Memory<'_>) -> bool {
    let (turn, now) = (memory.turn, memory.now());
    let at_risk = turn.level.max(turn.now) >= Level::High;
    // "15 clonazepam": a number of a drug and nothing else.
    let dose = now.has(Group::Drug) && now.words <= 5 && now.has_number() && !now.negates();
    let overdose = now.has(Group::Overdose) && (at_risk || now.has(Group::Drug));
    overdose || at_risk && (now.has(Group::AttemptNow) || dose && !now.has(Group::GivenAway))
}

/// Returns `true` if the message continues the emergency of somebody else, or reports one in a talk about that person.
fn is_emergency_of_other(memory: &Memory<'_>) -> bool {
    let now = memory.now();
    // A danger without an attempt needs the steps for helpers, not first aid.
    let attempted = memory.readings().take(6).any(|reading| reading.has_any(&[Group::OtherAttempt, Group::AttemptNow]));
    let running = attempted && in_helper_emergency(memory);
    let reported =
        now.has(Group::OtherAttempt) && memory.since(|act| HELPER.contains(&act)).is_some_and(|since| since < 6);
    let own = !now.has(Group::OtherAttempt) && now.has_any(&[Group::AttemptNow, Group::Explicit, Group::Overdose]);
    (running || reported) && (!own || memory.turn.subject == Subject::Other)
}

/// Returns `true` if one of the last answers was about the emergency of somebody else.
fn in_helper_emergency(memory: &Memory<'_>) -> bool {
    memory.since(|act| HELPER_EMERGENCY.contains(&act)).is_some_and(|since| since < 4)
}

/// Answers a person who worries about somebody else at risk.
pub(super) fn helper(memory: &Memory<'_>) -> Option<Act> {
    let turn = memory.turn;
    let begun = memory.before().is_some_and(|act| HELPER.contains(&act));
    if is_emergency_of_other(memory) && ordinary::leaving(memory).is_none() {
        return Some(if !in_helper_emergency(memory) {
            Act::HelperNow
        } else if memory.now().has(Group::Safe) {
            Act::HelperSelf
        } else {
            Act::HelperUrgent
        });
    }
    let named = turn.subject == Subject::Other && (turn.level > Level::None || !turn.kinds.is_empty());
    if !(named || begun && turn.now < Level::High) || turn.subject == Subject::Own && turn.now >= Level::Concern {
        return None;
    }
    if let Some(leaving) = ordinary::leaving(memory) {
        return Some(leaving);
    }
    let acute = turn.now == Level::Imminent
        || turn.kinds.contains(Kind::Medical)
        || memory.now().has_any(&[Group::AttemptNow, Group::OtherAttempt]);
    let in_danger = memory.before() == Some(Act::HelperAsk) && memory.answer() == Answer::Yes;
    if (acute || in_danger) && !memory.lately(Act::HelperNow, 6) {
        return Some(Act::HelperNow);
    }
    let about_life = turn.kinds.is_empty() || turn.kinds.contains(Kind::Suicide) || turn.kinds.contains(Kind::SelfHarm);
    let script: &[Act] = if memory.said(Act::HelperOther) || !(about_life || memory.said(Act::HelperAsk)) {
        &[Act::HelperOther, Act::HelperLink, Act::HelperSelf]
    } else {
        &[Act::HelperAsk, Act::HelperQuestion, Act::HelperListen, Act::HelperMeans, Act::HelperLink, Act::HelperSelf]
    };
    let next = script.iter().copied().find(|act| !memory.said(*act));
    next.or_else(|| named.then_some(Act::HelperSelf))
}

/// Answers a kind of risk with its own script: an opening, then one more turn.
pub(super) fn kinds(memory: &Memory<'_>) -> Option<Act> {
    let turn = memory.turn;
    let to_death = turn.now >= Level::High && (memory.now().has(Group::Explicit) || turn.now == Level::Imminent);
    if turn.subject == Subject::Other || to_death {
        return None;
    }
    for (_, open, next) in KINDS {
        if memory.before() == Some(open) {
            let asks_about_safety = matches!(open, Act::AbuseOpen | Act::SexualViolenceOpen);
            if asks_about_safety && open == Act::AbuseOpen && memory.answer() == Answer::No {
                return Some(Act::AbuseUnsafe);
            }
            // Self-injury at a high level: the question about suicide comes next.
            return (open != Act::SelfHarmOpen || turn.level < Level::High).then_some(next);
        }
    }
    if memory.before() == Some(Act::AbuseUnsafe) {
        return Some(Act::AbuseNext);
    }
    let fresh = |(kind, open, _): &&(Kind, Act, Act)| turn.kinds.contains(*kind) && !memory.lately(*open, 10);
    KINDS.iter().find(fresh).map(|(_, open, _)| *open)
}

/// Facts of the history about a crisis.
struct Facts {
    asked: bool,
    /// The question about death was answered with a no.
    denied: bool,
    /// An intent for today was denied in plain words: plan, means and time are not asked for.
    will_not: bool,
    /// A question was refused: no such question is asked again.
    refused: bool,
    /// Ideas of death were confirmed, or said in plain words.
    confirmed: bool,
    plan: Option<Answer>,
    means: Option<Answer>,
    /// The person lately said to be safe, or in company.
    safe: bool,
    /// The means were given away.
    given_away: bool,
}

impl Facts {
    fn of(memory: &Memory<'_>) -> Self {
        let asked = memory.said_any(&ASKS);
        let reply = memory.reply_to(&[Act::ConcernAsk, Act::CrisisAsk]);
        let plain = |reading: &Reading| reading.has(Group::Explicit) && !reading.has(Group::Deny);
        let yes = reply.is_some_and(|reading| reading.answer() == Answer::Yes || plain(reading));
        let questions = [Act::CrisisPlan, Act::CrisisMeans, Act::CrisisTime];
        let refusals = memory.exchanges().iter().filter(|exchange| {
            let asked = exchange.before.is_some_and(|(act, _)| ASKS.contains(&act) || questions.contains(&act));
            asked && exchange.reading.answer() == Answer::Refused
        });
        Self {
            asked,
            denied: !yes && reply.is_some_and(|reading| reading.answer() == Answer::No),
            will_not: memory
                .reply_to(&[Act::CrisisAskNow])
                .is_some_and(|reading| reading.has(Group::Deny) && reading.answer() == Answer::No),
            refused: refusals.count() > 0,
            confirmed: yes || memory.said_any(&[Act::CrisisAskNow, Act::CrisisPlan]),
            plan: memory.reply_to(&[Act::CrisisPlan]).map(Reading::answer),
            means: memory.reply_to(&[Act::CrisisMeans]).map(Reading::answer),
            safe: memory.readings().take(3).any(|reading| reading.has(Group::Safe) || reading.has_company()),
            given_away: memory.readings().take(3).any(|reading| reading.has(Group::GivenAway) && !reading.negates()),
        }
    }
}

/// Runs the script for the person's own crisis.
pub(super) fn crisis(memory: &Memory<'_>) -> Option<Act> {
    let (turn, before) = (memory.turn, memory.before());
    if turn.subject == Subject::Other {
        return None;
    }
    let facts = Facts::of(memory);
    if is_of_other(memory) || is_of_violence(memory) {
        return None;
    }
    let open = facts.confirmed && memory.since(is_crisis).is_some_and(|since| since < 3);
    if turn.level.max(turn.now) == Level::None && !open && !before.is_some_and(is_crisis) {
        return None;
    }
    let in_plan = before.is_some_and(|act| act == Act::PlanOffer || PLAN.contains(&act));
    plan_step(memory)
        .or_else(|| barrier(memory, &BARRIERS))
        .or_else(|| first_question(memory, &facts))
        .or_else(|| after_question(memory, &facts))
        .or_else(|| (!in_plan && pursued(memory, &facts)).then(|| next_step(memory, &facts)).flatten())
        .or_else(|| afterwards(memory))
        .or_else(|| in_plan.then_some(Act::Stay))
}

/// Returns `true` if the script continues: not after a denial, unless the risk recurs.
fn pursued(memory: &Memory<'_>, facts: &Facts) -> bool {
    let turn = memory.turn;
    let at_risk = turn.level.max(turn.now) >= Level::High || facts.confirmed;
    at_risk && (!facts.denied || turn.now >= Level::High)
}

/// Asks the next step of the safety plan, or reads the answer to its offer.
fn plan_step(memory: &Memory<'_>) -> Option<Act> {
    let (now, answer) = (memory.now(), memory.answer());
    let begins = now.has(Group::WantPlan) && !matches!(answer, Answer::No | Answer::Refused) && !now.negates();
    let before = memory.before();
    if now.has(Group::WantPlan) && now.negates() && now.words <= 8 {
        return Some(Act::PlanDeclined);
    }
    if before == Some(Act::PlanOffer) {
        return match answer {
            Answer::Yes => Some(Act::PlanOne),
            Answer::No | Answer::Refused => Some(Act::PlanDeclined),
            Answer::Unsure | Answer::Other => begins.then_some(Act::PlanOne),
        };
    }
    let Some(step) = PLAN.iter().position(|act| before == Some(*act)) else {
        return begins.then_some(Act::PlanOne);
    };
    if now.wants_to_stop() || answer == Answer::Refused {
        return Some(Act::PlanDeclined);
    }
    Some(PLAN.get(step + 1).copied().unwrap_or(Act::PlanDone))
}

/// Continues a running safety plan: the answer is content, unless it carries a risk of the person's own.
pub(super) fn running_plan(memory: &Memory<'_>) -> Option<Act> {
    let turn = memory.turn;
    let running = memory.before().is_some_and(|act| PLAN.contains(&act));
    let other = turn.subject == Subject::Other;
    let grave = [Kind::Medical, Kind::Abuse, Kind::SexualViolence].into_iter().any(|kind| turn.kinds.contains(kind));
    let is_given = memory.now().has_any(&[Group::GivenAway, Group::Safe]);
    if !running || !other && !is_given && (turn.now >= Level::High || grave) || is_emergency_of_other(memory) {
        return None;
    }
    if let Some(leaving) = ordinary::leaving(memory) {
        return (turn.level == Level::None).then_some(leaving);
    }
    plan_step(memory)
}

/// Answers a barrier to help, not more often than now and then.
pub(super) fn barrier(memory: &Memory<'_>, barriers: &[(Group, Act)]) -> Option<Act> {
    let named = |(group, act): &&(Group, Act)| memory.now().has(*group) && !memory.lately(*act, 8);
    barriers.iter().find(named).map(|(_, act)| *act)
}

/// Asks the direct question about suicide, once.
fn first_question(memory: &Memory<'_>, facts: &Facts) -> Option<Act> {
    let (turn, now) = (memory.turn, memory.now());
    // The remembered level is no reason to repeat the question; only a risk said again is.
    if now.has(Group::GivenAway) && !now.negates() && !now.has(Group::Explicit) && memory.said_any(&ASSESSING) {
        return None;
    }
    let is_new = turn.now == Level::Imminent && !memory.lately(Act::Imminent, 10);
    if is_new || turn.level == Level::Imminent && !memory.said(Act::Imminent) {
        return Some(Act::Imminent);
    }
    let remembered = turn.level < Level::High && turn.now < Level::Concern;
    if facts.asked || memory.said(Act::Imminent) || remembered {
        return None;
    }
    Some(if turn.level.max(turn.now) < Level::High {
        Act::ConcernAsk
    } else if now.has(Group::Explicit) {
        Act::CrisisAskNow
    } else {
        Act::CrisisAsk
    })
}

/// Returns the act that follows the answer to a question of the script.
fn after_question(memory: &Memory<'_>, facts: &Facts) -> Option<Act> {
    let before = memory.before()?;
    let answer = memory.answer();
    let questions = [Act::CrisisPlan, Act::CrisisMeans, Act::CrisisTime];
    if answer == Answer::Refused && (ASKS.contains(&before) || questions.contains(&before)) {
        return Some(Act::CrisisRefused);
    }
    let now = memory.now();
    let plain = now.has(Group::Explicit) || memory.turn.now >= Level::High;
    if now.has(Group::Calling) && memory.said_any(&CALLS) && !memory.lately(Act::CrisisCallStay, 4) {
        return Some(Act::CrisisCallStay);
    }
    if now.has(Group::Called) {
        return None;
    }
    let asks_company = CALLS.contains(&before) || WITH.contains(&before);
    if asks_company && now.rules_out_company() {
        let again = memory.times(Act::CrisisWithOther) < 2;
        return Some(if again { Act::CrisisWithOther } else { Act::CrisisCallLine });
    }
    let someone = !now.topics.is_empty() && matches!(answer, Answer::Other | Answer::Unsure);
    if (CALLS.contains(&before) || before == Act::CrisisWithOther) && someone && memory.times(Act::CrisisCall) < 2 {
        return Some(Act::CrisisCall);
    }
    match (before, answer) {
        (Act::ConcernAsk | Act::CrisisAsk, Answer::No) if !plain || memory.now().has(Group::Deny) => {
            Some(Act::CrisisDenied)
        }
        (Act::ConcernAsk | Act::CrisisAsk, Answer::Unsure | Answer::Other) if !plain && !facts.confirmed => {
            Some(Act::CrisisUnsure)
        }
        (Act::CrisisCall | Act::CrisisCallLine, Answer::Yes) => Some(Act::CrisisCallStay),
        (Act::CrisisCall | Act::CrisisCallLine, Answer::No | Answer::Refused) => Some(Act::CrisisCallNo),
        (Act::CrisisCallStay, _) => Some(Act::CrisisCallAfter),
        _ => None,
    }
}

/// Returns the next step not taken yet: plan, means, time, distance, company, call, safety plan.
fn next_step(memory: &Memory<'_>, facts: &Facts) -> Option<Act> {
    let turn = memory.turn;
    let planned = !matches!(facts.plan, Some(Answer::No)) && !facts.safe;
    let imminent = memory.said(Act::Imminent);
    let spared = facts.refused || facts.will_not || facts.safe || facts.given_away;
    let assessed = spared || imminent || !facts.confirmed;
    let out_of_reach = matches!(facts.means, Some(Answer::No));
    let with = if turn.minor { Act::CrisisWithAdult } else { Act::CrisisWith };
    // The last step of the plan asks for distance too.
    let near =
        !facts.given_away && !facts.safe && (imminent || memory.said(Act::CrisisMeans) && planned && !out_of_reach);
    let soon = memory.reply_to(&[Act::CrisisAskNow]).is_some_and(|reading| reading.answer() == Answer::Yes);
    let steps = [
        (Act::CrisisPlan, !assessed),
        (Act::CrisisMeans, !assessed && planned),
        (Act::CrisisTime, !assessed && planned && !soon),
        (Act::CrisisDistance, !memory.said(Act::PlanSix) && near),
        (with, !memory.said_any(&WITH) && !memory.readings().take(3).any(Reading::has_company)),
        (call(memory), !memory.said_any(&CALLS)),
        (Act::PlanOffer, true),
    ];
    let step = steps.into_iter().find(|(act, due)| *due && !memory.said(*act)).map(|(act, _)| act);
    step.or_else(|| reoffer(memory))
}

/// Offers the safety plan a second time, where the person answered something else to the first offer.
fn reoffer(memory: &Memory<'_>) -> Option<Act> {
    let open = memory.reply_to(&[Act::PlanOffer])?.answer();
    let unanswered = matches!(open, Answer::Other | Answer::Unsure);
    let once = memory.times(Act::PlanOffer) == 1 && !memory.lately(Act::PlanOffer, 2);
    (unanswered && once && !memory.said(Act::PlanOne)).then_some(Act::PlanOffer)
}

/// Proposes a call to the person whom the message named, else to a help line.
fn call(memory: &Memory<'_>) -> Act {
    let has_no_company = |reading: &Reading| {
        reading.has_any(&[Group::Alone, Group::Nobody]) || !matches!(reading.answer(), Answer::Yes | Answer::Other)
    };
    let named =
        memory.reply_to(&[Act::CrisisWith, Act::CrisisWithAdult, Act::CrisisWithOther]).is_some_and(|reading| {
            !has_no_company(reading)
                && !reading.rules_out_company()
                && (!reading.topics.is_empty() || reading.words <= 8 && !reading.is_soon())
        });
    if named { Act::CrisisCall } else { Act::CrisisCallLine }
}

/// Continues after the script: the same care when the risk recurs, and a follow-up later.
fn afterwards(memory: &Memory<'_>) -> Option<Act> {
    let turn = memory.turn;
    if turn.now >= Level::High {
        return Some(if memory.lately(Act::CrisisAgain, 1) { Act::CrisisCallLine } else { Act::CrisisAgain });
    }
    let remembered = turn.level >= Level::High || turn.level == Level::Concern && turn.now >= Level::Concern;
    let since = memory.since(|act| is_crisis(act) || act == Act::GoodbyeRisk)?;
    (remembered && since >= 4).then_some(Act::LookBack)
}

/// Returns `true` if the risk is violence by others, and suicide was no subject: somebody who was beaten is
/// not asked for a wish to die.
fn is_of_violence(memory: &Memory<'_>) -> bool {
    let turn = memory.turn;
    let spoken = turn.kinds.has_self_directed() || memory.now().has(Group::Explicit) || turn.now == Level::Imminent;
    memory.said_any(&VIOLENCE) && !spoken && !memory.said_any(&ASKS)
}

/// Returns `true` if a crisis was the subject of the last turns, so that only presence fits.
pub(super) fn stays(memory: &Memory<'_>) -> bool {
    let lately = memory.since(|act| is_crisis(act) || act == Act::Stay).is_some_and(|since| since < 3);
    memory.turn.level >= Level::High && lately
}

/// Returns `true` if the remembered risk may be that of somebody else, for whom the person asked for help.
pub(super) fn is_of_other(memory: &Memory<'_>) -> bool {
    let helped = memory.said_any(&[Act::HelperAsk, Act::HelperOther, Act::HelperNow]);
    helped && !memory.said_any(&ASKS) && memory.turn.now < Level::Concern
}
