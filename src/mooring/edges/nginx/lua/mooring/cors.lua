-- May this origin read the answer, and what may it send? Fetch standard, section 3.2.

local _M = {}

local concat = table.concat

local function allowed(cors, origin)
    for _, one in ipairs(cors.origins) do
        if one == "*" or one == origin then
            return one
        end
        local from, to = one:find("*", 1, true)
        if from then
            local before, after = one:sub(1, from - 1), one:sub(to + 1)
            local label = origin:sub(#before + 1, #origin - #after)
            if #origin > #before + #after and origin:sub(1, #before) == before and origin:sub(-#after) == after
               and label:find("^[%w_-]+$") then
                return one
            end
        end
    end
end

local function write(cors, origin, by)
    local header = ngx.header
    if by == "*" and not cors.credentials then
        header["Access-Control-Allow-Origin"] = "*"
    else
        header["Access-Control-Allow-Origin"] = origin
        local vary = header["Vary"]
        if type(vary) == "table" then
            vary[#vary + 1] = "Origin"
            header["Vary"] = vary
        else
            header["Vary"] = vary and vary .. ", Origin" or "Origin"
        end
    end
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
    local by = allowed(cors, origin)
    if not by then
        return
    end
    local header = ngx.header
    ngx.ctx.preflight = true
    write(cors, origin, by)
    if #cors.methods > 0 then
        header["Access-Control-Allow-Methods"] = concat(cors.methods, ", ")
    end
    if #cors.headers > 0 then
        header["Access-Control-Allow-Headers"] = concat(cors.headers, ", ")
    end
    header["Access-Control-Max-Age"] = cors.max_age
    return ngx.exit(204)
end

function _M.answer(cors)
    local origin = ngx.var.http_origin
    local by = origin and not ngx.ctx.preflight and allowed(cors, origin)
    if by then
        write(cors, origin, by)
        if #cors.expose > 0 then
            ngx.header["Access-Control-Expose-Headers"] = concat(cors.expose, ", ")
        end
    end
end

return _M
