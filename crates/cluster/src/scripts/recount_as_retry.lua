-- Moves an event from the windows of new messages to those of retries, if they admit it.
--
-- KEYS: windows of the person and of the subnet for new messages, the same for retries
-- ARGV: window in µs, maximum events of the person, of the subnet, name of the event among the new
--       messages, among the retries
-- Returns 1 if it was moved

local window = tonumber(ARGV[1])
if wait(KEYS[3], window, tonumber(ARGV[2])) > 0 or wait(KEYS[4], window, tonumber(ARGV[3])) > 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[4])
count(KEYS[3], window, ARGV[5])
count(KEYS[4], window, ARGV[5])
return 1
