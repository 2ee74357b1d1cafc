-- Adds tokens that a core has used to those of the day.
--
-- KEYS: the tokens of the day
-- ARGV: all that the core knew of, those to be added, seconds after which the day is forgotten
-- Returns what all cores have used

-- Redis may have been restarted empty: nothing that a core knows of is forgotten.
local used = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + tonumber(ARGV[2])
redis.call('SET', KEYS[1], text(used), 'EX', ARGV[3])
return used
