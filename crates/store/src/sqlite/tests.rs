//! Files, disks and locks, beyond the contract suite in `tests/it/store`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::server_frame::Role;
use protocol::{ResumeToken, SessionId, UserText};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

const SECRET: &str = "nadie debe encontrar esto";

struct TestDatabase {
    folder: TempDir,
}

impl TestDatabase {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("data/psicoia.db")
    }

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.file(), Keyring::default()).await.unwrap()
    }

    /// Content of all files of the database.
    fn bytes(&self) -> Vec<u8> {
        let files = fs::read_dir(self.file().parent().unwrap()).unwrap();
        files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }

    fn holds(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn new_session() -> NewSession {
    NewSession {
        id: SessionId::random(),
        token: ResumeToken::random(),
        locale: Locale::default(),
        country: None,
        created_at: Timestamp::from_unix_ms(0),
    }
}

fn message(id: &str, text: &str) -> NewEntry {
    NewEntry {
        id: id.parse().unwrap(),
        role: Role::User,
        text: UserText::new(text),
        at: Timestamp::from_unix_ms(1),
        finish: None,
        source: None,
        help: None,
    }
}

async fn new_user(store: &SqliteStore) -> UserLabel {
    store.create_session(new_session()).await.unwrap().user
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_str()).collect()
}

fn text_of(recent: &Recent) -> &str {
    recent.entries.last().map_or("", |entry| entry.text.expose())
}

#[tokio::test]
async fn removed_texts_are_in_no_file() {
    let prune_all = Cutoffs {
        now: Timestamp::from_unix_ms(0),
        empty_before: Timestamp::from_unix_ms(0),
        entries_before: Some(Timestamp::from_unix_ms(10)),
        inactive_before: None,
    };
    for sweep in [false, true] {
        let database = TestDatabase::new();
        let store = database.open().await;
        let user = new_user(&store).await;
        for number in 0..50 {
            let text = format!("{SECRET} {}", "y más ".repeat(number * 20));
            store.append(user, 0, message(&format!("m{number}"), &text)).await.unwrap();
        }
        assert!(database.holds(SECRET));
        if sweep {
            while 7 <= store.prune(prune_all, 7).await.unwrap() {}
        } else {
            assert_eq!(store.erase(user).await.unwrap(), 50);
        }
        // The log is truncated after the caller's future resolves, but before the next change.
        new_user(&store).await;
        assert!(!database.holds(SECRET), "sweep: {sweep}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_sessions_are_not_cached() {
    let prune_all = Cutoffs {
        now: Timestamp::from_unix_ms(0),
        empty_before: Timestamp::from_unix_ms(0),
        entries_before: Some(Timestamp::from_unix_ms(10)),
        inactive_before: None,
    };
    let database = TestDatabase::new();
    let store = Arc::new(database.open().await);
    for round in 0..40 {
        let user = new_user(&store).await;
        store.append(user, 0, message("a", SECRET)).await.unwrap();
        // Cache hits, reads concurrent to the removal, and reads after it.
        let mut readers = JoinSet::new();
        for _ in 0..4 {
            let store = Arc::clone(&store);
            readers.spawn(async move {
                for _ in 0..30 {
                    let _ = store.recent(user, 9).await;
                }
            });
        }
        if round % 2 == 0 {
            store.erase(user).await.unwrap();
        } else {
            store.prune(prune_all, 99).await.unwrap();
        }
        readers.join_all().await;
        assert_eq!(store.cache.recent(user, 1), None, "round {round}");
        assert!(store.recent(user, 1).await.is_err(), "round {round}");
    }
}

#[tokio::test]
async fn commit_of_another_process_clears_the_cache_at_the_next_change() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let (user, other) = (new_user(&store).await, new_user(&store).await);
    store.append(user, 0, message("a", "hola")).await.unwrap();
    store.recent(user, 9).await.unwrap();
    let other_process = rusqlite::Connection::open(database.file()).unwrap();
    for text in ["chau", "hasta luego"] {
        let before = text_of(&store.recent(user, 9).await.unwrap()).to_owned();
        let header = [1, 1, 0, 0, 0, 0, 0];
        other_process.execute("UPDATE entries SET text = ?1", [[&header[..], text.as_bytes()].concat()]).unwrap();
        // A cache hit, or it would be the new text.
        assert_eq!(text_of(&store.recent(user, 9).await.unwrap()), before);
        store.set_locale(other, Locale::default()).await.unwrap();
        assert_eq!(text_of(&store.recent(user, 9).await.unwrap()), text);
    }
}

#[tokio::test]
async fn full_disk_rejects_appends_and_loses_nothing() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    store.append(user, 0, message("a", "hola")).await.unwrap();
    store.recent(user, 9).await.unwrap();
    let limit_pages = |pages: u32| {
        let change = move |db: &Connection| {
            let used: u32 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
            Ok(db.pragma_update_and_check(None, "max_page_count", used + pages, |_| Ok(()))?)
        };
        store.writer.change(change, cache_unaffected)
    };
    limit_pages(0).await.unwrap();
    let long = "x".repeat(30_000);
    let full = store.append(user, 1, message("b", &long)).await.unwrap_err();
    assert!(matches!(&full, StoreError::Unavailable(error) if error.to_string().contains("full")), "{full}");
    // The outcome is unknown, so the cache was cleared.
    assert_eq!(store.cache.recent(user, 9), None);
    assert_eq!(ids(&store.recent(user, 9).await.unwrap().entries), ["a"]);
    // The failed connection was closed, and its page limit with it.
    let appended = store.append(user, 1, message("b", &long)).await.unwrap();
    assert!(matches!(appended, Appended::New(entry) if entry.seq == 2));
    let entries = store.entries(user, Page::After { seq: 0, limit: 10 }).await.unwrap();
    assert_eq!(ids(&entries), ["a", "b"]);
    assert_eq!(store.recent(user, 9).await.unwrap().entries, entries);
}

#[tokio::test]
async fn read_only_database_is_readable() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    store.append(user, 0, message("a", "hola")).await.unwrap();
    store.writer.change(|db| Ok(db.pragma_update(None, "query_only", true)?), cache_unaffected).await.unwrap();
    let error = store.append(user, 1, message("b", "chau")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(error) if error.to_string().contains("readonly")), "{error}");
    assert_eq!(store.entries(user, Page::After { seq: 0, limit: 10 }).await.unwrap().len(), 1);
}

#[tokio::test]
async fn lock_of_another_process_is_a_temporary_error() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    store.writer.change(|db| Ok(db.busy_timeout(Duration::from_millis(1))?), cache_unaffected).await.unwrap();
    let other = rusqlite::Connection::open(database.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.append(user, 0, message("a", "hola")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(error) if error.to_string().contains("locked")), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    store.append(user, 0, message("a", "hola")).await.unwrap();
}

#[tokio::test]
async fn change_of_an_erased_session_fails_alone_in_its_group() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    let missing = UserLabel(99);
    let (one, two, three) = tokio::join!(
        store.append(user, 0, message("a", "hola")),
        store.append(missing, 0, message("b", "hola")),
        store.append(user, 0, message("c", "hola")),
    );
    assert!(matches!(one, Ok(Appended::New(_))) && matches!(three, Ok(Appended::New(_))));
    assert!(matches!(two, Err(StoreError::NoSession { user }) if user == missing));
}

/// Blocks the writer thread until the sender is dropped, so that changes queued meanwhile form one group.
async fn hold_writer(store: &Arc<SqliteStore>) -> (std::sync::mpsc::Sender<()>, JoinSet<Result<(), StoreError>>) {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (began, mut begun) = tokio::sync::mpsc::channel(1);
    let store = Arc::clone(store);
    let holding = async move {
        let hold = move |_: &Connection| {
            let _ = began.try_send(());
            let _ = released.recv();
            Ok(())
        };
        store.writer.change(hold, cache_unaffected).await
    };
    let holding = JoinSet::from_iter([holding]);
    begun.recv().await.unwrap();
    (release, holding)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_session_does_not_fail_changes_of_others() {
    let database = TestDatabase::new();
    let store = Arc::new(database.open().await);
    let (user, damaged, other) = (new_user(&store).await, new_user(&store).await, new_user(&store).await);
    store.append(damaged, 0, message("a", "hola")).await.unwrap();
    // Every later append to it violates the unique index.
    let damage =
        move |db: &Connection| Ok(db.execute("UPDATE sessions SET seq = 0 WHERE user_id = ?1", [column(damaged.0)])?);
    store.writer.change(damage, cache_unaffected).await.unwrap();
    for round in 0..2 {
        let (release, holding) = hold_writer(&store).await;
        let (one, two, three) = (format!("a{round}"), format!("b{round}"), format!("c{round}"));
        let outcomes = async {
            tokio::join!(
                store.append(user, 0, message(&one, "hola")),
                store.append(damaged, 0, message(&two, "hola")),
                store.append(other, 0, message(&three, "hola")),
                store.writer.change(|_| -> Result<(), StoreError> { panic!("a change that panics") }, cache_unaffected),
                store.check(),
            )
        };
        let ((one, two, three, panicked, checked), ()) = tokio::join!(outcomes, async {
            tokio::task::yield_now().await;
            drop(release);
        });
        assert!(holding.join_all().await.remove(0).is_ok());
        assert!(matches!(one, Ok(Appended::New(_))), "{round}: {one:?}");
        assert!(matches!(three, Ok(Appended::New(_))), "{round}: {three:?}");
        assert!(matches!(&two, Err(StoreError::Unavailable(error)) if error.to_string().contains("UNIQUE")), "{two:?}");
        assert!(matches!(&panicked, Err(StoreError::Unavailable(error)) if error.to_string().contains("panicked")));
        checked.unwrap();
        // Rolled back completely: neither the entry nor its `seq` exists.
        let left = store.entries(damaged, Page::After { seq: 0, limit: 9 }).await.unwrap();
        assert_eq!(ids(&left), ["a"]);
        assert_eq!(store.recent(user, 9).await.unwrap().entries.len(), round + 1);
    }
}

#[tokio::test]
async fn writer_restarts_after_a_panic() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    let lost = store.writer.change(|_| Ok(()), |(), _| panic!("a note that panics")).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    store.check().await.unwrap();
    store.append(user, 0, message("a", "hola")).await.unwrap();
}

#[tokio::test]
async fn check_fails_exactly_while_messages_cannot_be_stored() {
    let database = TestDatabase::new();
    let store = database.open().await;
    store.check().await.unwrap();
    let pragma = |name: &'static str, value: i64| {
        let set = move |db: &Connection| {
            Ok(db
                .pragma_update_and_check(None, name, value, |_| Ok(()))
                .or_else(|_| db.pragma_update(None, name, value))?)
        };
        store.writer.change(set, cache_unaffected)
    };
    for (name, value, words) in [("max_page_count", 1, "full"), ("query_only", 1, "readonly")] {
        pragma(name, value).await.unwrap();
        let error = store.check().await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Unavailable(error) if error.to_string().contains(words)),
            "{name}: {error}"
        );
        store.check().await.unwrap();
    }
    pragma("busy_timeout", 1).await.unwrap();
    let other = rusqlite::Connection::open(database.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.check().await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    store.check().await.unwrap();
    // The check has left no row.
    let rows: i64 = other.query_row("SELECT count(*) FROM keys", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn rejects_changes_while_the_file_is_moved_or_replaced() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    store.append(user, 0, message("a", "hola")).await.unwrap();
    let aside = database.folder.path().join("aside.db");
    let refused = async |case: &str| {
        for error in [
            store.append(user, 1, message("b", "chau")).await.unwrap_err(),
            store.create_session(new_session()).await.unwrap_err(),
            store.check().await.unwrap_err(),
        ] {
            let fits =
                matches!(&error, StoreError::Unavailable(error) if error.to_string().contains("moved or deleted"));
            assert!(fits, "{case}: {error}");
        }
    };
    fs::rename(database.file(), &aside).unwrap();
    refused("moved").await;
    assert!(!database.file().exists(), "an empty one is made in its place");
    fs::copy(&aside, database.file()).unwrap();
    refused("another one in its place").await;
    fs::rename(&aside, database.file()).unwrap();
    store.check().await.unwrap();
    store.append(user, 1, message("b", "chau")).await.unwrap();
    assert_eq!(ids(&store.entries(user, Page::After { seq: 0, limit: 9 }).await.unwrap()), ["a", "b"]);

    let log = database.file().with_file_name("psicoia.db-wal");
    fs::remove_file(log).unwrap();
    refused("without its log").await;
    drop(store);
    // The unlinked log was checkpointed into the database on close.
    let store = database.open().await;
    assert_eq!(ids(&store.entries(user, Page::After { seq: 0, limit: 9 }).await.unwrap()), ["a", "b"]);
    fs::remove_file(database.file()).unwrap();
    let error = store.append(user, 2, message("c", "chau")).await.unwrap_err();
    assert!(error.to_string().contains("moved or deleted"), "{error}");
}

#[tokio::test]
async fn rejects_files_that_are_no_database_without_changing_them() {
    let garbage: &[u8] = &[b'x'; 8_192];
    for (case, contents) in [("garbage", garbage), ("half a header", b"SQLite for")] {
        let database = TestDatabase::new();
        fs::create_dir_all(database.file().parent().unwrap()).unwrap();
        fs::write(database.file(), contents).unwrap();
        let error = SqliteStore::open(&database.file(), Keyring::default()).await.unwrap_err().to_string();
        assert!(
            error.contains("cannot open the database sqlite://") && error.contains("not a database"),
            "{case}: {error}"
        );
        assert_eq!(fs::read(database.file()).unwrap(), contents, "{case}");
    }
    let database = TestDatabase::new();
    fs::create_dir_all(database.file()).unwrap();
    let error = SqliteStore::open(&database.file(), Keyring::default()).await.unwrap_err().to_string();
    assert!(error.contains("cannot open the database"), "{error}");
}

#[tokio::test]
async fn damaged_page_is_an_error() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    for number in 0..200 {
        store.append(user, 0, message(&format!("m{number}"), &"hola ".repeat(100))).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(database.file()).unwrap();
    let pages = bytes.len() / 4_096;
    // Spares the first pages, which hold the schema.
    bytes[12 * 4_096..(pages - 1) * 4_096].fill(0xaa);
    fs::write(database.file(), bytes).unwrap();
    let store = database.open().await;
    let error = store.entries(user, Page::After { seq: 0, limit: 200 }).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}

#[tokio::test]
async fn readable_entries_skip_a_damaged_page() {
    /// Page type of table rows in SQLite's file format.
    const TABLE_LEAF: u8 = 0x0d;
    const DAMAGED: u64 = 101;
    let database = TestDatabase::new();
    let store = database.open().await;
    let user = new_user(&store).await;
    for number in 1..=200 {
        store.append(user, 0, message(&format!("m{number}"), &"hola ".repeat(100))).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(database.file()).unwrap();
    let is_of_it = |page: &&mut [u8]| page[0] == TABLE_LEAF && page.windows(4).any(|part| part == b"m101");
    bytes.chunks_exact_mut(4_096).find(is_of_it).unwrap().fill(0xaa);
    fs::write(database.file(), bytes).unwrap();
    let store = database.open().await;
    let all = Page::After { seq: 0, limit: 200 };
    assert!(matches!(store.entries(user, all).await, Err(StoreError::Damaged(_))));
    let found = store.readable_entries(user, all).await.unwrap();
    assert!(found.unreadable.contains(&DAMAGED) && found.unreadable.len() < 20, "{:?}", found.unreadable);
    let mut seqs: Vec<_> = found.entries.iter().map(|entry| entry.seq).chain(found.unreadable).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    // Damaged entries are replaced by older ones up to the limit.
    let recent = store.recent(user, 150).await.unwrap().entries;
    assert_eq!((recent.len(), recent.last().map(|entry| entry.seq)), (150, Some(200)));
    store.append(user, 200, message("next", "sigo acá")).await.unwrap();
    assert_eq!(text_of(&store.recent(user, 150).await.unwrap()), "sigo acá");
}

#[tokio::test]
async fn rejects_a_later_schema() {
    let database = TestDatabase::new();
    drop(database.open().await);
    let sql = "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')";
    rusqlite::Connection::open(database.file()).unwrap().execute_batch(sql).unwrap();
    let error = SqliteStore::open(&database.file(), Keyring::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 5, .. }), "{error}");
}

#[tokio::test]
async fn concurrent_opens_and_appends_on_one_file_are_safe() {
    let database = TestDatabase::new();
    let (one, two) = tokio::join!(database.open(), database.open());
    let user = new_user(&one).await;
    for number in 0..20 {
        let id = format!("m{number}");
        let (first, second) =
            tokio::join!(one.append(user, 0, message(&id, "hola")), two.append(user, 0, message(&id, "hola")));
        let new = [first.unwrap(), second.unwrap()].iter().filter(|it| matches!(it, Appended::New(_))).count();
        assert_eq!(new, 1, "{id}");
    }
    assert_eq!(two.entries(user, Page::After { seq: 0, limit: 50 }).await.unwrap().len(), 20);
}

#[tokio::test]
async fn files_are_private_and_closed_on_drop() {
    use std::os::unix::fs::PermissionsExt as _;
    let database = TestDatabase::new();
    let store = database.open().await;
    new_user(&store).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&database.file()), mode(database.file().parent().unwrap())), (0o600, 0o700));
    drop(store);
    let files = fs::read_dir(database.file().parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "the write-ahead log is gone");
}
