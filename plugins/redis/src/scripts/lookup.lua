-- A set of ids and the records it names, in one go. ARGV: what a record's key begins with, and the most ids that are followed.
-- Answers the ids and what stands under each, or only their number if there are more.
local ids = redis.call('SMEMBERS', KEYS[1])
if #ids > tonumber(ARGV[2]) then return #ids end
local found = {}
for i = 1, #ids do
    local record = redis.pcall('GET', ARGV[1] .. ids[i])
    -- A record of another type is told by a number.
    if type(record) == 'table' then record = 0 end
    found[2 * i - 1] = ids[i]
    found[2 * i] = record
end
return found
