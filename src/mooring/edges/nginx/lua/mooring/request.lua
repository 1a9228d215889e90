-- What is changed about a request before it goes on?

local _M = {}

local template = require "mooring.template"
local cors = require "mooring.cors"
local kept = require "mooring.kept"

-- Sets the path, which is decoded: a `?` in it is a part of it.
local function set_path(path)
    if path:sub(1, 1) ~= "/" then
        path = "/" .. path
    end
    ngx.req.set_uri(path)
    if kept.is(ngx.var) then
        kept.to(kept.encoded(path))
    end
end

-- The matched prefix replaced, one slash in between.
function _M.replaced(change, uri)
    if change.whole then
        return change.value
    end
    local prefix = change.prefix:gsub("/+$", "")
    local rest = uri:sub(#prefix + 1)
    if rest == "" and change.value ~= "" then
        return change.value
    end
    local value = change.value:gsub("/+$", "")
    if rest:sub(1, 1) ~= "/" then
        rest = "/" .. rest
    end
    local whole = value .. rest
    return whole == "" and "/" or whole
end

local function rewritten(change, uri)
    if not change.pattern then
        return (_M.replaced(change, uri))
    end
    local groups, why = ngx.re.match(uri, change.pattern, change.ignore_case and "joi" or "jo")
    if why then
        ngx.log(ngx.ERR, "pattern ", change.pattern, ": ", why)
        return ngx.exit(500)
    end
    if not groups then
        return uri
    end
    local texts = {}
    for i, part in ipairs(change.substitution) do
        texts[i] = type(part) == "number" and (groups[part] or "") or part
    end
    return table.concat(texts)
end

function _M.change(leaf)
    if leaf.cors then
        cors.preflight(leaf.cors)
    end
    if leaf.add then
        local had = ngx.req.get_headers(0)
        for _, one in ipairs(leaf.add) do
            local values = had[one[1]]
            values = type(values) == "table" and values or values and { values } or {}
            values[#values + 1] = template(one[2])
            ngx.req.set_header(one[1], values)
        end
    end
    if leaf.rewrite then
        set_path(rewritten(leaf.rewrite, ngx.var.uri))
    end
end

-- The question to the authentication server.
function _M.question(leaf)
    local path, query = template(leaf.question):match("^([^?]*)%??(.*)$")
    ngx.req.set_uri(path ~= "" and ngx.unescape_uri((path:gsub("%+", "%%2B"))) or "/")
    ngx.req.set_uri_args(query)
end

function _M.mirror(mirror)
    if mirror.percent < 100 and math.random() * 100 >= mirror.percent then
        return ngx.exit(204)
    end
    local sent = kept.is(ngx.var) and ngx.var.m_target
    local target = mirror.path and template(mirror.path) or sent or ngx.var.request_uri
    if sent then
        ngx.var.m_mirrored = target
    end
    local path, query = target:match("^([^?]*)%??(.*)$")
    ngx.req.set_uri(path ~= "" and ngx.unescape_uri((path:gsub("%+", "%%2B"))) or "/")
    ngx.req.set_uri_args(query)
end

-- Not where most are answered, for that says the usual of HSTS.
local function refused()
    ngx.status = 400
    return ngx.exec("@said")
end

-- Gives a request with an unclean path one that is as the rules see it, which is what its backend is told, too.
function _M.clean()
    local var = ngx.var
    local unclean, uri = var.m_unclean, var.uri
    var.m_group = ""     -- what is refused here was not looked up
    if unclean == "bad" then
        return refused()
    elseif unclean == "kept" then     -- whose path is its own
        local sent
        uri, sent = kept.normalised(var.request_uri)
        if not uri then
            return refused()
        elseif uri:sub(1, 11) == "/:mooring:/" then
            return ngx.exit(404)
        end
        kept.to(sent)
    end
    ngx.req.set_uri(uri)
end

return _M
