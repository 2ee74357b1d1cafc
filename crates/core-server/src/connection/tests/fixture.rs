//! Fixture: connections without a server, on a store that can be slow or unavailable.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use limits::{ConcurrencyLimiter, RateLimit, RequestLimiter};
use protocol::server_frame::{Entry, Forgotten};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, Timestamp, UserLabel};
use store::{
    Appended, Cutoffs, EntryPosition, Forget, MemoryStore, NewEntry, NewLink, NewSession, Page, Recent, ReferralBatch,
    ReferralCount, SessionRecord, Store, StoreError, Summary,
};
use testkit::line_peer::LinePeer;
use testkit::peer::Peer as _;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::super::*;
use crate::sessions::SessionLimits;
use crate::turn::{Budget, BudgetSettings, ContextSettings, Referrals, Summarizer, TurnService};

pub(super) const TIMEOUTS: Timeouts = Timeouts {
    greet_delay: Duration::from_millis(100),
    handshake: Duration::from_secs(10),
    idle: Duration::from_secs(900),
    write: Duration::from_secs(30),
    drain: Duration::from_secs(20),
};
/// Capacity of an in-memory connection: less than a long line, so that writes block.
const PIPE_BYTES: usize = 4_096;

/// Store whose calls take a time, and fail while it is unavailable.
#[derive(Debug, Default)]
pub(super) struct FlakyStore {
    inner: MemoryStore,
    /// Delay of a call, and true while calls fail.
    state: Mutex<(Duration, bool)>,
}

impl FlakyStore {
    pub(super) fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().0 = delay;
    }

    pub(super) fn set_available(&self, is_available: bool) {
        self.state.lock().unwrap().1 = !is_available;
    }

    async fn call(&self) -> Result<&MemoryStore, StoreError> {
        let delay = self.state.lock().unwrap().0;
        sleep(delay).await;
        let is_unavailable = self.state.lock().unwrap().1;
        if is_unavailable { Err(unavailable()) } else { Ok(&self.inner) }
    }
}

pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable("down".into())
}

#[async_trait]
impl Store for FlakyStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        self.call().await?.create_session(session).await
    }
    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        self.call().await?.session_by_token(token).await
    }
    async fn session(&self, user: UserLabel) -> Result<Option<SessionRecord>, StoreError> {
        self.call().await?.session(user).await
    }
    async fn rotate_token(&self, user: UserLabel, token: ResumeToken) -> Result<u64, StoreError> {
        self.call().await?.rotate_token(user, token).await
    }
    async fn put_link(&self, user: UserLabel, link: NewLink) -> Result<(), StoreError> {
        self.call().await?.put_link(user, link).await
    }
    async fn take_link(&self, code: &LinkCode, now: Timestamp) -> Result<Option<ResumeToken>, StoreError> {
        self.call().await?.take_link(code, now).await
    }
    async fn forget(&self, user: UserLabel, forget: Forget) -> Result<Option<(Forgotten, u64)>, StoreError> {
        self.call().await?.forget(user, forget).await
    }
    async fn forget_summary(&self, user: UserLabel) -> Result<(), StoreError> {
        self.call().await?.forget_summary(user).await
    }
    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        self.call().await?.append(user, after, entry).await
    }
    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        self.call().await?.entries_of(user, id).await
    }
    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.call().await?.entries(user, page).await
    }
    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        self.call().await?.recent(user, limit).await
    }
    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        self.call().await?.put_summary(user, summary).await
    }
    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.call().await?.set_locale(user, locale).await
    }
    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError> {
        self.call().await?.set_country(user, country).await
    }
    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        self.call().await?.touch(users, now).await
    }
    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        self.call().await?.erase(user).await
    }
    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        self.call().await?.prune(cutoffs, limit).await
    }
    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError> {
        self.call().await?.count_referrals(batch).await
    }
    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
        self.call().await?.referrals(year).await
    }
    async fn reencrypt(&self, after: Option<EntryPosition>, limit: usize) -> Result<Option<EntryPosition>, StoreError> {
        self.call().await?.reencrypt(after, limit).await
    }
    async fn reencrypt_legacy(
        &self,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError> {
        self.call().await?.reencrypt_legacy(after, limit).await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.call().await?.check().await
    }
}

/// Context of connections, without a model: the companion answers.
pub(super) struct Fixture {
    pub(super) context: Arc<Context>,
    pub(super) store: Arc<FlakyStore>,
}

/// Client of a connection, and the task that serves it.
pub(super) struct Client {
    pub(super) peer: LinePeer<DuplexStream>,
    served: JoinHandle<CloseReason>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let store = Arc::new(FlakyStore::default());
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let limits = SessionLimits {
            per_user_max: 1,
            abandoned_after: Duration::from_secs(1),
            retention: None,
            unreached: None,
        };
        let turns = turns(Arc::clone(&store) as Arc<dyn Store>);
        let context = Context {
            sessions: Sessions::new(turns, limits, tasks.clone(), draining.clone()),
            timeouts: TIMEOUTS,
            tasks,
            draining,
            request_limiter: RequestLimiter::default(),
            about: About::default(),
        };
        Self { context: Arc::new(context), store }
    }

    /// Returns a trusted peer; a gateway announced `face`.
    pub(super) fn peer(face: Option<Face>) -> Peer {
        Peer {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            trace: Traceparent::random(),
            face,
            closing_line: face.is_some(),
            late_header: CloseReason::LateHeader,
            connected_at: Instant::now(),
        }
    }

    /// Connects a person, or a program, without a gateway.
    pub(super) fn connect(&self) -> Client {
        self.connect_as(Self::peer(None))
    }

    pub(super) fn connect_as(&self, peer: Peer) -> Client {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let connection = Connection::new(peer, Arc::clone(&self.context));
        let served = self.context.tasks.spawn(connection.run(theirs, BytesMut::new()));
        Client { peer: LinePeer::new(ours), served }
    }
}

fn turns(store: Arc<dyn Store>) -> TurnService {
    let rate = RateLimit { events: 100, window: Duration::from_secs(1) };
    let slots = ConcurrencyLimiter::new(1, 1, Duration::from_secs(1));
    let context =
        ContextSettings { max_entries: 1, token_budget: 1.0, chars_per_token: 1.0, system_prompt: None, summary: None };
    TurnService {
        store,
        budget: Budget::new(BudgetSettings { rate, address_rate: rate }, Arc::clone(&slots), None),
        slots,
        model: None,
        guard: None,
        context: crate::turn::Context::new(context),
        cluster: None,
        summarizer: Summarizer::new(CancellationToken::new()),
        referrals: Referrals::default(),
        metrics: Arc::default(),
    }
}

impl Client {
    pub(super) async fn send(&mut self, line: &str) {
        self.peer.send_line(line).await.unwrap();
    }

    /// Returns the next line; the connection must not end first.
    pub(super) async fn line(&mut self) -> String {
        self.peer.next_line().await.unwrap().expect("a line")
    }

    pub(super) async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.line().await);
        }
        lines
    }

    /// Reads to the end of the connection. Returns the lines, and the reason of its end.
    pub(super) async fn end(mut self) -> (Vec<String>, CloseReason) {
        let mut lines = Vec::new();
        while let Some(line) = self.peer.next_line().await.unwrap() {
            lines.push(line);
        }
        self.peer.cut();
        (lines, self.served.await.unwrap())
    }
}
