-- Adds events to windows that lack them, because Redis may have restarted empty.
--
-- KEYS: a window for each event
-- ARGV: for each event its name, its age in µs, and the length of the window in µs

for i, key in ipairs(KEYS) do
  local name, ago, window = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  redis.call('ZADD', key, 'NX', text(now - ago), name)
  redis.call('PEXPIRE', key, text(math.ceil(window / 1000)))
end
