-- Lists the claimed messages of a session in the order of the claims.
--
-- KEYS: cores, claims of the session
-- ARGV: core
-- Returns {{message id, 1 if held by this core}, …}

local ids, holders = held(KEYS[1], KEYS[2], '')
local rows = {}
for _, id in ipairs(ids) do
  rows[#rows + 1] = {id, holders[id] == ARGV[1] and 1 or 0}
end
return rows
