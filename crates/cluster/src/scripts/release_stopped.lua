-- Releases a claim whose message the person stopped before it was answered, and marks the message.
--
-- KEYS: claims of the session, its messages stopped by the person
-- ARGV: the claim, message id, maximum marked messages, TTL of the marks in s

-- Without the claim a later attempt exists, which must not be marked by this one.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return end
redis.call('ZADD', KEYS[2], text(now), ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[2], ARGV[4])
