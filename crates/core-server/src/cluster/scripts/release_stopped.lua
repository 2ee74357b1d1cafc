-- Gives back a claim whose message the person stopped before there was an answer, and notes that.
--
-- KEYS: claims of the session, its messages stopped by the person
-- ARGV: the claim, message id, most messages noted, seconds after which they are forgotten

-- Without the claim there is a later attempt, which this one says nothing about.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return end
redis.call('ZADD', KEYS[2], text(now), ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[2], ARGV[4])
