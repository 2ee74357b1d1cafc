//! The choice among an act's texts, and their slots.

use super::MAX_REPLY_CHARS;
use super::data::{Act, Edition, Text, Topic};
use super::memory::Memory;
use super::ordinary;
use super::reading::{Answer, Reading};

/// Questions about company: a person named in the answer may be called.
const COMPANY: [Act; 5] =
    [Act::CrisisWith, Act::CrisisWithAdult, Act::CrisisWithOther, Act::CrisisCall, Act::CrisisCallLine];

/// Acts that stand in where the texts of one are used up, the nearest first.
fn stand_ins(act: Act, name: &str) -> &'static [Act] {
    let script = ["crisis", "plan", "imminent", "concern", "look", "truth_risk", "goodbye", "barrier"];
    if name.starts_with("emergency") {
        &[Act::EmergencyStay, Act::Emergency]
    } else if name.starts_with("helper") {
        &[Act::HelperSelf, Act::Listen, Act::AskOpen]
    } else if script.iter().any(|part| name.starts_with(part)) || act == Act::Stay {
        &[Act::Stay, Act::CrisisCallLine]
    } else {
        &[Act::AskOpen, Act::Listen, Act::AskException, Act::AskEvocative]
    }
}

/// Returns the words of `act`: a text not said within ten answers, chosen by hash among those whose slots can
/// be filled.
pub(super) fn words(memory: &Memory<'_>, act: Act) -> (Act, String) {
    let name = Act::ALL.iter().find(|(known, _)| *known == act).map_or("", |(_, name)| *name);
    let slots = Slots::of(memory, act);
    let acts = std::iter::once(act).chain(stand_ins(act, name).iter().copied());
    let said = acts.into_iter().find_map(|act| choose(memory, act, &slots).map(|text| (act, text)));
    // Twelve texts without slots cannot be used up by ten answers, so that the stand-ins always have one.
    said.unwrap_or_else(|| (act, String::new()))
}

fn choose(memory: &Memory<'_>, act: Act, slots: &Slots) -> Option<String> {
    let register = memory.register();
    let texts = Edition::of(memory.turn.language).texts(act);
    let usable = |(number, forms): (usize, &Text)| {
        let text = slots.fill(forms.get(register)?)?;
        let fresh = !memory.is_used((act, number)) && !memory.is_repeated(&text.0);
        (fresh && text.0.chars().count() <= MAX_REPLY_CHARS).then_some(text)
    };
    let mut texts: Vec<(String, usize)> = texts.iter().enumerate().filter_map(usable).collect();
    // The person's own words come first, but not in two answers running.
    let most = texts.iter().map(|(_, filled)| *filled).max().unwrap_or_default();
    if act == Act::Summarise || !memory.echoed() {
        texts.retain(|(_, filled)| *filled == most);
    } else if texts.iter().any(|(_, filled)| *filled == 0) {
        texts.retain(|(_, filled)| *filled == 0);
    }
    let at = hash(memory, "text") % texts.len().max(1);
    texts.into_iter().nth(at).map(|(text, _)| text)
}

/// FNV-1a over the conversation's seed, its length, the last message and `purpose`.
pub(super) fn hash(memory: &Memory<'_>, purpose: &str) -> usize {
    let seed = memory.turn.seed.to_le_bytes();
    let turns = u64::try_from(memory.turns()).unwrap_or_default().to_le_bytes();
    let bytes = seed.iter().chain(&turns).chain(memory.text().as_bytes()).chain(purpose.as_bytes());
    let sum =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    // The low bits of FNV are weak.
    usize::try_from((sum ^ (sum >> 32)) & 0xffff_ffff).unwrap_or_default()
}

/// Values of the slots in braces.
struct Slots {
    topic: Option<&'static str>,
    other: Option<&'static str>,
    one: Option<&'static str>,
    company: Option<&'static str>,
    person: &'static str,
    feeling: Option<&'static str>,
    emergency: String,
}

impl Slots {
    fn of(memory: &Memory<'_>, act: Act) -> Self {
        let edition = Edition::of(memory.turn.language);
        let register = memory.register();
        let name = |topic: &&'static Topic| topic.forms.get(register).copied().unwrap_or(topic.forms[0]);
        // Reflections name only what the last message named; questions and summaries reach back.
        let reach = if matches!(act, Act::Summarise | Act::AskTopic) { 8 } else { 1 };
        let topics = if act == Act::ReflectGrief { memory.named(reach) } else { memory.topics(reach) };
        let person = memory
            .reply_to(&COMPANY)
            .filter(|reading: &&Reading| reading.answer() != Answer::No)
            .and_then(|_| helper(memory))
            .map(|topic| name(&topic));
        let emergency = memory.turn.emergency.filter(|number| is_number(number));
        Self {
            topic: topics.first().map(name),
            other: topics.get(1).map(name),
            one: topics.iter().find(|topic| !topic.plural).map(name),
            company: topics.iter().find(|topic| topic.person && !topic.plural).map(name),
            person: person.unwrap_or(edition.person),
            feeling: ordinary::feeling(memory, edition),
            emergency: emergency.unwrap_or(edition.emergency).to_owned(),
        }
    }

    /// Returns `form` with its slots filled and their number; `None` where one cannot be.
    fn fill(&self, form: &str) -> Option<(String, usize)> {
        let (mut text, mut rest, mut filled) = (String::new(), form, 0);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            let (word, counts) = match name {
                "topic" => (self.topic?, 1),
                "other" => (self.other?, 1),
                "one" => (self.one?, 1),
                "who" => (self.company?, 1),
                "feeling" => (self.feeling?, 1),
                "person" => (self.person, 0),
                _ => (self.emergency.as_str(), 0),
            };
            text.push_str(before);
            // A slot that opens a sentence.
            if before.is_empty() && text.is_empty()
                || before.ends_with(". ")
                || before.ends_with('¿') && text.trim() == "¿"
            {
                let mut letters = word.chars();
                text.extend(letters.next().into_iter().flat_map(char::to_uppercase));
                text.push_str(letters.as_str());
            } else {
                text.push_str(word);
            }
            filled += counts;
            rest = after;
        }
        text.push_str(rest);
        Some((text, filled))
    }
}

/// Returns the person named as company, unless named before: that one may be the danger.
fn helper(memory: &Memory<'_>) -> Option<&'static Topic> {
    let reply = memory.reply_to(&COMPANY).filter(|reply| !reply.rules_out_company())?;
    let topics = reply.topics.iter();
    topics.filter_map(|topic| super::data::TOPICS.get(*topic)).find(|topic| topic.person)
}

/// Returns `true` if an emergency number can be said: short, of digits and separators.
fn is_number(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_digit() || " -*#+/".contains(letter);
    !text.is_empty()
        && text.len() <= 20
        && text.chars().all(allowed)
        && text.chars().any(|letter| letter.is_ascii_digit())
}
