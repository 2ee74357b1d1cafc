-- Keys that belong to this database, sealed with the data key if there is one.
CREATE TABLE keys (
    name text COLLATE "C" PRIMARY KEY,
    key_id bigint,                   -- the data key it is sealed with; NULL: plain
    value bytea NOT NULL
);

-- Times are milliseconds since 1970, in UTC. Every append updates one row of this table: the free
-- room of each page keeps the new version beside the old one, and no index is written (HOT). For
-- that, no index may name `seq`, `messages` or `swept`, in its condition neither.
CREATE TABLE sessions (
    user_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- Usuario-N; never given twice
    session_id text NOT NULL,
    token_hash bytea NOT NULL UNIQUE,
    locale text NOT NULL,
    created_at bigint NOT NULL,
    last_seen bigint NOT NULL,       -- to the hour
    seq bigint NOT NULL DEFAULT 0,   -- of the newest entry
    messages bigint NOT NULL DEFAULT 0,
    swept bigint NOT NULL DEFAULT 0, -- entries up to this seq were removed because their time was over
    oldest_at bigint                 -- of the first entry that is still there
) WITH (fillfactor = 70);
-- For the sweeper alone. Appending touches none of them but with a session's first entry.
CREATE INDEX sessions_without_entries ON sessions (last_seen) WHERE oldest_at IS NULL;
CREATE INDEX sessions_by_oldest ON sessions (oldest_at) WHERE oldest_at IS NOT NULL;

-- No foreign key: it would look up the session again with every entry. Whoever removes a session
-- locks it first, and an entry is only written by who has just updated its session.
CREATE TABLE entries (
    user_id bigint NOT NULL,
    seq bigint NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    key_id bigint,                   -- the data key `text` is sealed with; NULL: plain UTF-8
    text bytea NOT NULL,
    at bigint NOT NULL,
    finish text,
    source text,
    PRIMARY KEY (user_id, seq)
);
-- What makes a repeated message or answer known.
CREATE UNIQUE INDEX entries_by_message ON entries (user_id, message_id, role);
