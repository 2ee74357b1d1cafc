-- Where the person is (ISO 3166), chosen or confirmed by them: which help lines they see. In no index, so
-- that an append stays a heap-only update.
ALTER TABLE sessions ADD COLUMN country text;
-- Of an entry `role` is a keyed hash from now on, and what it says, role, finish and source included, is in
-- `text`: under a data key a copy of the database does not tell who was shown help. Entries of earlier versions
-- are written anew while the core runs; this index finds them, and is empty then.
CREATE INDEX entries_to_convert ON entries (user_id, seq) WHERE role IN ('user', 'assistant', 'support');
