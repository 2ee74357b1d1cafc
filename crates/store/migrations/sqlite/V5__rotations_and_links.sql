-- Number of times that the resume token was replaced: connections that were opened with an earlier one close.
ALTER TABLE sessions ADD COLUMN rotations INTEGER NOT NULL DEFAULT 0;
-- Codes that open a session on another device: at most one of a session, used once. `token` is the session's resume
-- token, sealed under a key that follows from the code, which is not stored.
CREATE TABLE links (
    user_id INTEGER PRIMARY KEY,
    code_hash BLOB NOT NULL UNIQUE,
    token BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX links_by_expiry ON links (expires_at);
