-- What may the control process ask? To store and delete pairs, whether patterns compile, and how things stand.

local _M = {}

local version = require "mooring.version"

local state, certificates = ngx.shared.mooring, ngx.shared.mooring_certificates

local function body()
    ngx.req.read_body()
    local data = ngx.req.get_body_data()
    if data then
        return data
    end
    local path = ngx.req.get_body_file()
    if not path then
        return ""
    end
    local file = assert(io.open(path, "rb"))
    data = file:read("*a")
    file:close()
    return data
end

local OWN = { version = true, page = true, draining = true, routes = true }

-- Records `S|C keylength valuelength\n` key value, S for state and C for certificates; a value of length -1 deletes. `replace`:
-- what no record names is deleted, and the length -2 says that it stays as it is. The answer has a line `full S|C key` for each
-- that finds no room; all others are stored.
local function store(data, replace)
    local at, named, full, has_index = 1, { S = {}, C = {} }, {}, false
    while at <= #data do
        local from, to, which, key_length, length = data:find("^([SC]) (%d+) (%-?%d+)\n", at)
        if not from then
            return nil, "malformed record"
        end
        local dict = which == "S" and state or certificates
        key_length, length = tonumber(key_length), tonumber(length)
        local key = data:sub(to + 1, to + key_length)
        at = to + 1 + key_length
        named[which][key] = true
        has_index = has_index or key:sub(1, 6) == "index/" and length >= 0
        if length == -1 then
            dict:delete(key)
        elseif length >= 0 then
            local had = dict:get(key)
            if not dict:safe_set(key, data:sub(at, at + length - 1)) then
                if had then     -- it is gone by now, but there is room for it
                    dict:safe_set(key, had)
                end
                full[#full + 1] = "full " .. which .. " " .. key .. "\n"
            end
            at = at + length
        end
    end
    if replace then
        for which, dict in pairs({ S = state, C = certificates }) do
            for _, key in ipairs(dict:get_keys(0)) do
                if not named[which][key] and not (which == "S" and OWN[key]) then
                    dict:delete(key)
                end
            end
        end
    end
    if has_index then
        state:incr("routes", 1, 0)
    end
    version.raise()
    return table.concat(full) .. "ok\n"
end

-- Records `length i|-\n` pattern; the answer has a line for each: empty, or why it does not compile.
local function patterns(data)
    local at, answers = 1, {}
    while at <= #data do
        local from, to, length, options = data:find("^(%d+) ([i-])\n", at)
        if not from then
            return nil, "malformed record"
        end
        length = tonumber(length)
        local pattern = data:sub(to + 1, to + length)
        at = to + 1 + length
        local _, _, why = ngx.re.find("", pattern, options == "i" and "i" or "")
        answers[#answers + 1] = (why or ""):gsub("[\r\n]", " ")
    end
    return table.concat(answers, "\n") .. "\n"
end

local SETTLE = 3

-- Connections but for this one. For some seconds there is always one to come: others have not heard yet that nothing should be
-- sent here any more. Idle ones may be used once more in that time, and so end of their own accord; then they do not count.
local function left()
    local active, idle = tonumber(ngx.var.connections_active) - 1, tonumber(ngx.var.connections_waiting)
    local since = state:get("draining")
    if not since then
        return math.max(0, active)
    end
    return ngx.now() - since < SETTLE and math.max(1, active) or math.max(0, active - idle)
end

function _M.serve(loaded)
    local uri = ngx.var.uri
    local answer, why
    if uri == "/store" or uri == "/replace" then
        answer, why = store(body(), uri == "/replace")
    elseif uri == "/patterns" then
        answer, why = patterns(body())
    elseif uri == "/state" then
        answer = string.format("loaded %s\nholder %s\ndraining %s\n", loaded, state:get("holder") or "",
                               state:get("draining") and "1" or "")
    elseif uri == "/drain" then
        state:set("draining", ngx.now())     -- from now on every answer ends its connection
        version.raise()
        answer = "draining\n"
    elseif uri == "/active" then
        answer = "connections: " .. left() .. "\n"
    else
        return ngx.exit(404)
    end
    if not answer then
        ngx.status = 500
        answer = tostring(why) .. "\n"
    end
    ngx.header["Content-Length"] = #answer
    ngx.print(answer)
end

function _M.ready()
    local is_ready = state:get("ready") == "1" and not state:get("draining")
    local answer = is_ready and "ready\n" or state:get("draining") and "draining\n" or "no configuration yet\n"
    ngx.status = is_ready and 200 or 503
    ngx.header["Content-Length"] = #answer
    ngx.print(answer)
end

return _M
