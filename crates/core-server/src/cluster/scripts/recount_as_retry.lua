-- Moves an event from the windows of new messages to those of repeated ones, if it fits there.
--
-- KEYS: windows of the person and of the address for new messages, the same for repeated ones
-- ARGV: window in µs, most events of the person, of the address, name of the event among the
--       new messages, among the repeated ones
-- Returns 1 if it was moved

local window = tonumber(ARGV[1])
if wait(KEYS[3], window, tonumber(ARGV[2])) > 0 or wait(KEYS[4], window, tonumber(ARGV[3])) > 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[4])
count(KEYS[3], window, ARGV[5])
count(KEYS[4], window, ARGV[5])
return 1
