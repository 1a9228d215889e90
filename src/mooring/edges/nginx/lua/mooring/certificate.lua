-- Which certificate is shown? By the name asked for, from the shared dicts, so that a new one needs no reload.

local _M = {}

local ssl = require "ngx.ssl"

local state, certificates = ngx.shared.mooring, ngx.shared.mooring_certificates
local parsed = {}     -- by key: { raw, chain, key }

local function named(listener, name)
    return state:get("sni/" .. listener .. "/" .. name)
end

local function key_for(listener, name)
    if name then
        name = name:lower()
        local found = named(listener, name) or named(listener, "*" .. (name:match("%..+$") or "."))
        if found then
            return found
        end
    end
    return named(listener, "*")
end

function _M.prune()
    for key in pairs(parsed) do
        if not certificates:ttl(key) then
            parsed[key] = nil
        end
    end
end

function _M.serve(listener)
    local key = key_for(listener, ssl.server_name())
    local raw = key and certificates:get(key)
    if not raw then     -- it found no room: the one of unknown names is better than no answer
        key = named(listener, "*")
        raw = key and certificates:get(key)
    end
    if not raw then
        return ngx.exit(ngx.ERROR)
    end
    local entry = parsed[key]
    if not entry or entry.raw ~= raw then
        local at = raw:find("\0", 1, true)
        local chain, why = ssl.parse_pem_cert(raw:sub(1, at - 1))
        local private
        if chain then
            private, why = ssl.parse_pem_priv_key(raw:sub(at + 1))
        end
        if not private then
            ngx.log(ngx.ERR, "certificate ", key, ": ", why)
            return ngx.exit(ngx.ERROR)
        end
        entry = { raw = raw, chain = chain, key = private }
        parsed[key] = entry
    end
    ssl.clear_certs()
    local ok, why = ssl.set_cert(entry.chain)
    if ok then
        ok, why = ssl.set_priv_key(entry.key)
    end
    if not ok then
        ngx.log(ngx.ERR, "certificate ", key, ": ", why)
        return ngx.exit(ngx.ERROR)
    end
end

return _M
