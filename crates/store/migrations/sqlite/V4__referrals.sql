-- How often help was shown. Nothing in it is of anybody: it stays when conversations are erased.
CREATE TABLE referrals (
    month TEXT NOT NULL,             -- in UTC, as 2026-12
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    language TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (month, kind, level, language)
) STRICT;
-- The last batch of counts of each process: one that is sent again is not added again.
CREATE TABLE referral_batches (
    source INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    month TEXT NOT NULL
) STRICT;
