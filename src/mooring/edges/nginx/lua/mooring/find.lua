-- Which route takes this request, by its host, its path and its conditions, and which of the route's clusters?

local _M = {}

local data = require "mooring.data"
local identity = require "mooring.identity"
local kept = require "mooring.kept"
local request = require "mooring.request"
local seen = require "mooring.seen"
local state = require "mooring.state"
local now = require("mooring.version").now

local dict, set_of, address = ngx.shared.mooring, state.set_of, state.address
local sub, find, byte, min, type = string.sub, string.find, string.byte, math.min, type

local listeners = {}    -- those that have been asked
local indexes = {}      -- by listener: { hosts, chains }, of what `routes` counts
local known, counted    -- the version that was last looked at, and the count of changes to indexes
local is_closing = false
local NONE = {}
local trees, leaves = {}, {}    -- by key, which says all that is in them
local former = {}               -- leaves that few may need any more
local held = {}                 -- by the address of a request: the leaf that it has found, however long it takes
local PERIOD = 300              -- seconds in which what belongs to a request, a mirror's for one, has begun
local pruned = ngx.now()

local function index_of(listener)
    local index = indexes[listener]
    if not index then
        local raw = dict:get("index/" .. _M.data.generation .. "/" .. listener)
        index = raw and data(raw) or { hosts = {}, is_missing = true }
        seen.begin(index)
        indexes[listener], listeners[listener] = index, true
    end
    return index
end

-- What may have changed since the last request. Trees that no index names any more are forgotten.
local function look(version)
    known = version
    is_closing = (dict:get("closing") or dict:get("draining")) and true or false
    local now = dict:get("routes")
    if now ~= counted then
        counted, indexes = now, {}
        local used = {}
        for listener in pairs(listeners) do
            for _, host in pairs(index_of(listener).hosts) do
                used[host.tree] = trees[host.tree]
            end
        end
        trees = used
        if ngx.now() - pruned > PERIOD then
            pruned, former, leaves = ngx.now(), leaves, {}
            _M.prune()
        end
    end
end

local function tree_of(key)
    local tree = trees[key]
    if not tree then
        local raw = dict:get("tree/" .. key)
        tree = raw and data(raw) or nil
        if tree then
            seen.begin(tree)
        end
        trees[key] = tree
    end
    return tree
end

-- Read with the request's route, so that it is there for the answer, when the route may be gone.
local function leaf_of(key)
    local leaf = leaves[key]
    if not leaf then
        leaf = former[key]
        if not leaf then
            local raw = dict:get("leaf/" .. key)
            leaf = raw and data(raw) or nil
            if leaf then
                leaf.key = key
            end
        end
        leaves[key] = leaf
    end
    return leaf
end

-- What Lua does for the route of this request.
function _M.leaf()
    local key = ngx.var.m_leaf
    if not key or key == "" then
        return nil
    end
    local leaf = held[address()]
    return leaf and leaf.key == key and leaf or leaf_of(key)
end

local DOT = 46

-- The longest wildcard, then all others.
local function wildcard_of(hosts, name)
    local dot = find(name, ".", 2, true)     -- a wildcard stands for something
    local is_first = byte(name) ~= DOT
    while dot do
        local host = hosts["*" .. sub(name, dot)]
        if host and (is_first or host.many) then
            return host
        end
        is_first = false
        dot = find(name, ".", dot + 1, true)
    end
    return hosts["*"]
end

-- Where requests for this host are answered: `host` is false if nobody does, `seen` what paths led to at once.
local function place_of(index, name)
    local place = index.seen[name]
    if not place then
        place = { host = index.hosts[name] or wildcard_of(index.hosts, name) or false }
        seen.begin(place)
        seen.put(index, name, place)
    end
    return place
end

local SLASH = 47

-- The longest of the prefixes that this path begins with.
local function prefix_of(tree, path)
    local prefixes, best = tree.prefixes, nil
    for _, length in ipairs(tree.lengths) do
        if length <= #path then
            best = prefixes[sub(path, 1, length)]
            if best then
                best = length
                break
            end
        end
    end
    for at = min(#path, tree.longest), (best or 0) + 1, -1 do
        if byte(path, at) == SLASH then
            local found = prefixes[sub(path, 1, at)]
            if found then
                return found
            end
        end
    end
    return best and prefixes[sub(path, 1, best)]
end

-- Whether a path is what it is decoded to, and means what it says.
local function is_plain(path)
    return byte(path) == SLASH
        and not (find(path, "%", 1, true) or find(path, "/.", 1, true) or find(path, "//", 1, true)
                 or find(path, "\\", 1, true) or find(path, "#", 1, true))
end

-- The numbers of the routes that may take this path: one, several in a table, or nil.
local function numbers_of(tree, path)
    local numbers = tree.exact[path] or tree.seen[path]
    if numbers == nil then
        numbers = prefix_of(tree, path) or false
        seen.put(tree, path, numbers)
    end
    return numbers
end

-- The name of the chain that this connection asked for.
local function chain_of(index)
    local chains, name = index.chains, ngx.var.ssl_server_name
    if not chains then
        return ""
    end
    name = name and name:lower()
    return name and (chains[name] or chains["*" .. (name:match("%..+$") or "")]) or chains["*"]
end

local function holds(how, wanted, value)
    if how == "present" then
        return value ~= nil
    elseif value == nil then
        return false
    elseif how == "is" then
        return value == wanted
    elseif how == "begins" then
        return value:sub(1, #wanted) == wanted
    end
    local from, _, why = ngx.re.find(value, wanted, "jo")
    if why then
        error("pattern " .. wanted .. ": " .. why)
    end
    return from ~= nil
end

-- Any of a field's or parameter's values.
local function any(how, wanted, values)
    if type(values) ~= "table" then
        return holds(how, wanted, values == true and "" or values)
    end
    return holds(how, wanted, values[1] == true and "" or values[1])
end

local function is_true(condition, index)
    local part, fulfilled = condition.part, nil
    if part == "path" then
        local from, _, why = ngx.re.find(ngx.var.uri, condition.value, condition.ignore_case and "joi" or "jo")
        if why then
            error("pattern " .. condition.value .. ": " .. why)
        end
        return from ~= nil
    elseif part == "method" then
        fulfilled = holds(condition.how, condition.value, ngx.req.get_method())
    elseif part == "header" then
        local value
        if condition.name == "host" or condition.name == ":authority" then
            value = ngx.var.m_authority
        elseif condition.name == "x-forwarded-proto" then
            value = ngx.var.m_forwarded_proto
        else
            value = ngx.req.get_headers(0)[condition.name]
            if type(value) == "table" then
                value = table.concat(value, ",")
            end
        end
        fulfilled = holds(condition.how, condition.value, value)
    elseif part == "cookie" then
        fulfilled = holds(condition.how, condition.value, ngx.var["cookie_" .. condition.name])
    elseif part == "query" then
        fulfilled = any(condition.how, condition.value, ngx.req.get_uri_args(0)[condition.name])
    elseif part == "chain" then
        fulfilled = chain_of(index) == condition.value
    end
    if condition.invert then
        return not fulfilled
    end
    return fulfilled
end

local function arm_of(route)
    local arms = route.arms
    if route.affinity then
        local had = ngx.var["cookie_" .. route.affinity]
        if had then
            for _, arm in ipairs(arms) do
                if state.by_name(state.members(arm.from), had) then
                    return arm
                end
            end
        end
    end
    local weights, sum = state.weights(route.weights), 0
    for _, arm in ipairs(arms) do
        sum = sum + (weights[arm.of] or 0)
    end
    if sum == 0 then
        return nil
    end
    local at = math.random(sum)
    for _, arm in ipairs(arms) do
        at = at - (weights[arm.of] or 0)
        if at <= 0 then
            return arm
        end
    end
end

local function first_true(index, tree, numbers)
    local routes = tree.routes
    if type(numbers) == "number" then
        numbers = { numbers }
    end
    for _, number in ipairs(numbers) do
        local route, all = routes[number], true
        for _, condition in ipairs(route.conditions or NONE) do
            if not is_true(condition, index) then
                all = false
                break
            end
        end
        if all then
            return route
        end
    end
end

-- Where bodies may be larger than those of the common group, NGINX does not look at their length in time.
local function has_small_body(var, limit)
    local length = var.http_content_length
    if length then
        return tonumber(length) <= limit
    end
    return var.server_protocol == "HTTP/1.1" and not var.http_transfer_encoding
end

local UNCLEAN = "@unclean"     -- no location

-- The path by which the rules go, nil if it must be cleaned first.
local function path_of(var, path, is_clean)
    if not is_clean then
        if path and is_plain(path) then
            return path
        elseif var.m_unclean ~= "" then
            return nil
        end
    end
    path = var.uri
    return kept.is(var) and kept.plain(path) or path
end

local NOWHERE = state.CLUSTER

-- The route and the cluster that it goes on to, if any, as the access log has them.
local function way_of(route, arm)
    local way = arm.way
    if not way then
        way = route.name .. NOWHERE .. (arm.cluster or "")
        if arm ~= NONE then
            arm.way = way
        end
    end
    return way
end

-- A request that goes on here, to the cluster's set of endpoints.
local function forwarded(set)
    state.asked_by, state.answered = address(), set
end

-- The way of the request, and where it goes on: a location, or a status; nil is where it was looked up.
--
-- Most requests ask what others have asked: which route that led to is kept by host and path, for paths that are plain and routes
-- that ask for nothing.
local function found(listener, is_clean)
    local var, index = ngx.var, index_of(listener)
    local target, place = var.request_uri, place_of(index, var.host)
    local question = find(target, "?", 1, true)
    local asked = question and sub(target, 1, question - 1) or target
    if is_clean or question and find(target, "#", question, true) then
        asked = nil
    else
        local answer = place.seen[asked]
        if answer then
            forwarded(answer.set)
            return answer.way
        end
    end
    local path = path_of(var, asked, is_clean)
    if not path then
        return NOWHERE, UNCLEAN
    end
    local host = place.host
    if not host then
        if index.is_missing then     -- NGINX has only just begun
            return NOWHERE, "503"
        end
        if index.chains then
            var.m_hsts = "-"
        end
        return NOWHERE, "404"
    end
    if host.hsts then     -- not as most hosts
        var.m_hsts = host.hsts
    end
    local tree = tree_of(host.tree)
    if not tree then
        return NOWHERE, "503"
    end
    local numbers = numbers_of(tree, path)
    local route = type(numbers) == "number" and tree.routes[numbers]
    if not route or route.conditions then
        route = numbers and first_true(index, tree, numbers)
        if not route then
            return NOWHERE, "404"
        end
    end
    local arm = route
    if route.arms then
        arm = arm_of(route)
        if not arm then
            return way_of(route, NONE), "503"
        end
    end
    local cluster, common, limit, way = arm.cluster, _M.data.common, _M.data.limit, way_of(route, arm)
    if cluster then
        set_of[cluster] = arm.set
        forwarded(arm.set)
    end
    local unusual = host.hsts and common     -- nil where the usual is said
    if arm.group == common and not limit then
        if arm == route and cluster and type(numbers) == "number" and path == asked and not (route.conditions or host.hsts) then
            seen.put(place, path, route)
        end
        return way, unusual
    end
    if arm.leaf then
        held[address()] = leaf_of(arm.leaf)
        var.m_leaf = arm.leaf
    end
    if arm.body then
        local length = tonumber(var.http_content_length)
        if length and length > arm.body then
            return way, "413"
        end
    end
    if arm.group == common and has_small_body(var, limit) then
        return way, unusual
    end
    return way, arm.group
end

-- Sets `$m_group`, unless the request stays where it is: most pay for one variable less.
function _M.find(listener)
    local version = now()
    if version ~= known then
        look(version)
    end
    if is_closing then
        ngx.var.m_group = "@closing"
        return NOWHERE
    end
    identity.set()
    local way, where = found(listener)
    if where then
        ngx.var.m_group = where
    end
    return way
end

local function go(listener, where)
    if where == UNCLEAN then
        local way
        request.clean()
        way, where = found(listener, true)
        where = where or _M.data.common
        ngx.var.m_way, ngx.var.m_group = way, where
    end
    if sub(where, 1, 1) == "@" then
        return ngx.exec(where)
    end
    return ngx.exit(tonumber(where))
end

function _M.go(listener)
    return go(listener, ngx.var.m_group)
end

-- The connection's last request.
function _M.last(listener)
    local way, where = found(listener)
    ngx.var.m_way = way
    return go(listener, where or _M.data.common)
end

return _M
