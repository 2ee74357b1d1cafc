//! Sessions without sockets: frames in outboxes, on a store that other cores write to as well.

use std::sync::Arc;

use protocol::server_frame::{Entry, Finish, Help, Level as HelpLevel, Role, Source, Subject};
use protocol::trace::Traceparent;
use protocol::{
    CloseReason, Language, Locale, MessageId, ResumeSecret, ResumeToken, ServerFrame, SessionId, Timestamp, UserLabel,
    UserText,
};
use session::{ConnectionId, Message, PreSessionWatch, Risk};
use store::{Cutoffs, MemoryStore, NewEntry, NewSession, Store as _};

use super::retention::tests::sessions;
use super::{LiveSession, Opened, Outbox, SHARDS, Sessions};
use crate::turn::now;

struct Scene {
    store: Arc<MemoryStore>,
    sessions: Arc<Sessions>,
    session: Arc<LiveSession>,
    opened: Opened,
}

impl Scene {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let sessions = sessions(Arc::clone(&store));
        let opened = sessions.create(true, None, None).await.unwrap();
        Self { store, sessions, session: Arc::clone(&opened.session), opened }
    }

    fn attach(&self) -> (ConnectionId, Arc<Outbox>) {
        let outbox = Arc::<Outbox>::default();
        (self.session.attach(self.opened.key.clone(), Arc::clone(&outbox)).unwrap().0, outbox)
    }

    /// Stores an entry as another core does.
    async fn store_from_other_core(&self, id: &str, role: Role) {
        let is_answer = role == Role::Assistant;
        let entry = NewEntry {
            id: id.parse().unwrap(),
            role,
            text: UserText::new(format!("{role:?} {id}")),
            at: now(),
            finish: is_answer.then_some(Finish::Stop),
            source: is_answer.then_some(Source::Llm),
            help: None,
        };
        self.store.append(self.session.user(), 0, entry).await.unwrap();
    }

    async fn submit(&self, from: ConnectionId, id: &str) {
        self.session.submit(from, message(id)).await.unwrap();
    }
}

fn message(id: &str) -> Message {
    Message {
        id: id.parse().unwrap(),
        text: UserText::new("hola"),
        trace: Traceparent::random(),
        address: [127, 0, 0, 1].into(),
        risk: Risk::default(),
    }
}

/// Drains `outbox` into short descriptions.
fn drained(outbox: &Outbox) -> Vec<String> {
    let short = |frame| match frame {
        ServerFrame::Turn(Entry { seq, id, .. }) => format!("turn {seq} {id}"),
        ServerFrame::Accepted { id, seq, .. } => format!("accepted {seq} {id}"),
        ServerFrame::Delta { id, offset, .. } => format!("delta {offset} {id}"),
        ServerFrame::Done(done) => format!("done {:?} {}", done.seq, done.id),
        ServerFrame::Error(error) => format!("error {} {:?}", error.code, error.id.map(|id| id.to_string())),
        other => format!("{other:?}"),
    };
    std::iter::from_fn(|| outbox.take()).map(short).collect()
}

/// Waits until every turn and task has ended.
async fn settle(scene: &Scene) {
    while scene.session.is_busy() || !scene.sessions.tasks().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn publishes_entries_of_other_cores_around_a_resubmitted_message() {
    let scene = Scene::new().await;
    let ((from, sender), (_, other)) = (scene.attach(), scene.attach());
    // Stored here with a lost reply, answered by another core; a message of another device stands between.
    scene.store_from_other_core("a", Role::User).await;
    scene.store_from_other_core("b", Role::User).await;
    scene.store_from_other_core("a", Role::Assistant).await;
    scene.submit(from, "a").await;
    settle(&scene).await;
    assert_eq!(drained(&sender), ["turn 2 b", "accepted 1 a", "delta 0 a", "done Some(3) a"]);
    assert_eq!(drained(&other), ["turn 1 a", "turn 2 b", "turn 3 a"]);
}

#[tokio::test]
async fn publishes_missed_entries_before_a_new_message() {
    let scene = Scene::new().await;
    let ((from, sender), (_, other)) = (scene.attach(), scene.attach());
    scene.store_from_other_core("a", Role::User).await;
    scene.submit(from, "b").await;
    settle(&scene).await;
    assert_eq!(drained(&sender), ["turn 1 a", "accepted 2 b", "delta 0 b", "done Some(3) b"]);
    assert_eq!(drained(&other), ["turn 1 a", "turn 2 b", "delta 0 b", "done Some(3) b"]);
}

#[tokio::test]
async fn erase_closes_all_connections_but_the_requester() {
    let scene = Scene::new().await;
    let ((from, asked), (other_id, other)) = (scene.attach(), scene.attach());
    scene.submit(from, "a").await;
    settle(&scene).await;
    drained(&other);
    let resumed =
        scene.sessions.resume(ResumeSecret::Token(scene.opened.key.token.clone()), None, None).await.unwrap().unwrap();
    scene.session.await_erasure(from);
    assert_eq!(scene.session.erase().await.unwrap(), 2);
    // A second one, from this connection or another, has the same result.
    assert_eq!(scene.session.erase().await.unwrap(), 2);
    assert_eq!(scene.session.end_erasure(from), Some(2));
    assert_eq!((asked.close_reason(), other.close_reason()), (None, Some(CloseReason::Erased)));
    scene.submit(other_id, "b").await;
    assert_eq!(drained(&other), Vec::<String>::new());
    // Opened before, attached after the erase: rejected.
    assert!(resumed.session.attach(resumed.key.clone(), Arc::default()).is_none());
    assert!(
        scene.sessions.resume(ResumeSecret::Token(scene.opened.key.token.clone()), None, None).await.unwrap().is_none()
    );
}

#[tokio::test]
async fn erase_after_its_deadline_closes_the_requester_too() {
    let scene = Scene::new().await;
    let (from, asked) = scene.attach();
    scene.session.await_erasure(from);
    assert_eq!(scene.session.end_erasure(from), None);
    scene.session.erase().await.unwrap();
    assert_eq!(asked.close_reason(), Some(CloseReason::Erased));
}

#[tokio::test]
async fn resumed_session_is_not_swept() {
    let store = Arc::new(MemoryStore::default());
    let sessions = sessions(Arc::clone(&store));
    let token = ResumeToken::random();
    let [long_ago, since] = [0, 1].map(Timestamp::from_unix_ms);
    let (id, locale) = (SessionId::random(), Locale::default());
    store
        .create_session(NewSession { id, token: token.clone(), locale, country: None, created_at: long_ago })
        .await
        .unwrap();
    let opened = sessions.resume(ResumeSecret::Token(token), None, None).await.unwrap().unwrap();
    // By another core, which does not know of this connection.
    assert_eq!(
        store
            .prune(Cutoffs { now: since, empty_before: since, entries_before: None, inactive_before: None }, 9)
            .await
            .unwrap(),
        0
    );
    assert!(opened.session.attach(opened.key.clone(), Arc::default()).is_some());
}

#[tokio::test]
async fn outbox_holds_eight_full_responses() {
    use protocol::limits::MAX_SERVER_LINE_BYTES;
    use protocol::server_frame::ResponseResult;
    let outbox = Outbox::default();
    for number in 0..8 {
        let text = UserText::new("x".repeat(MAX_SERVER_LINE_BYTES));
        let entry = Entry {
            seq: 1,
            id: "a".parse().unwrap(),
            role: Role::User,
            text,
            at: now(),
            finish: None,
            source: None,
            help: None,
        };
        let result = ResponseResult::History { entries: vec![entry], more: true };
        outbox.expect_response();
        outbox.respond(ServerFrame::Response { id: format!("r{number}").parse().unwrap(), result });
    }
    outbox.push(ServerFrame::Pong { id: None });
    assert_eq!(outbox.close_reason(), None);
}

#[tokio::test]
async fn help_shown_before_the_session_is_not_repeated() {
    let (id, wish): (MessageId, _) = ("a".parse().unwrap(), UserText::new("me quiero morir"));
    // A new session, and one with entries.
    for said_before in [None, Some("x")] {
        let scene = Scene::new().await;
        let (from, _outbox) = scene.attach();
        if let Some(earlier) = said_before {
            scene.submit(from, earlier).await;
            settle(&scene).await;
        }
        let mut watch = PreSessionWatch::default();
        assert!(watch.observe(&id, &wish, Language::Spanish, now()).is_some());
        assert!(watch.observe(&id, &wish, Language::Spanish, now()).is_none());
        scene.session.take_over(watch);
        assert!(!scene.session.assess(&id, &wish), "{said_before:?}");
        assert_eq!(scene.session.risk().level, safety::Level::High, "{said_before:?}");
    }
}

#[test]
fn pre_session_help_uses_the_language_of_the_first_message() {
    let help = |chosen, text: &str| {
        let mut watch = PreSessionWatch::default();
        watch.learn(None, None, chosen);
        let (_, line) = watch.observe(&MessageId::random(), &UserText::new(text), Language::Spanish, now()).unwrap();
        line.split_once(':').unwrap().0.to_owned()
    };
    assert_eq!(help(None, "I want to kill myself"), "Help");
    assert_eq!(help(Some(Language::Spanish), "I want to kill myself"), "Ayuda");
    assert_eq!(help(None, "me quiero morir ya"), "Ayuda");
}

/// Stores imminent risk and `calm` messages after it, before any core has the session.
async fn written_before(store: &MemoryStore, calm: usize) -> ResumeToken {
    let token = ResumeToken::random();
    let new = NewSession {
        id: SessionId::random(),
        token: token.clone(),
        locale: Locale::default(),
        country: None,
        created_at: now(),
    };
    let user = store.create_session(new).await.unwrap().user;
    let help = Help { level: HelpLevel::Imminent, subject: Subject::Own, kind: None, resources: Vec::new() };
    let risk = ("tengo las pastillas acá y me las voy a tomar esta noche", Role::User, None);
    let shown = ("líneas", Role::Support, Some(Box::new(help)));
    let calm = (0..calm).map(|_| ("hoy comí fideos", Role::User, None));
    for (number, (text, role, help)) in [risk, shown].into_iter().chain(calm).enumerate() {
        let id = if role == Role::Support { "m0".to_owned() } else { format!("m{number}") };
        let (id, text) = (id.parse().unwrap(), UserText::new(text));
        let entry = NewEntry { id, role, text, at: now(), finish: None, source: None, help };
        store.append(user, 0, entry).await.unwrap();
    }
    token
}

#[tokio::test]
async fn restores_imminent_risk_from_older_pages() {
    // Lengths at which the pages meet or overlap differently.
    for calm in [3, 60, 470, 498, 499, 520, 1_300] {
        let store = Arc::new(MemoryStore::default());
        let token = written_before(&store, calm).await;
        let opened = sessions(store).resume(ResumeSecret::Token(token), None, None).await.unwrap().unwrap();
        assert_eq!(opened.session.risk().level, safety::Level::Imminent, "{calm}");
        // Each message once, none left out.
        let messages = opened.session.cell().session.watch().messages();
        assert_eq!(messages, u64::try_from(calm + 1).unwrap(), "{calm}");
    }
}

/// The rate limit of these sessions is one message.
#[tokio::test(start_paused = true)]
async fn rejection_carries_help_while_a_level_is_remembered() {
    for (first, want) in [
        ("hola", vec!["error"]),
        ("a veces pienso que sería mejor no despertarme más", vec!["support", "error"]),
        ("quiero morirme", vec!["accepted", "delta", "done"]),
    ] {
        let scene = Scene::new().await;
        let (from, outbox) = scene.attach();
        for (id, text) in [("a", first), ("b", "no sé")] {
            let (id, text) = (id.parse::<MessageId>().unwrap(), UserText::new(text));
            scene.session.assess(&id, &text);
            let message = Message { text, risk: scene.session.risk(), ..message(id.as_str()) };
            drained(&outbox);
            scene.session.submit(from, message).await.unwrap();
            settle(&scene).await;
        }
        let kinds: Vec<_> = std::iter::from_fn(|| outbox.take())
            .filter_map(|frame| match frame {
                ServerFrame::Support(support) => {
                    assert!(support.id.as_str() == "b" && !support.help.resources.is_empty(), "{first}");
                    Some("support")
                }
                ServerFrame::Error(_) => Some("error"),
                ServerFrame::Accepted { id, .. } if id.as_str() == "b" => Some("accepted"),
                ServerFrame::Delta { id, .. } if id.as_str() == "b" => Some("delta"),
                ServerFrame::Done(done) if done.id.as_str() == "b" => Some("done"),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, want, "{first}");
    }
}

#[tokio::test]
async fn country_in_answer_to_help_is_adopted_and_stored() {
    for (first, answer, want) in [
        ("quiero morirme", "estoy en argentina", Some("AR")),
        ("quiero morirme", "en argentina todo sale mal", None),
        ("hola", "argentina", None),
    ] {
        let scene = Scene::new().await;
        let (from, outbox) = scene.attach();
        scene.session.assess(&"a".parse().unwrap(), &UserText::new(first));
        drained(&outbox);
        let text = UserText::new(answer);
        scene.session.adopt_answered_country(&text);
        scene.session.assess(&"b".parse().unwrap(), &text);
        let shown = std::iter::from_fn(|| outbox.take()).find_map(|frame| match frame {
            ServerFrame::Support(support) => Some(support),
            _ => None,
        });
        let lines = shown.map(|support| {
            assert!(!support.text.expose().ends_with('?'), "{:?}", support.text.expose());
            assert_eq!(support.id.as_str(), "a");
            support.help.resources.iter().any(|line| line.country == "AR")
        });
        assert_eq!(lines, want.map(|_| true), "{answer}");
        scene.session.submit(from, Message { text, ..message("b") }).await.unwrap();
        settle(&scene).await;
        let stored = scene.store.session_by_token(&scene.opened.key.token).await.unwrap().unwrap().country;
        assert_eq!(stored.as_ref().map(protocol::Country::as_str), want, "{answer}");
    }
}

/// Without shards, a crowd that comes and goes during slow reads would make every resume retry for ever.
#[tokio::test]
async fn only_eviction_in_its_shard_invalidates_a_record() {
    let store = Arc::new(MemoryStore::default());
    let sessions = sessions(Arc::clone(&store));
    let opened = sessions.create(true, None, None).await.unwrap();
    let (user, token) = (opened.session.user(), opened.key.token.clone());
    drop(opened);
    let record = store.session_by_token(&token).await.unwrap().unwrap();
    let epoch = sessions.live().evictions.of(user);
    (1..SHARDS as u64).for_each(|other| sessions.evict(UserLabel(user.0 + other)));
    let session = sessions.live_session(record.clone(), &token, epoch);
    assert!(session.is_some());
    drop(session);
    assert!(sessions.live_session(record, &token, epoch).is_none());
}
