-- Claims the answer to a message for a core, if the limits allow it.
--
-- KEYS: cores, claims of the session, its messages stopped by the person, then the windows of the
--       person and of the subnet in which the attempt counts; without windows it is not counted
-- ARGV: core, its previous identifier, message id, number of the claim, kind of attempt ("new",
--       "again", "reclaim" or "beyond" the limits), maximum claims, TTL of the claims in s, window in
--       µs, maximum events of the person, of the subnet, name of the event in the windows
-- Returns {"claimed", claims before it, 1 if the person stopped the last attempt} |
--         {"held", 0, 0}, by another core unless it is a reclaim | {"stopped", 0, 0} | {"busy", 0, 0} |
--         {"limited", wait in µs, 0}

local core, id, begins = ARGV[1], ARGV[3], ARGV[5]
local ids, holders, members = held(KEYS[1], KEYS[2], ARGV[2])
local before = #ids
if holders[id] then
  if holders[id] ~= core or begins == 'reclaim' then return {'held', 0, 0} end
  -- The calling core has ended that attempt, but its release has not arrived yet.
  redis.call('ZREM', KEYS[2], members[id])
  before = before - 1
end
local stopped = redis.call('ZSCORE', KEYS[3], id)
if begins == 'again' and stopped then return {'stopped', 0, 0} end

local window, event = tonumber(ARGV[8]), ARGV[11]
if KEYS[4] then
  local longest = math.max(wait(KEYS[4], window, tonumber(ARGV[9])), wait(KEYS[5], window, tonumber(ARGV[10])))
  if longest > 0 then return {'limited', longest, 0} end
end
if (begins == 'new' or begins == 'again') and before >= tonumber(ARGV[6]) then return {'busy', 0, 0} end

if KEYS[4] then
  count(KEYS[4], window, event)
  count(KEYS[5], window, event)
end
redis.call('ZADD', KEYS[2], text(now), id .. ' ' .. core .. ' ' .. ARGV[4])
-- The TTL exceeds the time of all answers of a session; claims of a dead core are void before that.
redis.call('EXPIRE', KEYS[2], ARGV[7])
return {'claimed', before, stopped and 1 or 0}
