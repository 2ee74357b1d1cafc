-- Renews a core's heartbeat, and divides the model calls between the live cores by their need.
--
-- KEYS: cores, shares
-- ARGV: core, its previous identifier, its running calls, its waiting turns, maximum calls of all
--       cores, TTL of the heartbeat in µs
-- Returns {share of calls, live cores}
--
-- A core's row in shares is "needs holds": its running and waiting calls, and the calls that it may
-- make or still makes. A share must grow only by calls that no other core holds: the sum of all
-- never exceeds the maximum.

local core, calls, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[5])

redis.call('HDEL', KEYS[2], ARGV[2])
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now))) do
  redis.call('ZREM', KEYS[1], dead)
  redis.call('HDEL', KEYS[2], dead)
end
redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[6])), core)

local needs = {[core] = calls + tonumber(ARGV[4])}
local held_elsewhere = 0
local rows = redis.call('HGETALL', KEYS[2])
for i = 1, #rows, 2 do
  -- A row without a heartbeat, after the other key was evicted or deleted, would count for ever. If its
  -- core is alive, the next heartbeat restores the row.
  if rows[i] ~= core and not redis.call('ZSCORE', KEYS[1], rows[i]) then
    redis.call('HDEL', KEYS[2], rows[i])
  elseif rows[i] ~= core then
    local need, holds = rows[i + 1]:match('^(%d+) (%d+)$')
    needs[rows[i]] = tonumber(need)
    held_elsewhere = held_elsewhere + tonumber(holds)
  end
end

local names = {}
for name in pairs(needs) do names[#names + 1] = name end
-- All cores must see the same order, or their parts would overlap.
table.sort(names)

local part = 0
if #names <= most then
  -- One each, so that a first call never waits for a heartbeat. Then the need of each beyond it and
  -- equal parts of the rest, or, if the calls do not suffice, parts in proportion to need. Cumulative
  -- rounding makes the parts add up.
  local rest, beyond = most - #names, 0
  for _, need in pairs(needs) do beyond = beyond + math.max(need - 1, 0) end
  local sum, given = 0, 0
  for _, name in ipairs(names) do
    local need = math.max(needs[name] - 1, 0)
    if beyond <= rest then
      sum = sum + need + (rest - beyond) / #names
    else
      sum = sum + rest * need / beyond
    end
    local upto = math.floor(sum + 0.5)
    if name == core then part = 1 + upto - given end
    given = upto
  end
else
  -- Fewer calls than cores: those in need rotate every second.
  local needy = {}
  for _, name in ipairs(names) do
    if needs[name] > 0 then needy[#needy + 1] = name end
  end
  for i, name in ipairs(needy) do
    if name == core and (i + math.floor(now / 1000000)) % #needy < most then part = 1 end
  end
end

local share = math.max(0, math.min(part, most - held_elsewhere))
redis.call('HSET', KEYS[2], core, needs[core] .. ' ' .. math.max(share, calls))
return {share, #names}
