-- Common beginning of every script.

-- Without it Redis formats large numbers with an exponent and loses digits.
local function text(number) return string.format('%.0f', number) end

-- µs since 1970 by the clock of Redis, the only clock that all cores share.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Returns the claimed message ids of a session in the order of the claims, the holder of each, and
-- its member of the set. Deletes claims of dead cores and those of `previous`, the calling core's
-- identifier on its last connection.
local function held(cores, claims, previous)
  local ids, holders, members = {}, {}, {}
  for _, claim in ipairs(redis.call('ZRANGE', claims, 0, -1)) do
    local id, core = claim:match('^(%S+) (%S+) %S+$')
    local alive_until = core and redis.call('ZSCORE', cores, core)
    if core == previous or not alive_until or tonumber(alive_until) <= now then
      redis.call('ZREM', claims, claim)
    else
      ids[#ids + 1] = id
      holders[id] = core
      members[id] = claim
    end
  end
  return ids, holders, members
end

-- Returns the µs until a window of `window` µs and `most` events admits one more; 0: now.
local function wait(key, window, most)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - window))
  local over = redis.call('ZCARD', key) - most
  if over < 0 then return 0 end
  return redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2] + window - now
end

-- Adds an event to a window.
local function count(key, window, event)
  redis.call('ZADD', key, text(now), event)
  redis.call('PEXPIRE', key, text(math.ceil(window / 1000)))
end

