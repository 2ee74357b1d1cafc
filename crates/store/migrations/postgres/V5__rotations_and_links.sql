-- Number of times that the resume token was replaced: connections that were opened with an earlier one close. In no
-- index, so that an append stays a heap-only update.
ALTER TABLE sessions ADD COLUMN rotations bigint NOT NULL DEFAULT 0;
-- Codes that open a session on another device: at most one of a session, used once. `token` is the session's resume
-- token, sealed under a key that follows from the code, which is not stored.
CREATE TABLE links (
    user_id bigint PRIMARY KEY,
    code_hash bytea NOT NULL UNIQUE,
    token bytea NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX links_by_expiry ON links (expires_at);
