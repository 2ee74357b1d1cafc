//! Benchmark of the SQLite store against its disk: `cargo bench -p store --bench store`.
//!
//! Creates its database below `PSICOIA_BENCH_FOLDER`, else below `TMPDIR`. The folder must be on a real
//! disk: in memory nothing is durable, and the figures are meaningless.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run stops")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use protocol::server_frame::{Finish, Role, Source};
use protocol::{Locale, MessageId, ResumeToken, SessionId, Timestamp, UserLabel, UserText};
use service_runtime::Secret;
use store::keys::{DataKey, Keyring};
use store::{NewEntry, NewSession, Page, SqliteStore, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Sessions written to concurrently.
const SESSIONS: usize = 1_000;
/// Appends of each caller in one iteration of criterion.
const ROUND: u64 = 8;
/// Page size of the database and its write-ahead log.
const BLOCK_BYTES: usize = 4_096;
/// Blocks overwritten in rotation for the floor, as a log is once it has its size.
const BLOCKS: u64 = 1_000;
/// Entries read for the context of a turn: the history and the message itself.
const CONTEXT: usize = 21;
/// Lengths of sessions: shorter than a context, just longer, and very long.
const HISTORIES: [usize; 3] = [10, 30, 10_000];
/// Number of short sessions: enough that appends leave each of them short.
const SHORT_SESSIONS: usize = 1_000;

/// Database in a folder of its own, with its runtime.
struct Fixture {
    runtime: Runtime,
    store: Arc<SqliteStore>,
    next_message: AtomicU64,
    _folder: TempDir,
}

impl Fixture {
    fn new(keys: Keyring) -> Arc<Self> {
        let folder = tempfile::tempdir_in(bench_folder()).unwrap();
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(SqliteStore::open(&folder.path().join("bench.db"), keys)).unwrap();
        Arc::new(Self { runtime, store: Arc::new(store), next_message: AtomicU64::new(0), _folder: folder })
    }

    /// Creates sessions concurrently.
    fn sessions(self: &Arc<Self>, count: usize) -> Arc<[UserLabel]> {
        let session = || NewSession {
            id: SessionId::random(),
            token: ResumeToken::random(),
            locale: Locale::default(),
            country: None,
            created_at: Timestamp::from_unix_ms(0),
        };
        let created = self.runtime.block_on(async {
            let mut creating = JoinSet::new();
            for _ in 0..count {
                let store = Arc::clone(&self.store);
                let session = session();
                creating.spawn(async move { store.create_session(session).await.unwrap().user });
            }
            creating.join_all().await
        });
        created.into()
    }

    /// Appends to `sessions` in rotation, `count` times by each of `callers`.
    fn append(self: &Arc<Self>, sessions: &Arc<[UserLabel]>, callers: usize, count: u64) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut calling = JoinSet::new();
            for _ in 0..callers {
                let (fixture, sessions) = (Arc::clone(self), Arc::clone(sessions));
                calling.spawn(async move {
                    for _ in 0..count {
                        fixture.append_next(&sessions).await;
                    }
                });
            }
            calling.join_all().await;
            start.elapsed()
        })
    }

    /// Runs `count` turns in each session concurrently.
    fn turns(self: &Arc<Self>, sessions: &Arc<[UserLabel]>, count: u64) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut running = JoinSet::new();
            for &user in sessions.iter() {
                let fixture = Arc::clone(self);
                running.spawn(async move {
                    for _ in 0..count {
                        fixture.append_next(&[user]).await;
                        fixture.store.recent(user, CONTEXT).await.unwrap();
                        fixture.append_next(&[user]).await;
                    }
                });
            }
            running.join_all().await;
            start.elapsed()
        })
    }

    async fn append_next(&self, sessions: &[UserLabel]) {
        let number = self.next_message.fetch_add(1, Ordering::Relaxed);
        let user = sessions[usize::try_from(number).unwrap() % sessions.len()];
        self.store.append(user, 0, entry(number)).await.unwrap();
    }
}

/// Alternates messages and answers of typical length.
fn entry(number: u64) -> NewEntry {
    let answer = number % 2 == 1;
    NewEntry {
        id: format!("message-{number}").parse::<MessageId>().unwrap(),
        role: if answer { Role::Assistant } else { Role::User },
        text: UserText::new("¿cómo estás hoy? ".repeat(if answer { 20 } else { 4 })),
        at: Timestamp::from_unix_ms(1_000 * i64::try_from(number).unwrap()),
        finish: answer.then_some(Finish::Stop),
        source: answer.then_some(Source::Llm),
        help: None,
    }
}

fn bench_folder() -> PathBuf {
    std::env::var_os("PSICOIA_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Type of the file system of `folder`.
fn filesystem(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // The last of several mounts on one path hides the others.
    let seen = mounts.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(place, _)| place.len())?;
    Some(seen.1.to_owned())
}

#[expect(clippy::print_stderr, reason = "figures are meaningless without their disk")]
fn print_disk() {
    let folder = bench_folder();
    let kind = filesystem(&folder).unwrap_or_else(|| "unknown".to_owned());
    eprintln!("in {}, file system {kind}", folder.display());
    if matches!(kind.as_str(), "tmpfs" | "ramfs") {
        eprintln!("WARNING: that is memory, not a disk: set PSICOIA_BENCH_FOLDER to a folder on one");
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    group
}

/// Lower bound of any durable append: sequential writes of one block, each followed by `fdatasync`.
fn floor(criterion: &mut Criterion) {
    print_disk();
    let folder = tempfile::tempdir_in(bench_folder()).unwrap();
    let file = File::create(folder.path().join("floor")).unwrap();
    let block = [0x5a; BLOCK_BYTES];
    let mut next = 0;
    let mut write = || {
        file.write_all_at(&block, (next % BLOCKS) * BLOCK_BYTES as u64).unwrap();
        next += 1;
    };
    (0..BLOCKS).for_each(|_| write());
    file.sync_all().unwrap();
    let mut group = group(criterion, "floor");
    group.throughput(Throughput::Elements(1)).bench_function("write 4 KiB, fdatasync", |bencher| {
        bencher.iter(|| {
            write();
            file.sync_data().unwrap();
        });
    });
    group.finish();
}

fn keyrings() -> [(&'static str, Keyring); 2] {
    let key = Secret::read(Some("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), None).unwrap();
    let key = DataKey::new(&key.unwrap()).unwrap();
    [("plain", Keyring::default()), ("sealed", Keyring::new(Some(key), Vec::new()))]
}

/// Durable appends by concurrent callers.
fn append(criterion: &mut Criterion) {
    let mut group = group(criterion, "append");
    for (name, keys) in keyrings() {
        let fixture = Fixture::new(keys);
        let sessions = fixture.sessions(SESSIONS);
        for callers in [1, 64, 512] {
            group.throughput(Throughput::Elements(callers as u64 * ROUND));
            group.bench_function(BenchmarkId::new(name, callers), |bencher| {
                bencher.iter_custom(|rounds| fixture.append(&sessions, callers, rounds * ROUND));
            });
        }
    }
    group.finish();
}

/// Calls of a turn in short and in long sessions.
fn history(criterion: &mut Criterion) {
    let fixture = Fixture::new(Keyring::default());
    let mut group = group(criterion, "history");
    group.throughput(Throughput::Elements(1));
    for entries in HISTORIES {
        let count = if entries < SHORT_SESSIONS { SHORT_SESSIONS } else { 1 };
        let sessions = fixture.sessions(count);
        let callers = 100;
        fixture.append(&sessions, callers, (entries * count / callers) as u64);
        // Uncached, as in the first turn of a session.
        group.bench_function(BenchmarkId::new("context, read", entries), |bencher| {
            let page = Page::Before { seq: u64::MAX, limit: CONTEXT };
            let read = || async { fixture.store.entries(sessions[0], page).await.unwrap() };
            bencher.to_async(&fixture.runtime).iter(read);
        });
        group.bench_function(BenchmarkId::new("context, cached", entries), |bencher| {
            let recent = || async { fixture.store.recent(sessions[0], CONTEXT).await.unwrap() };
            bencher.to_async(&fixture.runtime).iter(recent);
        });
        group.bench_function(BenchmarkId::new("append", entries), |bencher| {
            bencher.to_async(&fixture.runtime).iter(|| fixture.append_next(&sessions));
        });
    }
    group.finish();
}

/// All calls of a turn: append of the message, context, append of the answer. After a commit the page caches
/// of the readers are stale.
fn turn(criterion: &mut Criterion) {
    let fixture = Fixture::new(Keyring::default());
    let mut group = group(criterion, "turn");
    for people in [1, 64] {
        let sessions = fixture.sessions(people);
        group.throughput(Throughput::Elements(people as u64));
        group.bench_function(BenchmarkId::new("people", people), |bencher| {
            bencher.iter_custom(|rounds| fixture.turns(&sessions, rounds));
        });
    }
    group.finish();
}

criterion_group!(benches, floor, append, history, turn);
criterion_main!(benches);
