-- Claims the answer to a message for a core, if the limits allow it.
--
-- KEYS: cores, claims of the session, window of the person, window of the address
-- ARGV: core, its previous name, message id, most claims, window in µs, most messages of the
--       person, of the address, name of the event in the windows; without one the windows are
--       left alone
-- Returns {"claimed", claims before it} | {"held", 1 if by this core} | {"busy", 0} |
--         {"limited", wait in µs}

local ids, holders = held(KEYS[1], KEYS[2], ARGV[2])
local holder = holders[ARGV[3]]
if holder then return {'held', holder == ARGV[1] and 1 or 0} end

local window, event = tonumber(ARGV[5]), ARGV[8]

-- How long until one more event fits.
local function wait(key, most)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - window))
  local over = redis.call('ZCARD', key) - most
  if over < 0 then return 0 end
  return redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2] + window - now
end

if event ~= '' then
  local longest = math.max(wait(KEYS[3], tonumber(ARGV[6])), wait(KEYS[4], tonumber(ARGV[7])))
  if longest > 0 then return {'limited', longest} end
end
if #ids >= tonumber(ARGV[4]) then return {'busy', 0} end

if event ~= '' then
  for _, key in ipairs({KEYS[3], KEYS[4]}) do
    redis.call('ZADD', key, text(now), event)
    redis.call('PEXPIRE', key, text(math.ceil(window / 1000)))
  end
end
redis.call('ZADD', KEYS[2], text(now), ARGV[3] .. ' ' .. ARGV[1])
-- Longer than any answer takes: what a core could not give back goes with its name before that.
redis.call('EXPIRE', KEYS[2], 3600)
return {'claimed', #ids}
