-- The gist of a session's older messages, made by the model. Not an entry: it has no seq, and nobody is
-- told it. It goes with its session, and with the first message that it draws on. A table of its own,
-- because every append writes its session's row anew.
CREATE TABLE summaries (
    user_id bigint PRIMARY KEY,
    first_seq bigint NOT NULL,       -- of the first message it draws on
    last_seq bigint NOT NULL,        -- of the last one; what answered that one is in it too
    key_id bigint,                   -- the data key `text` is sealed with; NULL: plain UTF-8
    text bytea NOT NULL
);
