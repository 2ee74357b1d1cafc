-- Keys that belong to this database, sealed with the data key if there is one.
CREATE TABLE keys (
    name TEXT PRIMARY KEY,
    key_id INTEGER,                  -- the data key it is sealed with; NULL: plain
    value BLOB NOT NULL
) STRICT;

-- Times are milliseconds since 1970, in UTC.
CREATE TABLE sessions (
    user_id INTEGER PRIMARY KEY AUTOINCREMENT,  -- Usuario-N; never given twice
    session_id TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    locale TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,      -- to the hour
    seq INTEGER NOT NULL DEFAULT 0,  -- of the newest entry
    messages INTEGER NOT NULL DEFAULT 0,
    swept INTEGER NOT NULL DEFAULT 0,  -- entries up to this seq were removed because their time was over
    oldest_at INTEGER                -- of the first entry that is still there
) STRICT;
-- For the sweeper alone. Appending touches none of them but with a session's first entry.
CREATE INDEX sessions_by_last_seen ON sessions (last_seen);
CREATE INDEX empty_sessions ON sessions (last_seen) WHERE seq = 0;
CREATE INDEX sessions_by_oldest ON sessions (oldest_at) WHERE oldest_at IS NOT NULL;

CREATE TABLE entries (
    user_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    role TEXT NOT NULL,
    key_id INTEGER,                  -- the data key `text` is sealed with; NULL: plain UTF-8
    text BLOB NOT NULL,
    at INTEGER NOT NULL,
    finish TEXT,
    source TEXT,
    UNIQUE (user_id, seq)
-- With a rowid: entries lie in the order they came, so that a commit of many sessions fills few pages.
-- The two indexes have small keys; texts in a WITHOUT ROWID table would also overflow from 1 KB on.
) STRICT;
-- What makes a repeated message or answer known.
CREATE UNIQUE INDEX entries_by_message ON entries (user_id, message_id, role);
