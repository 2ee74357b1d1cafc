-- The gist of a session's older messages, made by the model. Not an entry: it has no seq, and nobody is
-- told it. It goes with its session, and with the first message that it draws on.
CREATE TABLE summaries (
    user_id INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,      -- of the first message it draws on
    last_seq INTEGER NOT NULL,       -- of the last one; what answered that one is in it too
    key_id INTEGER,                  -- the data key `text` is sealed with; NULL: plain UTF-8
    text BLOB NOT NULL
) STRICT;
