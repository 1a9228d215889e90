-- What changes without a reload? Endpoints, weights and certificates, from the shared dict that the control socket fills.

local _M = {}

local dict = ngx.shared.mooring
local find, sub, tonumber = string.find, string.sub, tonumber

local sets, weights = {}, {}   -- what this worker has read: name -> { raw, checked, list }
local NONE = {}

function _M.version()
    return dict:get("version") or 0
end

-- The members of a set as a list of { address, port, id }, empty if there are none. `list.version` changes with it.
function _M.members(name)
    local version = dict:get("version")
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

-- The weights of a route by the names of its clusters.
function _M.weights(route)
    local version = dict:get("version")
    local entry = weights[route]
    if entry and entry.checked == version then
        return entry.list
    end
    local raw = dict:get("weights/" .. route) or ""
    if entry and entry.raw == raw then
        entry.checked = version
        return entry.list
    end
    local list = {}
    for weight, cluster in raw:gmatch("(%d+) ([^\n]+)\n") do
        list[cluster] = (list[cluster] or 0) + tonumber(weight)
    end
    weights[route] = { raw = raw, checked = version, list = list }
    return list
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
