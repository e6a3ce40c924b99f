-- What stands under these keys, all at one moment: a string, nothing, or a number where it is no string.
local found = {}
for i = 1, #KEYS do
    local value = redis.pcall('GET', KEYS[i])
    if type(value) == 'table' then
        if not value.err:find('WRONGTYPE', 1, true) then return value end
        value = 0
    end
    found[i] = value
end
return found
