-- What every script here begins with.

-- Redis would write a large number with an exponent, and lose its end.
local function text(number) return string.format('%.0f', number) end

-- µs since 1970, by the clock of Redis: the only one that all cores have.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Ids of the messages of a session that living cores hold, in the order they were claimed, which
-- core holds each, and by which member of the set. What others claimed is forgotten. `previous` is
-- a name that the asking core no longer goes by.
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

-- How long until one more event fits into a window of so many µs, of `most` events; 0: one does.
local function wait(key, window, most)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - window))
  local over = redis.call('ZCARD', key) - most
  if over < 0 then return 0 end
  return redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2] + window - now
end

-- Counts an event in a window.
local function count(key, window, event)
  redis.call('ZADD', key, text(now), event)
  redis.call('PEXPIRE', key, text(math.ceil(window / 1000)))
end

