//! Help at once, not repeated too soon, and one assessment per message.

use protocol::Language;
use protocol::server_frame::{Kind as WireKind, Level as WireLevel};
use safety::companion::{Turn, Utterance, reply};

use super::*;

const WISH: &str = "quiero morirme";
const CALM: &str = "hoy comí fideos";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_790_000_000_000 + seconds * 1_000)
}

fn id(name: &str) -> MessageId {
    name.parse().unwrap()
}

fn entry(seq: u64, role: Role, name: &str, text: &str) -> Entry {
    let (id, text, at) = (id(name), UserText::new(text), at(i64::try_from(seq).unwrap() * 600));
    Entry { seq, id, role, text, at, finish: None, source: None, help: None }
}

fn restored(entries: &[Entry]) -> Watch {
    let mut watch = Watch::of_new();
    entries.iter().for_each(|entry| watch.learn(entry));
    watch
}

/// A person who writes every ten minutes: messages are not read as one.
struct Person {
    watch: Watch,
    written: i64,
}

impl Person {
    fn new() -> Self {
        Self { watch: Watch::of_new(), written: 0 }
    }

    fn writes(&mut self, text: &str) -> Option<Need> {
        self.written += 1;
        let name = format!("m{}", self.written);
        self.watch.observe(&id(&name), &UserText::new(text), at(self.written * 600))
    }
}

#[test]
fn help_is_not_repeated_within_six_messages() {
    let mut person = Person::new();
    assert_eq!(person.writes(CALM), None);
    assert_eq!(person.writes(WISH).map(|need| need.level), Some(Level::High));
    for _ in 0..4 {
        assert_eq!(person.writes(CALM), None);
    }
    assert_eq!(person.writes(WISH), None, "the sixth with the one that was helped");
    assert!(person.writes(WISH).is_some());
}

#[test]
fn assesses_each_id_and_text_once() {
    let mut watch = Watch::of_new();
    assert!(watch.observe(&id("a"), &UserText::new(WISH), at(0)).is_some());
    let turns = watch.turns;
    assert_eq!(watch.observe(&id("a"), &UserText::new(WISH), at(5)), None);
    assert_eq!(watch.turns, turns, "sent again");
    assert_eq!(watch.observe(&id("b"), &UserText::new(CALM), at(600)), None);
    assert_eq!(watch.observe(&id("b"), &UserText::new("otra cosa"), at(1_200)), None);
    assert_eq!(watch.turns, turns + 2);
}

#[test]
fn repeats_help_for_a_higher_level_or_another_need() {
    let of =
        |level, kinds: &[Kind], subject| Need { level, kinds: kinds.iter().copied().collect(), subject, minor: false };
    let shown = of(Level::High, &[Kind::Suicide], Subject::Own);
    for (need, want) in [
        (of(Level::High, &[Kind::Suicide], Subject::Own), false),
        (of(Level::Concern, &[Kind::SelfHarm], Subject::Unknown), false),
        (of(Level::Imminent, &[Kind::Suicide], Subject::Own), true),
        (of(Level::Concern, &[Kind::Suicide], Subject::Other), true),
        (of(Level::Concern, &[Kind::Abuse], Subject::Own), true),
        (of(Level::Concern, &[Kind::Eating], Subject::Own), true),
        (Need { minor: true, ..shown }, true),
    ] {
        let mut watch = Watch::of_new();
        watch.note_shown(&id("a"), shown);
        assert_eq!(watch.calls_for_help_again(need), want, "{need:?}");
        watch.turns += REPEAT_AFTER;
        assert!(watch.calls_for_help_again(need), "later: {need:?}");
    }
}

#[test]
fn restored_help_is_not_shown_again() {
    let help = Help {
        level: WireLevel::High,
        subject: WireSubject::Own,
        kind: Some(WireKind::Suicide),
        resources: Vec::new(),
    };
    let stored = [
        entry(1, Role::User, "m1", WISH),
        Entry { help: Some(Box::new(help)), ..entry(2, Role::Support, "m1", "líneas") },
        entry(3, Role::Assistant, "m1", WISH),
    ];
    let mut watch = Watch::default();
    watch.restore(restored(&stored));
    assert_eq!(watch.risk(at(2_400)).level, Level::High);
    assert_eq!(watch.turns, 1, "answers are not the person's");
    assert_eq!(watch.observe(&id("m2"), &UserText::new(WISH), at(2_400)), None, "not so soon");
    assert_eq!(watch.observe(&id("m1"), &UserText::new(WISH), at(2_500)), None, "it came again");
    assert_eq!(watch.turns, 2);
    watch.restore(Watch::of_new());
    assert_eq!(watch.risk(at(2_600)).level, Level::High, "folded once");
}

#[test]
fn learns_assessment_and_help_of_another_core() {
    let mut watch = Watch::of_new();
    watch.learn(&entry(1, Role::User, "m1", WISH));
    watch.learn(&entry(1, Role::User, "m1", WISH));
    assert_eq!((watch.turns, watch.risk(at(700)).level), (1, Level::High));
    let help = Help {
        level: WireLevel::High,
        subject: WireSubject::Own,
        kind: Some(WireKind::Suicide),
        resources: Vec::new(),
    };
    watch.learn_shown(&id("m1"), &help);
    assert_eq!(watch.observe(&id("m2"), &UserText::new(WISH), at(1_200)).map(|need| need.level), None);
}

/// The core that assessed it died before its help was stored.
#[test]
fn stored_message_without_help_brings_it_when_it_arrives_again() {
    let mut watch = restored(&[entry(1, Role::User, "m1", WISH), entry(2, Role::User, "m2", CALM)]);
    assert_eq!(watch.observe(&id("m2"), &UserText::new(CALM), at(1_300)), None);
    assert_eq!(watch.observe(&id("m1"), &UserText::new(WISH), at(1_300)).map(|need| need.level), Some(Level::High));
    assert_eq!(watch.observe(&id("m1"), &UserText::new(WISH), at(1_400)), None, "once");
    assert_eq!(watch.turns, 2);
}

#[test]
fn imminent_risk_outlasts_later_messages() {
    let help = Help {
        level: WireLevel::Imminent,
        subject: WireSubject::Own,
        kind: Some(WireKind::Suicide),
        resources: Vec::new(),
    };
    let mut stored = vec![
        entry(1, Role::User, "m1", "tengo las pastillas acá y me las voy a tomar esta noche"),
        Entry { help: Some(Box::new(help)), ..entry(2, Role::Support, "m1", "líneas") },
    ];
    stored.extend((3..203).map(|seq| entry(seq, Role::User, &format!("c{seq}"), CALM)));
    assert!(is_imminent_help(stored[1].help.as_deref()) && !is_imminent_help(stored[0].help.as_deref()));
    assert_eq!((restore_after(Some(2), 202), restore_after(None, 202), restore_after(None, 8)), (0, 162, 0));
    assert_eq!(restored(&stored).risk(at(203 * 600)).level, Level::Imminent);
}

#[test]
fn yes_to_a_safety_question_is_imminent() {
    let question = "Lamento que duela tanto como para querer morir. ¿Estás pensando en hacerlo hoy?";
    let mut watch = Watch::of_new();
    watch.observe(&id("m1"), &UserText::new(WISH), at(0));
    watch.learn(&entry(2, Role::Assistant, "m1", question));
    let need = watch.observe(&id("m2"), &UserText::new("sí"), at(600)).unwrap();
    assert_eq!((need.level, need.kinds.contains(Kind::Suicide)), (Level::Imminent, true));
}

#[test]
fn risk_of_another_person_keeps_the_own_level() {
    let mut person = Person::new();
    person.writes("me voy a matar esta noche, tengo las pastillas");
    let need = person.writes("mi hermana también se quiere matar").unwrap();
    assert_eq!(need.subject, Subject::Other);
    let risk = person.watch.risk(at(1_200));
    assert_eq!((risk.level, risk.subject), (Level::Imminent, Subject::Own));
}

#[test]
fn high_risk_is_followed_for_the_window_of_the_limit() {
    let minute = Duration::from_secs(60);
    let script =
        ["no", "no", "mi hermana", "bueno", "no", "me duele todo", "extraño a mi vieja", "lloro siempre", "no duermo"];
    let mut watch = Watch::of_new();
    let mut writes = |number: i64, text: &str| {
        watch.observe(&id(&format!("m{number}")), &UserText::new(text), at(number));
        (watch.risk(at(number)).level, watch.follows_high(minute, at(number)))
    };
    assert_eq!(writes(0, CALM), (Level::None, false));
    assert_eq!(writes(1, WISH), (Level::High, true));
    for (number, text) in (2..).zip(script) {
        assert!(writes(number, text).1, "{text}");
    }
    let (level, follows) = writes(11, "no como");
    assert!(level < Level::High && follows, "{level:?}");
    assert!(writes(71, CALM).1);
    assert!(!writes(72, CALM).1);
}

#[test]
fn high_risk_is_followed_while_a_safety_plan_is_made() {
    let asked = Utterance { by_person: true, text: "quiero armar un plan de seguridad", at: at(0) };
    let step = reply(&Turn { history: &[asked], ..Turn::new(Language::Spanish) }).text;
    let mut watch = Watch::of_new();
    for (answer, want) in [(step.as_str(), true), ("¿Cómo dormiste?", false), (step.as_str(), true)] {
        watch.answered(&UserText::new(answer));
        assert_eq!(watch.follows_high(Duration::ZERO, at(0)), want, "{answer}");
    }
    let stored = restored(&[entry(1, Role::User, "a", asked.text), entry(2, Role::Assistant, "a", &step)]);
    assert!(stored.follows_high(Duration::ZERO, at(0)), "a restart does not end the plan");
}
