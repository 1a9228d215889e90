"""What do Envoy's own filters not do? One Lua program for all routes, each of which hands it a context.

Long because it is one program in another language; its parts are named below in the order they run. The context of a route is
made in context.py, and a filter without one is not run at all. Whatever fails here fails closed: a redirect's own action is a
direct response of 500, and where somebody must be asked, the next filter lets on only what is marked as authorised.
"""

from mooring.routing.xds import passwords

ROUTE = (
    passwords.PROGRAM
    + r"""
local SAVED = "mooring"
local function set(...)
  local out = {}
  for _, name in ipairs({...}) do out[name] = true end
  return out
end

local ADDS_HEADER = set("200", "201", "204", "206", "301", "302", "303", "304", "307", "308")
local HOP = set("content-length", "transfer-encoding", "connection", "upgrade", "te", "expect", "x-forwarded-proto")

-- The variables of a template

local function without_port(authority)
  return (string.gsub(authority, ":%d+$", ""))
end

local function escaped(text)
  return (string.gsub(text, "[^%w%-._~]", function(c) return string.format("%%%02X", string.byte(c)) end))
end

local function split(path)
  local at = string.find(path, "?", 1, true)
  if at then return string.sub(path, 1, at - 1), string.sub(path, at + 1) end
  return path, ""
end

local function client(handle)
  local address = string.gsub(handle:streamInfo():downstreamRemoteAddress(), ":%d+$", "")
  return (string.gsub(address, "[%[%]]", ""))
end

local VALUE = {
  scheme = function(h) return h:get("x-forwarded-proto") or "http" end,
  host = function(h) return without_port(string.lower(h:get(":authority") or "")) end,
  request_uri = function(h) return h:get(":path") or "/" end,
  escaped_request_uri = function(h) return escaped(h:get(":path") or "/") end,
  uri = function(h) local path = split(h:get(":path") or "/"); return path end,
  args = function(h) local _, query = split(h:get(":path") or "/"); return query end,
  request_method = function(h) return h:get(":method") or "" end,
  remote_addr = function(_, handle) return client(handle) end,
  request_id = function(h) return h:get("x-request-id") or "" end,
}

local function filled(parts, headers, handle)
  local out = {}
  for i, part in ipairs(parts) do
    if type(part) == "table" then out[i] = VALUE[part.variable](headers, handle) else out[i] = part end
  end
  return table.concat(out)
end

-- Header changes: removed, set, added

local function change(headers, changes)
  for _, name in ipairs(changes.remove or {}) do headers:remove(name) end
  for _, pair in ipairs(changes.set or {}) do headers:replace(pair.name, pair.text) end
  for _, pair in ipairs(changes.add or {}) do headers:add(pair.name, pair.text) end
end

local function resolved(changes, headers, handle)
  local out = {remove = changes.remove, set = {}, add = {}}
  for _, kind in ipairs({"set", "add"}) do
    for i, pair in ipairs(changes[kind] or {}) do
      out[kind][i] = {name = pair.name, text = filled(pair.parts, headers, handle)}
    end
  end
  return out
end

-- External authentication

local function save(handle, key, value)
  handle:streamInfo():dynamicMetadata():set(SAVED, key, value)
end

local function saved(handle)
  return handle:streamInfo():dynamicMetadata():get(SAVED) or {}
end

local function all(value)
  if type(value) == "table" then return value end
  return {value}
end

local function question(handle, auth, headers)
  local out = {}
  for name, value in pairs(headers) do
    if not string.find(name, "^:") and not string.find(name, "^x%-envoy") and not HOP[name] then
      if out[name] then out[name] = out[name] .. (name == "cookie" and "; " or ",") .. value else out[name] = value end
    end
  end
  out[":method"] = auth.method ~= "" and auth.method or headers:get(":method")
  out[":path"] = filled(auth.path, headers, handle)
  out[":authority"] = auth.host
  out["x-original-url"] = VALUE.scheme(headers) .. "://" .. headers:get(":authority") .. headers:get(":path")
  out["x-original-method"] = headers:get(":method")
  out["x-auth-request-redirect"] = headers:get(":path")
  out["x-sent-from"] = "mooring"
  out["x-real-ip"] = client(handle)
  out["x-forwarded-for"] = client(handle)
  for _, pair in ipairs(auth.give or {}) do out[pair.name] = filled(pair.parts, headers, handle) end
  return out
end

local function refused(handle, auth, answer, body)
  local status = answer[":status"]
  if status == "401" and auth.sign_in then
    local out = {[":status"] = "302", ["location"] = filled(auth.sign_in, handle:headers(), handle)}
    if answer["set-cookie"] then out["set-cookie"] = answer["set-cookie"] end
    return handle:respond(out, "")
  end
  if status == "401" or status == "403" then
    local out = {[":status"] = status}
    for _, name in ipairs({"www-authenticate", "set-cookie", "content-type", "location"}) do out[name] = answer[name] end
    return handle:respond(out, body or "")
  end
  return handle:respond({[":status"] = "500"}, "")
end

-- True when the request may go on.
local function authorised(handle, auth)
  if auth.satisfy_any then
    local access = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.rbac")
    if access and access["shadow_engine_result"] == "allowed" then
      save(handle, "authorised", true)
      return true
    end
  end
  local known, answer, body = pcall(handle.httpCall, handle, auth.cluster, question(handle, auth, handle:headers()), nil,
    {["timeout_ms"] = auth.timeout, ["return_duplicate_headers"] = true, ["send_xff"] = false})
  local status = known and tonumber(answer[":status"]) or 500
  if status < 200 or status > 299 then
    refused(handle, auth, known and answer or {}, body)
    return false
  end
  -- What was taken from the handle before the call is not valid after it.
  local headers = handle:headers()
  for _, name in ipairs(auth.take or {}) do
    local values = answer[name]
    headers:remove(name)
    if values then for _, value in ipairs(all(values)) do headers:add(name, value) end end
  end
  save(handle, "authorised", true)
  if answer["set-cookie"] then save(handle, "cookies", all(answer["set-cookie"])) end
  return true
end

-- Redirects

local DEFAULT = {http = "80", https = "443"}

-- One slash joins a new prefix to the rest.
local function rejoined(prefix, rest)
  local tail = string.gsub(rest, "^/+", "")
  if tail == "" then
    if rest ~= "" and string.sub(prefix, -1) ~= "/" then prefix = prefix .. "/" end
    return prefix ~= "" and prefix or "/"
  end
  return string.gsub(prefix, "/+$", "") .. "/" .. tail
end

local function location(handle, redirect, headers)
  if redirect.url then return filled(redirect.url, headers, handle) end
  local scheme = VALUE.scheme(headers)
  local port = redirect.port
  if not port then
    port = string.match(headers:get(":authority") or "", ":(%d+)$") or ""
    if port == DEFAULT[scheme] then port = "" end
  end
  if redirect.scheme ~= "" then scheme = redirect.scheme end
  local authority = redirect.host ~= "" and redirect.host or VALUE.host(headers)
  if port ~= "" and port ~= DEFAULT[scheme] then authority = authority .. ":" .. port end
  local path, query = split(headers:get(":path"))
  if redirect.path then path = rejoined(redirect.path, redirect.octets < 0 and "" or string.sub(path, redirect.octets + 1)) end
  return scheme .. "://" .. authority .. path .. (query ~= "" and "?" .. query or "")
end

-- Error pages

local function replaced(handle, pages, request)
  local status = handle:headers():get(":status")
  local headers = {[":method"] = "GET", [":path"] = "/", [":authority"] = request.host or "error-pages",
    ["x-code"] = status, ["x-format"] = request.accept or "*/*", ["x-original-uri"] = request.uri or "/",
    ["x-request-id"] = request.id or ""}
  for _, pair in ipairs(pages.headers or {}) do headers[pair.name] = pair.text end
  -- Taken in before the call, or it would be on its way when the answer comes.
  handle:body(true)
  local known, answer, body = pcall(handle.httpCall, handle, pages.cluster, headers, nil,
    {["timeout_ms"] = 5000, ["send_xff"] = false})
  if not known or (answer[":status"] == "503" and not answer["server"] and not answer["date"]) then return end
  local own = handle:headers()
  own:replace(":status", answer[":status"])
  own:remove("content-encoding")
  for name, value in pairs(answer) do
    if not string.find(name, "^:") and not string.find(name, "^x%-envoy") and not HOP[name] then own:replace(name, value) end
  end
  if request.method ~= "HEAD" then own:replace("content-length", tostring(handle:body(true):setBytes(body or ""))) end
end

-- The two halves

function envoy_on_request(handle)
  local context = handle:filterContext()
  local headers = handle:headers()
  if context:get("silent") then save(handle, "logged", false) end
  local limit = context:get("body")
  if limit and (tonumber(headers:get("content-length") or "0") or 0) > limit then
    return handle:respond({[":status"] = "413"}, "")
  end
  if context:get("cors") then save(handle, "asked", true) end
  local pages = context:get("pages")
  if pages then
    save(handle, "request", {host = headers:get(":authority"), accept = headers:get("accept") or "", uri = headers:get(":path"),
      id = headers:get("x-request-id"), method = headers:get(":method")})
  end
  local response = context:get("response")
  if response then save(handle, "response", resolved(response, headers, handle)) end
  local auth, users = context:get("auth"), context:get("users")
  if users then
    if not is_right(handle, users, headers:get("authorization")) then
      return handle:respond({[":status"] = "401", ["www-authenticate"] = "Basic"}, "")
    end
    if not auth then save(handle, "authorised", true) end
  end
  if auth and not authorised(handle, auth) then return end
  context, headers = handle:filterContext(), handle:headers()
  local redirect = context:get("redirect")
  if redirect then
    return handle:respond({[":status"] = redirect.status, ["location"] = location(handle, redirect, headers)}, "")
  end
  local request = context:get("request")
  if request then change(headers, resolved(request, headers, handle)) end
end

function envoy_on_response(handle)
  local context = handle:filterContext()
  local headers = handle:headers()
  local status = headers:get(":status")
  local realm = context:get("realm")
  if realm and status == "401" and headers:get("www-authenticate") then
    headers:replace("www-authenticate", 'Basic realm="' .. realm .. '"')
  end
  local memory = saved(handle)
  if context:get("cors") then
    -- The cors filter has answered a preflight by itself, with 200.
    if not memory.asked and status == "200" then
      headers:replace(":status", "204")
      headers:remove("content-length")
    end
    -- Caches keep an answer for the scripts of the one origin that it names, or of none.
    headers:add("vary", "Origin")
  end
  if memory.cookies and (ADDS_HEADER[status] or context:get("auth").always_set_cookie) then
    for _, cookie in ipairs(memory.cookies) do headers:add("set-cookie", cookie) end
  end
  if memory.response then change(headers, memory.response) end
  local pages = context:get("pages")
  if pages and pages.statuses[status] and memory.request then replaced(handle, pages, memory.request) end
end
"""
)

CLIENTS = r"""
local ERROR_PAGE, REQUIRED, UNVERIFIED, HAND_ON = @ERROR_PAGE@, @REQUIRED@, @UNVERIFIED@, @HAND_ON@

local function refused(handle)
  if ERROR_PAGE ~= "" then return handle:respond({[":status"] = "302", ["location"] = ERROR_PAGE}, "") end
  return handle:respond({[":status"] = "400"}, "")
end

function envoy_on_request(handle)
  local ssl = handle:streamInfo():downstreamSslConnection()
  local presented = ssl ~= nil and ssl:peerCertificatePresented()
  local good = presented and ssl:peerCertificateValidated()
  if REQUIRED and not presented then return refused(handle) end
  if presented and not good and not UNVERIFIED then return refused(handle) end
  local headers = handle:headers()
  headers:replace("ssl-client-verify", good and "SUCCESS" or (presented and "FAILED" or "NONE"))
  if presented then
    headers:replace("ssl-client-subject-dn", ssl:subjectPeerCertificate())
    headers:replace("ssl-client-issuer-dn", ssl:issuerPeerCertificate())
    if HAND_ON then headers:replace("ssl-client-cert", ssl:urlEncodedPemEncodedPeerCertificate()) end
  end
  handle:streamInfo():dynamicMetadata():set("mooring", "certified", true)
end
"""


def clients(error_page: str, required: bool, unverified: bool, hand_on: bool) -> str:
    """The program that judges client certificates, which the handshake let through whatever they were."""
    words = {
        "@ERROR_PAGE@": _quoted(error_page),
        "@REQUIRED@": str(required).lower(),
        "@UNVERIFIED@": str(unverified).lower(),
        "@HAND_ON@": str(hand_on).lower(),
    }
    out = CLIENTS
    for mark, word in words.items():
        out = out.replace(mark, word)
    return out


def _quoted(text: str) -> str:
    """As a Lua string, whatever is in it."""
    return '"' + "".join(f"\\{octet:03d}" for octet in text.encode()) + '"'
