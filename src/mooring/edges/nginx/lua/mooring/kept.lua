-- Which path has a request whose escaped slashes are parts of its elements?
--
-- NGINX takes them for slashes. So such a request's path is made here, as the rules see it: decoded, but for `%2F`, `%5C` and
-- `%25`, which says `%`. Beside it `$m_target` is what the backend is told. Of all other requests that is empty.

local _M = {}

local KEPT = { ["2f"] = true, ["5c"] = true, ["25"] = true }

function _M.is(var)
    if not _M.data.keeps then
        return false
    end
    local target = var.m_target
    return target ~= nil and target ~= ""
end

-- The path as the rules see it is the backend's from now on.
function _M.to(path)
    local args = ngx.var.args
    ngx.var.m_target = args and args ~= "" and path .. "?" .. args or path
end

local function decoded(escape, digits)
    return KEPT[digits:lower()] and escape or string.char(tonumber(digits, 16))
end

-- RFC 3986, 2.3: they mean the same, escaped or not.
local function unreserved(escape, digits)
    local character = string.char(tonumber(digits, 16))
    return character:find("^[%w._~-]$") and character or escape
end

-- The path as the rules see it, and as it is sent: dots resolved, slashes merged. Nil if it climbs above the root.
function _M.normalised(request_uri)
    local path = request_uri:gsub("^%a[%w+.-]*://[^/?]*", ""):match("^[^?]*")
    local kept, is_folder = {}, true
    for element in path:gmatch("[^/]+") do
        element = element:gsub("(%%(%x%x))", unreserved)
        is_folder = element == "." or element == ".."
        if element == ".." then
            if #kept == 0 then
                return nil
            end
            kept[#kept] = nil
        elseif element ~= "." then
            kept[#kept + 1] = element
        end
    end
    is_folder = (is_folder or path:sub(-1) == "/") and #kept > 0
    local sent = "/" .. table.concat(kept, "/") .. (is_folder and "/" or "")
    return sent:gsub("(%%(%x%x))", decoded), sent
end

-- For rules, which know `%` as itself.
function _M.plain(path)
    return (path:gsub("%%25", "%%"))
end

-- Of a path as the rules see it.
function _M.encoded(path)
    return (ngx.escape_uri(path, 0):gsub("(%%25(%x%x))", function(escape, digits)
        return KEPT[digits:lower()] and "%" .. digits or escape
    end))
end

return _M
