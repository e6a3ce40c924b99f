-- One batch: compares what it was computed from, then writes. Each key of KEYS has an operation, one letter of ARGV[1]; ARGV[2] names those
-- whose rights are looked at, and from ARGV[3] on are their arguments, in order.
--
--   =  it is this string              N  absent, and becomes this string         S  becomes this string        A  the set gets this member
--   0  it is absent                   U  this string, and becomes that           E  the same, for a day        R  the set loses it
--   n  the set has so many members    X  this string, and goes                   D  goes                       H  the hash has name, api_key
--   m  the set has this member        F  absent, and a set of this member        I  the counter grows by this  G  the same, once it is gone
--   <  the counter is less than this                                             M  the counter becomes this, unless it is greater
--
-- Neither Redis nor Lua takes anything back, so whatever could fail is looked at before the first write; when memory is full or the server may
-- not be written, it refuses the first write only, and all of the script with it. That one is a string if there is any.
-- Keys of one operation stand together, because a call takes longer than what it does: what one command can do for many keys, it does.
-- Answers {0} when done, {1, i} when KEYS[i] is not as it was, {2, i} when it is of another type, {3, i, command} when the ACL forbids it.
local keys, args, call, pcall, type, unpack = KEYS, ARGV, redis.call, redis.pcall, type, unpack
local ops = args[1]
-- Keys of one command. No tables are made for single ones: a script is run for each write, and they would be most of its time.
local MOST = 250
-- Keys that one command can take with a value each: Lua hands 8,000 words over at most.
local MOST_PAIRS = 3000

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

-- The first of these keys that exists.
local function present(i, last)
    for from = i, last, MOST do
        local to = math.min(from + MOST - 1, last)
        if call('EXISTS', unpack(keys, from, to)) ~= 0 then
            for k = from, to do
                if call('EXISTS', keys[k]) ~= 0 then return k end
            end
        end
    end
end

-- The first of these keys that is of another type than this command is for. Where none exists, none is.
local function foreign(i, last, size)
    for from = i, last, MOST do
        local to = math.min(from + MOST - 1, last)
        if from == to or call('EXISTS', unpack(keys, from, to)) ~= 0 then
            for k = from, to do
                if type(pcall(size, keys[k])) ~= 'number' then return k end
            end
        end
    end
end

-- The last key of the operation that begins here.
local function run(i)
    local op = ops:sub(i, i)
    local _, last = ops:find('^' .. op .. '+', i)
    return op, last
end

-- Many new strings are looked at by the command that writes them, all or none, which is the first write.
local is_joined = false

local i, at = 1, 3
while i <= #keys do
    local op, last = run(i)
    if op == 'N' and last > i and last - i < MOST_PAIRS then
        is_joined = true
        at = at + last - i + 1
    elseif op == '0' or op == 'N' or op == 'F' then
        local k = present(i, last)
        if k then return {1, k} end
        if op ~= '0' then at = at + last - i + 1 end
    elseif op == 'A' or op == 'R' then
        local k = foreign(i, last, 'SCARD')
        if k then return {2, k} end
        at = at + last - i + 1
    elseif op == 'H' then
        local k = foreign(i, last, 'HLEN')
        if k then return {2, k} end
        at = at + 2 * (last - i + 1)
    elseif op == 'G' then
        at = at + 2 * (last - i + 1)
    elseif op == 'S' or op == 'E' then
        at = at + last - i + 1
    elseif op ~= 'D' then
        for k = i, last do
            local key = keys[k]
            if op == '=' or op == 'X' then
                local found = pcall('GET', key)
                if found ~= args[at] then return differs(k, found) end
            elseif op == 'U' then
                local found = pcall('GET', key)
                if found ~= args[at] then return differs(k, found) end
                at = at + 1
            elseif op == 'n' then
                local found = pcall('SCARD', key)
                if found ~= tonumber(args[at]) then return differs(k, found) end
            elseif op == 'm' then
                local found = pcall('SISMEMBER', key, args[at])
                if found ~= 1 then return differs(k, found) end
            else
                local found = pcall('GET', key)
                if type(found) == 'table' then return found.err:find('WRONGTYPE', 1, true) and {2, k} or found end
                if found and not found:find('^-?%d+$') then return {2, k} end
                if op == 'I' and found and #found > 18 then return {2, k} end
                if op == '<' and not below(found, args[at]) then return {1, k} end
            end
            at = at + 1
        end
    end
    i = last + 1
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
        elseif op == 'H' or op == 'G' then command = 'hset'; permitted = allowed(command, key, 'name', '')
        elseif op == 'I' then command = 'incrby'; permitted = allowed(command, key, '1')
        else command = 'set'; permitted = allowed(command, key, '1')
        end
        if not permitted then return {3, i, command} end
    end
end

-- Keys and their values, in turns.
local function pairs_of(i, last, at)
    local all = {}
    for k = i, last do
        all[2 * (k - i) + 1] = keys[k]
        all[2 * (k - i) + 2] = args[at + k - i]
    end
    return all
end

-- Strings, many in one command where the ACL allows that; a refusal did nothing.
local function set(i, last, at)
    for from = i, last, MOST do
        local to = math.min(from + MOST - 1, last)
        if from == to or pcall('MSET', unpack(pairs_of(from, to, at + from - i))).err then
            for k = from, to do call('SET', keys[k], args[at + k - i]) end
        end
    end
end

i, at = 1, 3
while i <= #keys do
    local op, last = run(i)
    local count = last - i + 1
    if op == 'N' and is_joined then
        local made = pcall('MSETNX', unpack(pairs_of(i, last, at)))
        if made ~= 1 then
            -- One is there, or the command is refused.
            local k = present(i, last)
            if k then return {1, k} end
            set(i, last, at)
        end
        at = at + count
    elseif op == 'N' or op == 'S' then
        set(i, last, at)
        at = at + count
    elseif op == 'A' or op == 'F' then
        for k = i, last do call('SADD', keys[k], args[at + k - i]) end
        at = at + count
    elseif op == 'H' or op == 'G' then
        for k = i, last do
            call('HSET', keys[k], 'name', args[at], 'api_key', args[at + 1])
            at = at + 2
        end
    elseif op == 'D' or op == 'X' then
        for from = i, last, MOST do call('DEL', unpack(keys, from, math.min(from + MOST - 1, last))) end
        if op == 'X' then at = at + count end
    elseif op ~= '0' then
        for k = i, last do
            local key = keys[k]
            if op == 'U' then call('SET', key, args[at + 1]); at = at + 1
            elseif op == 'R' then call('SREM', key, args[at])
            elseif op == 'I' then call('INCRBY', key, args[at])
            elseif op == 'M' then
                if below(call('GET', key), args[at]) then call('SET', key, args[at]) end
            elseif op == 'E' then call('SET', key, args[at], 'EX', 86400)
            end
            at = at + 1
        end
    end
    i = last + 1
end
return {0}
