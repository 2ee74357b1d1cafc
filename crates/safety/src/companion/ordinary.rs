//! Turns without risk: small talk, listening, asking, exercises, good-byes.

use super::crisis;
use super::data::{Act, Edition, Group};
use super::memory::Memory;
use super::reading::{Answer, FEELINGS, Reading};
use super::voice::hash;
use crate::Level;

/// Situations and feelings, the most specific first, with their reflections.
const REFLECTIONS: [(Group, Act); 25] = [
    (Group::Grief, Act::ReflectGrief),
    (Group::Breakup, Act::ReflectBreakup),
    (Group::Bullying, Act::ReflectBullying),
    (Group::Identity, Act::ReflectIdentity),
    (Group::Caring, Act::ReflectCaring),
    (Group::Moving, Act::ReflectMoving),
    (Group::Illness, Act::ReflectIllness),
    (Group::Worthless, Act::ReflectWorthless),
    (Group::Lonely, Act::ReflectLonely),
    (Group::Guilty, Act::ReflectGuilty),
    (Group::Money, Act::ReflectMoney),
    (Group::Sleep, Act::ReflectSleep),
    (Group::Limit, Act::ReflectLimit),
    (Group::Empty, Act::ReflectEmpty),
    (Group::Couple, Act::ReflectCouple),
    (Group::Study, Act::ReflectStudy),
    (Group::Work, Act::ReflectWork),
    (Group::Friends, Act::ReflectFriends),
    (Group::Afraid, Act::ReflectAfraid),
    (Group::Angry, Act::ReflectAngry),
    (Group::Family, Act::ReflectFamily),
    (Group::Overwhelmed, Act::ReflectOverwhelmed),
    (Group::Anxious, Act::ReflectAnxious),
    (Group::Tired, Act::ReflectTired),
    (Group::Sad, Act::ReflectSad),
];
/// Situations that are named without trouble as well.
const NAMED: [Group; 7] =
    [Group::Family, Group::Friends, Group::Work, Group::Study, Group::Couple, Group::Money, Group::Illness];
/// Exercises, step by step.
const BREATH_LONG: [Act; 3] = [Act::BreathLongOne, Act::BreathLongTwo, Act::BreathLongThree];
const BREATH_BOX: [Act; 3] = [Act::BreathBoxOne, Act::BreathBoxTwo, Act::BreathBoxThree];
const GROUNDING: [Act; 5] =
    [Act::GroundingOne, Act::GroundingTwo, Act::GroundingThree, Act::GroundingFour, Act::GroundingFive];
const SMALL_STEP: [Act; 3] = [Act::SmallStepOne, Act::SmallStepTwo, Act::SmallStepThree];
const REACH_OUT: [Act; 3] = [Act::ReachOutOne, Act::ReachOutTwo, Act::ReachOutThree];
const EXERCISES: [&[Act]; 5] = [&BREATH_LONG, &BREATH_BOX, &GROUNDING, &SMALL_STEP, &REACH_OUT];
const OFFERS: [Act; 4] = [Act::OfferBreath, Act::OfferGrounding, Act::OfferSmallStep, Act::OfferReachOut];

/// Least number of answers between two offers.
const MIN_ANSWERS_BETWEEN_OFFERS: usize = 4;

/// Answers a good-bye; `None` where the message is none. At night the first words of a conversation are a greeting.
pub(super) fn leaving(memory: &Memory<'_>) -> Option<Act> {
    let greets = memory.turns() == 1 && memory.turn.level == Level::None && memory.now().says("buenas noches");
    (!greets && takes_leave(memory.now())).then_some(Act::Close)
}

/// Returns `true` if a message says good-bye.
pub(super) fn takes_leave(reading: &Reading) -> bool {
    reading.has(Group::Goodbye) && (reading.words <= 12 || reading.opens_with(Group::Goodbye))
}

/// Answers a turn without risk.
pub(super) fn act(memory: &Memory<'_>) -> Act {
    exercise(memory)
        .or_else(|| off_topic(memory))
        .or_else(|| leaving(memory))
        .or_else(|| manners(memory))
        .or_else(|| wanted_exercise(memory))
        .or_else(|| listening(memory))
        .or_else(|| about_help(memory))
        .or_else(|| minor(memory))
        .or_else(|| crisis::stays(memory).then_some(Act::Stay))
        .or_else(|| reflection(memory))
        .or_else(|| brief(memory))
        .or_else(|| summary(memory))
        .or_else(|| offer(memory))
        .unwrap_or_else(|| exploration(memory))
}

/// Continues an exercise, or reads the answer to an offer.
fn exercise(memory: &Memory<'_>) -> Option<Act> {
    let (before, now, answer) = (memory.before()?, memory.now(), memory.answer());
    if now.has_any(&[Group::Goodbye, Group::Complaint]) {
        return None;
    }
    if OFFERS.contains(&before) {
        return match answer {
            Answer::Yes => Some(first_step(memory, before)),
            Answer::No | Answer::Refused => Some(Act::NoTaken),
            Answer::Unsure | Answer::Other => None,
        };
    }
    let before = if before == Act::Panic { Act::BreathLongOne } else { before };
    let steps = EXERCISES.into_iter().find(|steps| steps.contains(&before))?;
    let unwilling = answer == Answer::No && !matches!(before, Act::SmallStepThree | Act::ReachOutThree);
    if now.has(Group::Stop) || answer == Answer::Refused || unwilling {
        return Some(Act::ExerciseStop);
    }
    let next = steps.iter().skip_while(|act| **act != before).nth(1).copied();
    Some(next.unwrap_or(Act::ExerciseDone))
}

fn first_step(memory: &Memory<'_>, offer: Act) -> Act {
    match offer {
        Act::OfferGrounding => Act::GroundingOne,
        Act::OfferSmallStep => Act::SmallStepOne,
        Act::OfferReachOut => Act::ReachOutOne,
        // Another way of breathing the second time.
        _ if memory.said(Act::BreathLongThree) && !memory.said(Act::BreathBoxOne) => Act::BreathBoxOne,
        _ => Act::BreathLongOne,
    }
}

/// Starts an exercise that the person asks for, or that panic calls for.
fn wanted_exercise(memory: &Memory<'_>) -> Option<Act> {
    let now = memory.now();
    if now.has_any(&[Group::Refuse, Group::Stop]) || now.has(Group::WantPlan) && now.negates() {
        return None;
    }
    let panic = now.has(Group::Panic) && !memory.lately(Act::Panic, 5);
    let wanted = [
        (Group::WantBox, Act::BreathBoxOne),
        (Group::WantGrounding, Act::GroundingOne),
        (Group::WantBreath, Act::BreathLongOne),
        (Group::WantWords, Act::ReachOutTwo),
        (Group::WantPlan, Act::PlanOne),
    ];
    if panic {
        return Some(Act::Panic);
    }
    wanted.into_iter().find(|(group, act)| now.has(*group) && !memory.lately(*act, 3)).map(|(_, act)| act)
}

/// Declines requests that the companion does not serve: sex, other roles, errands, jokes.
fn off_topic(memory: &Memory<'_>) -> Option<Act> {
    let now = memory.now();
    let about_self = now.mentions(&["soy", "es", "son", "mi", "me", "im", "my", "he", "she", "they", "am", "i"]);
    if now.has(Group::Sexual) && now.words <= 15 {
        Some(Act::Sexual)
    } else if now.has(Group::Injection) {
        Some(Act::Injection)
    } else if now.has(Group::Insult) && now.words <= 8 && !about_self {
        Some(Act::Insult)
    } else if now.has(Group::Joke) && now.words <= 10 {
        Some(Act::Joke)
    } else if now.has(Group::Facts) && now.words <= 25 && !now.has_any(&FEELINGS) {
        Some(Act::Limits)
    } else {
        None
    }
}

/// Answers greetings, thanks, complaints, and illegible messages.
fn manners(memory: &Memory<'_>) -> Option<Act> {
    let now = memory.now();
    let felt = now.has_any(&FEELINGS);
    if !now.legible {
        return Some(if now.has(Group::Laugh) { Act::SmallTalk } else { Act::Unclear });
    }
    if now.has(Group::Complaint) {
        return Some(Act::Complaint);
    }
    if now.has_any(&[Group::TopicChange, Group::Refuse]) {
        return Some(Act::TopicChange);
    }
    if felt {
        return None;
    }
    if now.has(Group::Thanks) && now.words <= 10 {
        Some(Act::Thanks)
    } else if now.has(Group::Hello) && now.words <= 5 {
        Some(if memory.turns() > 3 { Act::AskOpen } else { Act::Greet })
    } else if now.has(Group::Capabilities) && now.words <= 10 {
        Some(Act::Capabilities)
    } else if now.has(Group::Laugh) && now.words <= 4 {
        Some(Act::SmallTalk)
    } else {
        None
    }
}

/// Listens only, as the person wishes.
fn listening(memory: &Memory<'_>) -> Option<Act> {
    let now = memory.now();
    if now.has(Group::OnlyListen) {
        return Some(Act::OnlyListen);
    }
    let mode = memory.since(|act| act == Act::OnlyListen)?;
    let kept = memory.since(|act| !matches!(act, Act::OnlyListen | Act::KeepListening)).unwrap_or(usize::MAX);
    (mode < 5 && kept > mode && !now.asks && !now.has(Group::Advice)).then_some(Act::KeepListening)
}

/// Answers barriers to help, and requests for advice.
fn about_help(memory: &Memory<'_>) -> Option<Act> {
    let barriers = [
        (Group::Cost, Act::BarrierCost),
        (Group::Wait, Act::BarrierWait),
        (Group::Useless, Act::BarrierUseless),
        (Group::Police, Act::BarrierPolice),
    ];
    if let Some(act) = crisis::barrier(memory, &barriers) {
        return Some(act);
    }
    if !memory.now().has(Group::Advice) {
        return None;
    }
    // An offer is an answer to "what can I do", once there is something to go on.
    Some(if offer_allowed(memory) { offer_of(memory).unwrap_or(Act::Advice) } else { Act::Advice })
}

/// Points a minor who is unwell to a trusted adult, once.
fn minor(memory: &Memory<'_>) -> Option<Act> {
    let due = memory.turn.minor && memory.turns() >= 3 && troubled(memory, 4) && !memory.said(Act::MinorAdult);
    due.then_some(Act::MinorAdult)
}

/// Reflects a situation or feeling that was not reflected lately; never more than two reflections in a row.
fn reflection(memory: &Memory<'_>) -> Option<Act> {
    let is_reflection = |act: Act| REFLECTIONS.iter().any(|(_, reflection)| *reflection == act);
    let others = memory.since(|act| !is_reflection(act)).unwrap_or(usize::MAX);
    let reflected = memory.since(is_reflection);
    if reflected == Some(0) && others >= 2 && memory.turns() > 2 {
        return None;
    }
    let now = memory.now();
    if now.has(Group::Glad) && !now.has_any(&FEELINGS) {
        return Some(Act::Glad);
    }
    // A name alone ("trabajo con mi tío") is no trouble.
    let troubling = now.has_any(&FEELINGS) || now.has(Group::Trouble);
    let fresh = |(group, act): &&(Group, Act)| {
        now.has(*group) && !memory.lately(*act, 8) && (troubling || !NAMED.contains(group))
    };
    REFLECTIONS.iter().find(fresh).map(|(_, act)| *act)
}

/// Answers yes, no, a number, a word or two, a question.
fn brief(memory: &Memory<'_>) -> Option<Act> {
    let now = memory.now();
    let number = now.mentions(&NUMBERS);
    if memory.before() == Some(Act::AskScaling) && number {
        return Some(Act::ScaleAnswer);
    }
    let asked = memory.before().is_some();
    match memory.answer() {
        Answer::Yes if asked && now.words <= 4 => return Some(Act::AfterYes),
        Answer::No if asked && now.words <= 4 => return Some(Act::AfterNo),
        Answer::Unsure if now.words <= 6 => return Some(Act::Unsure),
        _ => {}
    }
    if now.asks && (now.has(Group::Asking) || now.words <= 12) {
        return Some(Act::Question);
    }
    (now.words <= 2 && !now.has_any(&FEELINGS)).then_some(Act::Short)
}

const NUMBERS: [&str; 42] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis",
    "siete", "ocho", "nueve", "diez", "once", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
    "nine", "ten", "100", "11", "20", "50", "5/10", "max", "maximo", "mil",
];

fn troubled(memory: &Memory<'_>, count: usize) -> bool {
    let troubled =
        |reading: &Reading| reading.has_any(&FEELINGS) || REFLECTIONS.iter().any(|(group, _)| reading.has(*group));
    memory.readings().take(count).any(troubled)
}

fn offer_allowed(memory: &Memory<'_>) -> bool {
    let exercising =
        |act: Act| OFFERS.contains(&act) || act == Act::Panic || EXERCISES.iter().any(|steps| steps.contains(&act));
    memory.turns() >= 3 && memory.since(exercising).is_none_or(|since| since >= MIN_ANSWERS_BETWEEN_OFFERS)
}

/// Offers an exercise.
fn offer(memory: &Memory<'_>) -> Option<Act> {
    // A new matter is listened to first.
    let settled = memory.turns() >= 5 && memory.now().topics.is_empty() && memory.now().words <= 12;
    if !settled || !offer_allowed(memory) || memory.turn.level >= Level::High {
        return None;
    }
    offer_of(memory)
}

/// Returns the exercise that fits the last feeling and was not offered before.
fn offer_of(memory: &Memory<'_>) -> Option<Act> {
    let fitting = |reading: &Reading| {
        if reading.has_any(&[Group::Anxious, Group::Overwhelmed, Group::Afraid, Group::Angry, Group::Panic]) {
            Some(Act::OfferBreath)
        } else if reading.has(Group::Empty) {
            Some(Act::OfferGrounding)
        } else if reading.has_any(&[Group::Lonely, Group::Friends, Group::Bullying, Group::Grief, Group::Limit]) {
            Some(Act::OfferReachOut)
        } else if reading.has_any(&[
            Group::Sad,
            Group::Tired,
            Group::Worthless,
            Group::Study,
            Group::Work,
            Group::Money,
        ]) {
            Some(Act::OfferSmallStep)
        } else {
            None
        }
    };
    let fit = memory.readings().take(6).find_map(fitting)?;
    let others = [Act::OfferBreath, Act::OfferSmallStep, Act::OfferReachOut, Act::OfferGrounding];
    std::iter::once(fit).chain(others).find(|act| !memory.said(*act))
}

/// Sums the conversation up, every few turns and where there is something to sum up.
fn summary(memory: &Memory<'_>) -> Option<Act> {
    let due = memory.turns() >= 4 && memory.since(|act| act == Act::Summarise).is_none_or(|since| since >= 5);
    let edition = Edition::of(memory.turn.language);
    let felt = feeling(memory, edition).is_some();
    (due && (felt || !memory.topics(8).is_empty())).then_some(Act::Summarise)
}

/// Returns the noun for the last feeling that has one.
pub(super) fn feeling(memory: &Memory<'_>, edition: &Edition) -> Option<&'static str> {
    memory.readings().take(8).find_map(|reading| {
        FEELINGS.into_iter().filter(|group| reading.has(*group)).find_map(|group| edition.noun(group))
    })
}

/// Asks a question of the least recently used sort.
fn exploration(memory: &Memory<'_>) -> Act {
    let now = memory.now();
    if now.words >= 10 && !memory.lately(Act::Listen, 2) {
        return Act::Listen;
    }
    if !troubled(memory, 8) {
        let chat = if memory.lately(Act::SmallTalk, 1) { Act::AskOpen } else { Act::SmallTalk };
        return if now.words >= 6 && !memory.lately(Act::AskOpen, 1) { Act::AskOpen } else { chat };
    }
    let mut sorts = vec![Act::AskOpen, Act::AskException, Act::AskEvocative];
    if memory.turns() >= 4 {
        sorts.extend([Act::AskScaling, Act::Affirm]);
    }
    if memory.topics(8).len() > 1 && !memory.echoed() {
        sorts.push(Act::AskTopic);
    }
    let rest = |act: Act| memory.since(|said| said == act).unwrap_or(usize::MAX);
    let longest = sorts.iter().map(|act| rest(*act)).max().unwrap_or_default();
    sorts.retain(|act| rest(*act) == longest);
    let at = hash(memory, "exploration") % sorts.len().max(1);
    sorts.get(at).copied().unwrap_or(Act::AskOpen)
}
