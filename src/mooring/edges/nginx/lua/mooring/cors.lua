-- May this origin read the answer, and what may it send? Fetch standard, section 3.2.

local _M = {}

local concat = table.concat

local function allowed(cors, origin)
    for _, one in ipairs(cors.origins) do
        if one == "*" or one == origin then
            return true
        end
        local from, to = one:find("*", 1, true)
        if from then
            local before, after = one:sub(1, from - 1), one:sub(to + 1)
            local label = origin:sub(#before + 1, #origin - #after)
            if #origin > #before + #after and origin:sub(1, #before) == before and origin:sub(-#after) == after
               and label:find("^[%w_-]+$") then
                return true
            end
        end
    end
    return false
end

local function write(cors, origin)
    local header = ngx.header
    header["Access-Control-Allow-Origin"] = origin
    if cors.credentials then
        header["Access-Control-Allow-Credentials"] = "true"
    end
end

-- Answers a preflight; returns otherwise.
function _M.preflight(cors)
    local origin = ngx.var.http_origin
    if not origin or ngx.req.get_method() ~= "OPTIONS" or not ngx.var.http_access_control_request_method then
        return
    end
    if not allowed(cors, origin) then
        return
    end
    local header = ngx.header
    ngx.ctx.preflight = true
    write(cors, origin)
    if #cors.methods > 0 then
        header["Access-Control-Allow-Methods"] = concat(cors.methods, ", ")
    end
    if #cors.headers > 0 then
        header["Access-Control-Allow-Headers"] = concat(cors.headers, ", ")
    end
    header["Access-Control-Max-Age"] = cors.max_age
    return ngx.exit(204)
end

-- Caches keep an answer for the scripts of the one origin that it names, or of none.
local function vary(header)
    local had = header["Vary"]
    if type(had) == "table" then
        had[#had + 1] = "Origin"
        header["Vary"] = had
    else
        header["Vary"] = had and had .. ", Origin" or "Origin"
    end
end

function _M.answer(cors)
    vary(ngx.header)
    local origin = ngx.var.http_origin
    if origin and not ngx.ctx.preflight and allowed(cors, origin) then
        write(cors, origin)
        if #cors.expose > 0 then
            ngx.header["Access-Control-Expose-Headers"] = concat(cors.expose, ", ")
        end
    end
end

return _M
