-- What does the gateway answer itself, and what does it change about answers?

local _M = {}

local template = require "mooring.template"
local cors = require "mooring.cors"
local kept = require "mooring.kept"
local request = require "mooring.request"
local state = require "mooring.state"

local function set_cookie(affinity, member)
    local parts = { affinity.name .. "=" .. state.name_of(member), "Path=" .. affinity.path, "HttpOnly" }
    if affinity.domain ~= "" then
        parts[#parts + 1] = "Domain=" .. affinity.domain
    end
    if affinity.seconds > 0 then
        parts[#parts + 1] = "Max-Age=" .. affinity.seconds
        parts[#parts + 1] = "Expires=" .. ngx.cookie_time(ngx.time() + affinity.seconds)
    end
    if affinity.same_site ~= "" then
        parts[#parts + 1] = "SameSite=" .. affinity.same_site
    end
    if affinity.secure == true or affinity.secure == nil and ngx.var.scheme == "https" then
        parts[#parts + 1] = "Secure"
    end
    local had = ngx.header["Set-Cookie"]
    had = type(had) == "table" and had or had and { had } or {}
    had[#had + 1] = table.concat(parts, "; ")
    ngx.header["Set-Cookie"] = had
end

function _M.change(leaf)
    local header = ngx.header
    if leaf.cors then
        cors.answer(leaf.cors)
    end
    local affinity, chosen = leaf.affinity, ngx.ctx.chosen
    if affinity and chosen then
        local had = ngx.var["cookie_" .. affinity.name]
        if had ~= state.name_of(chosen) and (not had or not ngx.ctx.moved or affinity.change_on_failure) then
            set_cookie(affinity, chosen)
        end
    end
    local cookies = leaf.auth_cookies and ngx.var.m_auth_cookies
    if cookies and cookies ~= "" and (leaf.auth_cookies == "always" or ngx.status < 400) then
        local had = header["Set-Cookie"]
        had = type(had) == "table" and had or had and { had } or {}
        had[#had + 1] = cookies
        header["Set-Cookie"] = had
    end
    local change = leaf.response
    if change then
        for _, name in ipairs(change.remove) do
            header[name] = nil
        end
        for _, one in ipairs(change.set) do
            header[one[1]] = template(one[2])
        end
        for _, one in ipairs(change.add) do
            local had = header[one[1]]
            had = type(had) == "table" and had or had and { had } or {}
            had[#had + 1] = template(one[2])
            header[one[1]] = had
        end
        if header["Strict-Transport-Security"] then
            ngx.var.m_hsts = "own"
        end
    end
end

local function location(redirect)
    if redirect.url then
        return template(redirect.url)
    end
    local scheme = redirect.scheme ~= "" and redirect.scheme or ngx.var.m_forwarded_proto
    local host = redirect.host ~= "" and redirect.host or ngx.var.host
    local port = ""
    if redirect.port == nil then
        port = (ngx.var.http_host or ""):match(":%d+$") or ""
    elseif redirect.port > 0 then
        port = ":" .. redirect.port
    end
    local path
    if redirect.path then
        path = request.replaced(redirect.path, ngx.var.uri)
        path = kept.is(ngx.var) and kept.encoded(path) or ngx.escape_uri(path, 0)
        local args = ngx.var.args
        if args and args ~= "" then
            path = path .. "?" .. args
        end
    else
        path = ngx.var.request_uri:gsub("^%a[%w+.-]*://[^/?]*", "")
        if path:sub(1, 1) ~= "/" then
            path = "/" .. path
        end
    end
    return scheme .. "://" .. host .. port .. path
end

-- NGINX names itself where nobody else is named.
local function unnamed()
    if _M.data.server == "" then
        ngx.header["Server"] = nil
    end
end

local function say(status, content_type, body)
    ngx.status = status
    if status == 204 or status == 304 then
        return ngx.exit(status)
    end
    unnamed()
    ngx.header["Content-Type"] = content_type
    ngx.header["Content-Length"] = #body
    ngx.print(body)
end

-- Of a request that is refused before its host was looked up nobody knows whether that wants HSTS.
local function without_host()
    local var = ngx.var
    if (var.m_route or "") == "" and (var.m_group or "") == "" then
        var.m_hsts = "-"
    end
end

-- No more than the status, the one that NGINX found if none is given: neither why, nor who says so.
-- Its headers are changed as those of any answer of the route.
function _M.said(status, leaf)
    ngx.status = status or ngx.status
    unnamed()
    without_host()
    ngx.header["Content-Type"] = nil
    if leaf then
        _M.change(leaf)
    end
    ngx.header["Content-Length"] = 0
    ngx.send_headers()
    return ngx.exit(ngx.OK)
end

function _M.act(leaf)
    ngx.req.discard_body()
    if leaf.redirect then
        ngx.header["Location"] = location(leaf.redirect)
        return say(leaf.redirect.status, "text/plain", "")
    end
    return say(leaf.answer.status, leaf.answer.content_type, leaf.answer.body)
end

function _M.sign_in(leaf)
    ngx.header["Location"] = template(leaf.sign_in)
    ngx.header["WWW-Authenticate"] = nil
    return say(302, "text/plain", "")
end

-- A client without a good certificate. Was it asked for one, because it asked for one of these names when it connected?
function _M.unverified(page, ...)
    local name = (ngx.var.ssl_server_name or ""):lower()
    local wildcard, negotiated = "*" .. (name:match("%..+$") or ""), false
    for i = 1, select("#", ...) do
        local one = select(i, ...)
        negotiated = negotiated or one == name or one == wildcard or one == "*"
    end
    if negotiated and page ~= "" then
        without_host()
        ngx.header["Location"] = page
        return say(302, "text/plain", "")
    end
    return _M.said(negotiated and 400 or 421)
end

-- After NGINX's own 502: without any endpoint it is a 503; a gRPC client gets a status that it understands.
function _M.failed(leaf)
    local nobody = (ngx.var.upstream_addr or "") == ""
    local status = nobody and 503 or 502
    if leaf and leaf.pages and leaf.pages[status] then
        return ngx.exec(leaf.pages[status])
    end
    if (ngx.var.content_type or ""):sub(1, 16) == "application/grpc" then
        ngx.header["grpc-status"] = 14
        ngx.header["grpc-message"] = nobody and "no ready endpoint" or "the endpoint did not answer"
        return say(200, "application/grpc", "")
    end
    return _M.said(status, leaf)
end

return _M
