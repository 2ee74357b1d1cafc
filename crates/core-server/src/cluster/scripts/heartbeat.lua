-- A core's sign of life. Divides the model calls between the living cores by what each needs.
--
-- KEYS: cores, shares
-- ARGV: core, its previous name, calls it makes, turns that wait there, calls of all cores at
--       most, how long this sign of life counts in µs
-- Returns {calls it may make, living cores}
--
-- A core's row in shares is "needs holds": what it makes and wants to make, and what it may make
-- or still makes. A share grows only by what no other core holds, so that together they never
-- hold more than there are.

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
  -- A row whose core has no sign of life, because the other key was evicted or deleted, would count for
  -- ever. If that core lives, its next sign of life brings the row back.
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
-- Every core that asks sees the same order, so that their parts fit together.
table.sort(names)

local part = 0
if #names <= most then
  -- One each, so that nobody starts from nothing. Then what each needs beyond it, if there is
  -- enough, and equal parts of what is left; if there is not enough, parts by need. Parts are
  -- rounded so that they add up.
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
  -- Fewer calls than cores: those who need one take turns of a second each.
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
