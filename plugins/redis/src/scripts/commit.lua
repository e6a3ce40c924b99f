-- One batch: compares what it was computed from, then writes. What entry i does to KEYS[i] is ARGV[2i], and with what is ARGV[2i+1].
-- The first ARGV[1] entries are checks. Neither Redis nor Lua takes anything back, so whatever could fail is looked at before the first
-- write; when memory is full or the server may not be written, it refuses the first write only, and all of the script with it.
-- Answers {0} when done, {1, i} when entry i is not as it was, {2, i} when KEYS[i] is of another type, {3, i, command} when the ACL forbids it.
local keys, args, call, pcall = KEYS, ARGV, redis.call, redis.pcall
local checks, all = tonumber(args[1]), #keys

-- Whether a counter, a decimal number of any length, is less than a limit.
local function below(counter, limit)
    if not counter then return true end
    if counter:sub(1, 1) == '-' then return true end
    counter = counter:gsub('^0+', '')
    if #counter ~= #limit then return #counter < #limit end
    return counter < limit
end

for i = 1, checks do
    local op, arg, key = args[2 * i], args[2 * i + 1], keys[i]
    local found, same
    if op == '=' then
        found = pcall('GET', key)
        same = found == arg
    elseif op == '0' then
        same = call('EXISTS', key) == 0
    elseif op == 'n' then
        found = pcall('SCARD', key)
        same = found == tonumber(arg)
    elseif op == 'm' then
        found = pcall('SISMEMBER', key, arg)
        same = found == 1
    elseif op == '<' then
        found = pcall('GET', key)
        if found and type(found) ~= 'table' then
            if not found:find('^-?%d+$') then return {2, i} end
            same = below(found, arg)
        else
            same = not found
        end
    end
    if not same then
        -- Another type is no reason to try again, and neither is a command that is forbidden.
        if type(found) == 'table' and not found.err:find('WRONGTYPE') then return found end
        if type(found) == 'table' and op == '<' then return {2, i} end
        return {1, i}
    end
end

local allowed = redis.acl_check_cmd
local removed = {}
for i = checks + 1, all do
    local op, key = args[2 * i], keys[i]
    local command, wanted
    if op == 'S' then command = 'SET'
    elseif op == 'E' then command = 'SET'
    elseif op == 'A' then command, wanted = 'SADD', 'set'
    elseif op == 'R' then command, wanted = 'SREM', 'set'
    elseif op == 'H' then command, wanted = 'HSET', 'hash'
    elseif op == 'D' then command = 'DEL'
    elseif op == 'I' then command, wanted = 'INCRBY', 'string'
    elseif op == 'M' then command, wanted = 'SET', 'string'
    end
    if op == 'D' then removed[key] = true end
    if wanted and not removed[key] then
        local found = call('TYPE', key).ok
        if found ~= 'none' and found ~= wanted then return {2, i} end
        if wanted == 'string' and found == 'string' then
            local counter = call('GET', key)
            if not counter:find('^-?%d+$') or (op == 'I' and #counter > 18) then return {2, i} end
        end
    end
    if allowed then
        local permitted
        if op == 'D' then permitted = allowed(command, key)
        elseif op == 'H' then permitted = allowed(command, key, 'name', '')
        else permitted = allowed(command, key, '1')
        end
        if not permitted then return {3, i, command:lower()} end
    end
end

for i = checks + 1, all do
    local op, arg, key = args[2 * i], args[2 * i + 1], keys[i]
    if op == 'S' then call('SET', key, arg)
    elseif op == 'A' then call('SADD', key, arg)
    elseif op == 'R' then call('SREM', key, arg)
    elseif op == 'H' then
        local at = arg:find(':', 1, true)
        local length = tonumber(arg:sub(1, at - 1))
        call('HSET', key, 'name', arg:sub(at + 1, at + length), 'api_key', arg:sub(at + length + 1))
    elseif op == 'D' then call('DEL', key)
    elseif op == 'I' then call('INCRBY', key, arg)
    elseif op == 'M' then
        if below(call('GET', key), arg) then call('SET', key, arg) end
    elseif op == 'E' then call('SET', key, arg, 'EX', 86400)
    end
end
return {0}
