-- One batch: compares what it was computed from, then writes. Each key of KEYS has an operation, one letter of ARGV[1]; ARGV[2] names those
-- whose rights are looked at, and from ARGV[3] on are their arguments, in order.
--
--   =  it is this string              N  absent, and becomes this string         S  becomes this string        A  the set gets this member
--   0  it is absent                   U  this string, and becomes that           E  the same, for a day        R  the set loses it
--   n  the set has so many members    X  this string, and goes                   D  goes                       H  the hash has name, api_key
--   m  the set has this member        F  no set, and gets this member            I  the counter grows by this
--   <  the counter is less than this                                             M  the counter becomes this, unless it is greater
--
-- Neither Redis nor Lua takes anything back, so whatever could fail is looked at before the first write; when memory is full or the server may
-- not be written, it refuses the first write only, and all of the script with it. That one is a string if there is any.
-- Answers {0} when done, {1, i} when KEYS[i] is not as it was, {2, i} when it is of another type, {3, i, command} when the ACL forbids it.
local keys, args, call, pcall, type = KEYS, ARGV, redis.call, redis.pcall, type
local ops = args[1]
-- No tables are made here: a script is run for each write, and they would be most of its time.

-- Whether a counter, a decimal number of any length, is less than a limit.
local function below(counter, limit)
    if not counter or counter:sub(1, 1) == '-' then return true end
    if counter:sub(1, 1) == '0' then counter = counter:gsub('^0+', '') end
    if #counter ~= #limit then return #counter < #limit end
    return counter < limit
end

-- What a look at a key says that is not as expected. Another type is no reason to try again, and neither is a forbidden command.
local function differs(i, found)
    if type(found) == 'table' and not found.err:find('WRONGTYPE', 1, true) then return found end
    return {1, i}
end

local at, removed = 3, nil
for i = 1, #keys do
    local op, key = ops:sub(i, i), keys[i]
    if op == 'A' or op == 'R' then
        if type(pcall('SCARD', key)) ~= 'number' then return {2, i} end
        at = at + 1
    elseif op == '0' then
        if call('EXISTS', key) ~= 0 then return {1, i} end
    elseif op == 'N' then
        if call('EXISTS', key) ~= 0 then return {1, i} end
        at = at + 1
    elseif op == '=' or op == 'X' then
        local found = pcall('GET', key)
        if found ~= args[at] then return differs(i, found) end
        at = at + 1
    elseif op == 'U' then
        local found = pcall('GET', key)
        if found ~= args[at] then return differs(i, found) end
        at = at + 2
    elseif op == 'F' then
        local found = pcall('SCARD', key)
        if found ~= 0 then return differs(i, found) end
        at = at + 1
    elseif op == 'D' then
        removed = key
    elseif op == 'H' then
        if removed ~= key and type(pcall('HLEN', key)) ~= 'number' then return {2, i} end
        at = at + 2
    elseif op == 'n' then
        local found = pcall('SCARD', key)
        if found ~= tonumber(args[at]) then return differs(i, found) end
        at = at + 1
    elseif op == 'm' then
        local found = pcall('SISMEMBER', key, args[at])
        if found ~= 1 then return differs(i, found) end
        at = at + 1
    elseif op == '<' or op == 'I' or op == 'M' then
        local found = pcall('GET', key)
        if type(found) == 'table' then return found.err:find('WRONGTYPE', 1, true) and {2, i} or found end
        if found and not found:find('^-?%d+$') then return {2, i} end
        if op == 'I' and found and #found > 18 then return {2, i} end
        if op == '<' and not below(found, args[at]) then return {1, i} end
        at = at + 1
    else
        at = at + 1
    end
end

local allowed = redis.acl_check_cmd
if allowed then
    for number in args[2]:gmatch('%d+') do
        local i = tonumber(number)
        local op, key = ops:sub(i, i), keys[i]
        local command, permitted
        if op == 'A' or op == 'F' then command = 'sadd'; permitted = allowed(command, key, '1')
        elseif op == 'D' or op == 'X' then command = 'del'; permitted = allowed(command, key)
        elseif op == 'R' then command = 'srem'; permitted = allowed(command, key, '1')
        elseif op == 'H' then command = 'hset'; permitted = allowed(command, key, 'name', '')
        elseif op == 'I' then command = 'incrby'; permitted = allowed(command, key, '1')
        else command = 'set'; permitted = allowed(command, key, '1')
        end
        if not permitted then return {3, i, command} end
    end
end

at = 3
for i = 1, #keys do
    local op, key = ops:sub(i, i), keys[i]
    if op == 'A' or op == 'F' then call('SADD', key, args[at]); at = at + 1
    elseif op == 'N' or op == 'S' then call('SET', key, args[at]); at = at + 1
    elseif op == 'H' then call('HSET', key, 'name', args[at], 'api_key', args[at + 1]); at = at + 2
    elseif op == 'U' then call('SET', key, args[at + 1]); at = at + 2
    elseif op == 'D' then call('DEL', key)
    elseif op == 'X' then call('DEL', key); at = at + 1
    elseif op == 'R' then call('SREM', key, args[at]); at = at + 1
    elseif op == 'I' then call('INCRBY', key, args[at]); at = at + 1
    elseif op == 'M' then
        if below(call('GET', key), args[at]) then call('SET', key, args[at]) end
        at = at + 1
    elseif op == 'E' then call('SET', key, args[at], 'EX', 86400); at = at + 1
    elseif op ~= '0' then at = at + 1
    end
end
return {0}
