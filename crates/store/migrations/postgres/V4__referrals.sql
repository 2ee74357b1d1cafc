-- How often help was shown. Nothing in it is of anybody: it stays when conversations are erased.
CREATE TABLE referrals (
    month text COLLATE "C" NOT NULL, -- in UTC, as 2026-12
    kind text COLLATE "C" NOT NULL,
    level text COLLATE "C" NOT NULL,
    language text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (month, kind, level, language)
);
-- The last batch of counts of each process: one that is sent again is not added again.
CREATE TABLE referral_batches (
    source bigint PRIMARY KEY,
    number bigint NOT NULL,
    month text COLLATE "C" NOT NULL
);
-- For the sweeper alone: conversations that nobody has reached for long. `last_seen` is written once an hour.
CREATE INDEX sessions_by_last_seen ON sessions (last_seen) WHERE oldest_at IS NOT NULL;
