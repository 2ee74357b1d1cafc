-- Puts events into windows that lack them: Redis may have started anew since.
--
-- KEYS: a window for each event
-- ARGV: for each event its name, how long ago it was in µs, and the length of the window in µs

for i, key in ipairs(KEYS) do
  local name, ago, window = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  redis.call('ZADD', key, 'NX', text(now - ago), name)
  redis.call('PEXPIRE', key, text(math.ceil(window / 1000)))
end
