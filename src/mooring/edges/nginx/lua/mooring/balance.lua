-- Which endpoint gets this request? By the cluster's balance, or by a route's cookie or hash.

local _M = {}

local state = require "mooring.state"
local balancer = require "ngx.balancer"

local set_current_peer, get_last_failure = balancer.set_current_peer, balancer.get_last_failure
local endpoints, address = state.set, state.address
local find, sub = string.find, string.sub

-- Of this worker: how many requests are in flight by member, and by a request's address the member that counts it. NGINX's own
-- errors take a request to another location, and its `ngx.ctx` away.
local open, counted = {}, {}

-- No endpoint: 502 for NGINX, and 503 for the client (failed.lua), who can tell by the empty $upstream_addr.
local BUSY = -3

local function none()
    return ngx.exit(BUSY)
end

local function to(member)
    local ok, why = set_current_peer(member[1], member[2])
    if not ok then
        ngx.log(ngx.ERR, "endpoint ", member[3], ": ", why)
        return none()
    end
end

-- Those that this request has not been sent to yet, or all if it has been to every one.
local function untried(set)
    local had = " " .. (ngx.var.upstream_addr or ""):gsub(",", " ") .. " "
    local left, count = {}, 0
    for _, member in ipairs(set.list) do
        if not find(had, " " .. member[1] .. ":" .. member[2] .. " ", 1, true) then
            count = count + 1
            left[count] = member
        end
    end
    if count == 0 then
        return set.list, set.count
    end
    return left, count
end

-- Another try is not the next in turn: other requests take turns in between, and it might be the same one again.
local function next_of(set)
    if get_last_failure() then
        local list, count = untried(set)
        return list[math.random(count)]
    end
    local count = set.count
    local turn = (set.turn or math.random(count)) % count + 1     -- so that workers do not begin with the same one
    set.turn = turn
    return set.list[turn]
end

local function in_turn(set)
    if set.count == 0 then
        return none()
    end
    return to(next_of(set))
end

function _M.of_set(name)
    return in_turn(endpoints(name))
end

-- The set of the cluster that the look-up has found. Mostly no other request has looked anything up since.
local function found()
    if state.asked_by == address() then
        return endpoints(state.answered)
    end
    local way = ngx.var.m_way
    local _, last = find(way, state.CLUSTER, 1, true)
    return endpoints(state.set_of[sub(way, last + 1)] or "")
end

function _M.round_robin()
    return in_turn(found())
end

-- Of two taken at random the one with fewer requests in flight in this worker.
function _M.least()
    local set = found()
    local list, count = set.list, set.count
    if count == 0 then
        return none()
    end
    if get_last_failure() then
        list, count = untried(set)
    end
    local one = list[math.random(count)]
    if count > 1 then
        local other = list[math.random(count)]
        if (open[other[3]] or 0) < (open[one[3]] or 0) then
            one = other
        end
    end
    _M.done()     -- with the one that failed
    counted[address()] = one[3]
    open[one[3]] = (open[one[3]] or 0) + 1
    return to(one)
end

function _M.done()
    local at = address()
    local id = counted[at]
    if id then
        counted[at] = nil
        local left = (open[id] or 1) - 1
        open[id] = left > 0 and left or nil
    end
end

-- The member that wins for this key (rendezvous): when one goes, only its keys move.
local function by_hash(list, key)
    local crc = ngx.crc32_long
    local best, most = nil, -1
    for _, member in ipairs(list) do
        local score = crc(key .. "\n" .. member[3])
        -- crc32 is linear: alike inputs score alike, so it is stirred once more
        score = (score * 2654435761) % 4294967296
        score = crc(tostring(score))
        if score > most then
            best, most = member, score
        end
    end
    return best
end

local function hash_key(keys)
    local parts, any = {}, false
    for i, key in ipairs(keys) do
        local value = ngx.var[key] or ""
        if value ~= "" then
            any = true
        end
        parts[i] = value
    end
    return any and table.concat(parts, "\n") or nil
end

-- A route with a cookie or a hash: `leaf` is its data.
function _M.sticky(leaf)
    local set = found()
    local list, count = set.list, set.count
    if count == 0 then
        return none()
    end
    local failed = get_last_failure()
    local context = ngx.ctx
    local affinity, chosen = leaf.affinity, nil
    if affinity then
        local had = ngx.var["cookie_" .. affinity.name]
        chosen = had and state.by_name(list, had)
        if chosen and failed then
            chosen = nil
            context.moved = true
        end
    end
    if not chosen and leaf.hash then
        local key = hash_key(leaf.hash)
        chosen = key and by_hash(failed and untried(set) or list, key)
    end
    if not chosen then
        chosen = next_of(set)
    end
    context.chosen = chosen
    return to(chosen)
end

return _M
