-- What does a template say of this request?

local kept = require "mooring.kept"

local escape_uri = ngx.escape_uri

local variables = {
    scheme = function() return ngx.var.m_forwarded_proto end,
    host = function() return ngx.var.host end,
    request_uri = function() return ngx.var.request_uri end,
    escaped_request_uri = function() return escape_uri(ngx.var.request_uri) end,
    uri = function() return kept.is(ngx.var) and kept.encoded(ngx.var.uri) or escape_uri(ngx.var.uri, 0) end,
    args = function() return ngx.var.args or "" end,
    request_method = function() return ngx.var.request_method end,
    remote_addr = function() return ngx.var.remote_addr end,
    request_id = function() return ngx.var.m_request_id end,
}

-- `parts`: strings as they are, tables of one word for a variable.
return function(parts)
    local texts = {}
    for i, part in ipairs(parts) do
        texts[i] = type(part) == "table" and (variables[part[1]]() or "") or part
    end
    return table.concat(texts)
end
