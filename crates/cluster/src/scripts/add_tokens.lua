-- Adds a core's used tokens to the count of the day.
--
-- KEYS: the count of the day
-- ARGV: the last count known to the core, tokens to add, TTL of the count in s
-- Returns the tokens used by all cores

-- Redis may have restarted empty: the count must not fall below the one that a core knows.
local used = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + tonumber(ARGV[2])
redis.call('SET', KEYS[1], text(used), 'EX', ARGV[3])
return used
