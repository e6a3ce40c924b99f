-- Whether a write whose answer never came was carried out, and if not, that it never will be. KEYS[1]: the receipt of its place; ARGV: what
-- it writes there, what it expects there, and what is put there so that it finds something else. Answers 1 when it was carried out, 0
-- when it was not, -1 when nobody can tell any more.
local found = redis.call('GET', KEYS[1])
if found == ARGV[1] then return 1 end
if found == ARGV[3] then return 0 end
if found ~= ARGV[2] then return -1 end
redis.call('SET', KEYS[1], ARGV[3], 'EX', 86400)
return 0
