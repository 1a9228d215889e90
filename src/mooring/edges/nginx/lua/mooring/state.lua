-- What changes without a reload? Endpoints, weights and certificates, from the shared dict that the control socket fills.

local _M = {}

local ffi = require "ffi"
local get_request = require("resty.core.base").get_request

local version = require "mooring.version"

local dict, now = ngx.shared.mooring, version.now
local cast, uintptr = ffi.cast, ffi.typeof("uintptr_t")
local find, sub, tonumber = string.find, string.sub, tonumber

local sets, weights = {}, {}   -- what this worker has read: name -> { raw, checked, list }; of a set whose turn it was, too

-- In `$m_way` this is between a route and its cluster, and all there is of a request that has neither.
_M.CLUSTER = '","cluster":"'

-- The set of a route's cluster, by the name that the access log shows: told by the look-up, asked by the balancer.
_M.set_of = {}

-- The request that has last looked up its route, and the set of that. A request that has an endpoint chosen has looked up before,
-- so whatever was at its address earlier does not count.
_M.asked_by, _M.answered = nil, nil

-- Of the request that Lua runs for: a number, for pointers would each be an object.
function _M.address()
    return tonumber(cast(uintptr, get_request()))
end

-- A set: `list` has its members as { address, port, id }, `count` of them; `turn`, if any, is whose turn it was.
function _M.set(name)
    local seen = now()
    local entry = sets[name]
    if entry and entry.checked == seen then
        return entry
    end
    local raw = dict:get("set/" .. name) or ""
    if not entry then
        entry = {}
        sets[name] = entry
    end
    entry.checked = seen
    if entry.raw == raw then
        return entry
    end
    local list, count = {}, 0
    for address, port in raw:gmatch("(%S+) (%d+)\n") do
        count = count + 1
        list[count] = { address, tonumber(port), address .. " " .. port }
    end
    entry.raw, entry.list, entry.count = raw, list, count
    return entry
end

function _M.members(name)
    return _M.set(name).list
end

-- The weights under this key by the names of clusters.
function _M.weights(key)
    local seen = now()
    local entry = weights[key]
    if entry and entry.checked == seen then
        return entry.list
    end
    local raw = dict:get(key) or ""
    if entry and entry.raw == raw then
        entry.checked = seen
        return entry.list
    end
    local list = {}
    for weight, cluster in raw:gmatch("(%d+) ([^\n]+)\n") do
        list[cluster] = (list[cluster] or 0) + tonumber(weight)
    end
    weights[key] = { raw = raw, checked = seen, list = list }
    return list
end

-- What the shared dict has no more is forgotten here, too.
function _M.prune()
    local function is_gone(key)
        return not dict:ttl(key)
    end
    for name in pairs(sets) do
        if is_gone("set/" .. name) then
            sets[name] = nil
        end
    end
    for key in pairs(weights) do
        if is_gone(key) then
            weights[key] = nil
        end
    end
    for cluster, set in pairs(_M.set_of) do
        if is_gone("set/" .. set) then
            _M.set_of[cluster] = nil
        end
    end
end

-- The member of this list whose name in a cookie is `name`, or nil.
function _M.by_name(list, name)
    if not list.names then
        local names = {}
        for _, member in ipairs(list) do
            names[ngx.md5(member[3])] = member
        end
        list.names = names
    end
    return list.names[name]
end

function _M.name_of(member)
    return ngx.md5(member[3])
end

return _M
