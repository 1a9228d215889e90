-- What changes without a reload? Endpoints, weights and certificates, from the shared dict that the control socket fills.

local _M = {}

local dict = ngx.shared.mooring
local find, sub, tonumber = string.find, string.sub, tonumber

local sets, weights = {}, {}   -- what this worker has read: name -> { raw, checked, list }

-- Whose turn it was, by set.
_M.turns = {}

-- The set of a route's cluster, by the name that the access log shows: told by the look-up, asked by the balancer.
_M.set_of = {}

-- What the look-up has seen last; the balancer of the same request need not ask again.
_M.seen = nil

-- `seen`: the version that is new enough. The members of a set as a list of { address, port, id }, empty if there are none. `list.version` changes with it.
function _M.members(name, seen)
    local version = seen or dict:get("version")
    local entry = sets[name]
    if entry and entry.checked == version then
        return entry.list
    end
    local raw = dict:get("set/" .. name) or ""
    if entry and entry.raw == raw then
        entry.checked = version
        return entry.list
    end
    local list = {}
    for address, port in raw:gmatch("(%S+) (%d+)\n") do
        list[#list + 1] = { address, tonumber(port), address .. " " .. port }
    end
    sets[name] = { raw = raw, checked = version, list = list }
    return list
end

-- The weights under this key by the names of clusters.
function _M.weights(key)
    local version = dict:get("version")
    local entry = weights[key]
    if entry and entry.checked == version then
        return entry.list
    end
    local raw = dict:get(key) or ""
    if entry and entry.raw == raw then
        entry.checked = version
        return entry.list
    end
    local list = {}
    for weight, cluster in raw:gmatch("(%d+) ([^\n]+)\n") do
        list[cluster] = (list[cluster] or 0) + tonumber(weight)
    end
    weights[key] = { raw = raw, checked = version, list = list }
    return list
end

-- What the shared dict has no more is forgotten here, too.
function _M.prune()
    local function is_gone(key)
        return not dict:ttl(key)
    end
    for name in pairs(sets) do
        if is_gone("set/" .. name) then
            sets[name], _M.turns[name] = nil, nil
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
