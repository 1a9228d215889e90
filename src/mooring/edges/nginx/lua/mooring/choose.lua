-- Which of a path's routes takes this request, and which of its clusters?

local _M = {}

local state = require "mooring.state"

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
        ngx.log(ngx.ERR, "pattern ", wanted, ": ", why)
        return ngx.exit(500)
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

local function is_true(condition)
    local part, fulfilled = condition.part, nil
    if part == "path" then
        local from, _, why = ngx.re.find(ngx.var.uri, condition.value, condition.ignore_case and "joi" or "jo")
        if why then
            ngx.log(ngx.ERR, "pattern ", condition.value, ": ", why)
            return ngx.exit(500)
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
        local chain = ngx.ctx.chain
        if not chain then
            chain = _M.chain(condition.listener)
            ngx.ctx.chain = chain
        end
        fulfilled = chain == condition.value
    end
    if condition.invert then
        return not fulfilled
    end
    return fulfilled
end

-- The number of the chain that this connection asked for.
function _M.chain(listener)
    local chains = _M.data.chains[listener]
    local name = ngx.var.ssl_server_name
    if not name then
        return chains["*"] or 0
    end
    name = name:lower()
    return chains[name] or chains["*" .. (name:match("%..+$") or "")] or chains["*"] or 0
end

local function arm_of(route)
    local arms = route.arms
    if route.affinity then
        local had = ngx.var["cookie_" .. route.affinity]
        if had then
            for _, arm in ipairs(arms) do
                if state.by_name(state.members(arm.set), had) then
                    return arm
                end
            end
        end
    end
    local weights, sum = state.weights(route.name), 0
    for _, arm in ipairs(arms) do
        sum = sum + (weights[arm.cluster] or 0)
    end
    if sum == 0 then
        return nil
    end
    local at = math.random(sum)
    for _, arm in ipairs(arms) do
        at = at - (weights[arm.cluster] or 0)
        if at <= 0 then
            return arm
        end
    end
end

local function refuse(status)
    ngx.status = status
    ngx.header["Content-Length"] = 0
    ngx.send_headers()
    return ngx.exit(status)
end

function _M.choose(number)
    for _, route in ipairs(_M.data.choices[number]) do
        local all = true
        for _, condition in ipairs(route.conditions) do
            if not is_true(condition) then
                all = false
                break
            end
        end
        if all then
            local length = tonumber(ngx.var.http_content_length)
            if route.body and length and length > route.body then
                return refuse(413)
            end
            local arm = route.to
            if route.arms then
                arm = arm_of(route)
                if not arm then
                    return refuse(503)
                end
                arm = arm.to
            end
            return ngx.exec(arm)
        end
    end
    return refuse(404)
end

return _M
