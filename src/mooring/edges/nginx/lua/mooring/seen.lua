-- What was found for names and paths lately? Most requests ask what earlier ones have asked, and a look-up without a loop is
-- one trace of LuaJIT.

local _M = {}

local MOST, LONGEST = 4096, 256     -- entries of this worker, and octets of a key: nobody fills its memory with names

local holders = setmetatable({}, { __mode = "k" })
local count = 0

-- From now on `holder.seen` says what was put there; it is all forgotten now and then.
function _M.begin(holder)
    holder.seen = {}
    holders[holder] = true
end

function _M.put(holder, key, what)
    if #key > LONGEST then
        return
    end
    count = count + 1
    if count > MOST then
        count = 1
        for each in pairs(holders) do
            each.seen = {}
        end
    end
    holder.seen[key] = what
end

return _M
