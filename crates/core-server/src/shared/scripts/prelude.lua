-- What every script here begins with.

-- Redis would write a large number with an exponent, and lose its end.
local function text(number) return string.format('%.0f', number) end

-- µs since 1970, by the clock of Redis: the only one that all cores have.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Ids of the messages of a session that living cores hold, in the order they were claimed, and
-- which core holds each. What others claimed is forgotten. `previous` is a name that the asking
-- core no longer goes by.
local function held(cores, claims, previous)
  local ids, holders = {}, {}
  for _, claim in ipairs(redis.call('ZRANGE', claims, 0, -1)) do
    local id, core = claim:match('^(%S+) (%S+)$')
    local alive_until = redis.call('ZSCORE', cores, core)
    if core == previous or not alive_until or tonumber(alive_until) <= now then
      redis.call('ZREM', claims, claim)
    else
      ids[#ids + 1] = id
      holders[id] = core
    end
  end
  return ids, holders
end

