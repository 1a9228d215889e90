"""Which passwords can Envoy ask for? {SHA} by a filter of its own. apr1, which `htpasswd` makes unless asked, and MD5-crypt by
Lua, and then all of the route's.

https://httpd.apache.org/docs/2.4/misc/password_encryptions.html
"""

import base64
import re

from mooring.routing.table import BasicAuth

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MD5 = re.compile(r"\$(?:apr1|1)\$[A-Za-z0-9./]{0,8}\$[A-Za-z0-9./]{22}")
_DIGEST_OCTETS = 20


def users(auth: BasicAuth) -> tuple[tuple[str, str], ...]:
    """Those that Envoy can ask for a password, the first of each name."""
    found: dict[str, str] = {}
    for name, digest in auth.users:
        if name and ":" not in name and not _CONTROL.search(name) and (_is_sha(digest) or _MD5.fullmatch(digest)):
            found.setdefault(name, digest)
    return tuple(sorted(found.items()))


def is_by_script(auth: BasicAuth) -> bool:
    return any(not digest.startswith("{SHA}") for _, digest in users(auth))


def _is_sha(digest: str) -> bool:
    if not digest.startswith("{SHA}"):
        return False
    try:
        return len(base64.b64decode(digest[5:], validate=True)) == _DIGEST_OCTETS
    except ValueError:
        return False


PROGRAM = r"""
local bit = require("bit")
local band, bor, bxor, bnot, rol, tobit = bit.band, bit.bor, bit.bxor, bit.bnot, bit.rol, bit.tobit
local lshift, rshift = bit.lshift, bit.rshift
local SINES, SHIFTS = {}, {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21}
for i = 1, 64 do SINES[i] = tobit(math.floor(math.abs(math.sin(i)) * 4294967296)) end

local function big(word)
  return string.char(band(rshift(word, 24), 255), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
end

local function little(word) return string.reverse(big(word)) end

local function padded(text, length) return text .. "\128" .. string.rep("\0", (55 - #text) % 64) .. length end

local function md5(text)
  text = padded(text, little(#text * 8) .. little(0))
  local a, b, c, d = tobit(0x67452301), tobit(0xefcdab89), tobit(0x98badcfe), tobit(0x10325476)
  local x = {}
  for at = 1, #text, 64 do
    for i = 0, 15 do
      local p, q, r, s = string.byte(text, at + i * 4, at + i * 4 + 3)
      x[i] = bor(p, lshift(q, 8), lshift(r, 16), lshift(s, 24))
    end
    local A, B, C, D = a, b, c, d
    for i = 0, 63 do
      local round, f, g = math.floor(i / 16), nil, nil
      if round == 0 then f, g = bor(band(B, C), band(bnot(B), D)), i
      elseif round == 1 then f, g = bor(band(D, B), band(bnot(D), C)), (5 * i + 1) % 16
      elseif round == 2 then f, g = bxor(B, C, D), (3 * i + 5) % 16
      else f, g = bxor(C, bor(B, bnot(D))), (7 * i) % 16 end
      local sum = rol(tobit(A + f + SINES[i + 1] + x[g]), SHIFTS[round * 4 + i % 4 + 1])
      A, D, C, B = D, C, B, tobit(B + sum)
    end
    a, b, c, d = tobit(a + A), tobit(b + B), tobit(c + C), tobit(d + D)
  end
  return little(a) .. little(b) .. little(c) .. little(d)
end

local function sha1(text)
  text = padded(text, big(0) .. big(#text * 8))
  local h = {tobit(0x67452301), tobit(0xefcdab89), tobit(0x98badcfe), tobit(0x10325476), tobit(0xc3d2e1f0)}
  local w = {}
  for at = 1, #text, 64 do
    for i = 0, 15 do
      local p, q, r, s = string.byte(text, at + i * 4, at + i * 4 + 3)
      w[i] = bor(lshift(p, 24), lshift(q, 16), lshift(r, 8), s)
    end
    for i = 16, 79 do w[i] = rol(bxor(w[i - 3], w[i - 8], w[i - 14], w[i - 16]), 1) end
    local a, b, c, d, e = h[1], h[2], h[3], h[4], h[5]
    for i = 0, 79 do
      local f, k
      if i < 20 then f, k = bor(band(b, c), band(bnot(b), d)), 0x5a827999
      elseif i < 40 then f, k = bxor(b, c, d), 0x6ed9eba1
      elseif i < 60 then f, k = bor(band(b, c), band(b, d), band(c, d)), 0x8f1bbcdc
      else f, k = bxor(b, c, d), 0xca62c1d6 end
      a, b, c, d, e = tobit(rol(a, 5) + f + e + k + w[i]), a, rol(b, 30), c, d
    end
    for i, word in ipairs({a, b, c, d, e}) do h[i] = tobit(h[i] + word) end
  end
  return big(h[1]) .. big(h[2]) .. big(h[3]) .. big(h[4]) .. big(h[5])
end

local ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

local function in_64(word, count)
  local out = ""
  for _ = 1, count do
    local at = band(word, 63) + 1
    out, word = out .. string.sub(ITOA64, at, at), rshift(word, 6)
  end
  return out
end

local function crypted(password, magic, salt)
  local final = md5(password .. salt .. password)
  local text = password .. magic .. salt .. string.sub(string.rep(final, math.ceil(#password / 16)), 1, #password)
  local left = #password
  while left > 0 do
    text = text .. (left % 2 == 1 and "\0" or string.sub(password, 1, 1))
    left = math.floor(left / 2)
  end
  final = md5(text)
  for i = 0, 999 do
    local odd = i % 2 == 1
    final = md5((odd and password or final) .. (i % 3 ~= 0 and salt or "") .. (i % 7 ~= 0 and password or "")
      .. (odd and final or password))
  end
  local octet = function(i) return string.byte(final, i + 1) end
  local out = ""
  for _, at in ipairs({{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}}) do
    out = out .. in_64(bor(lshift(octet(at[1]), 16), lshift(octet(at[2]), 8), octet(at[3])), 4)
  end
  return magic .. salt .. "$" .. out .. in_64(octet(11), 2)
end

local BASE64 = {}
for i = 0, 25 do BASE64[string.char(65 + i)], BASE64[string.char(97 + i)] = i, 26 + i end
for i = 0, 9 do BASE64[tostring(i)] = 52 + i end
BASE64["+"], BASE64["/"] = 62, 63

local function unbased(text)
  local out, word, bits = {}, 0, 0
  for c in string.gmatch(text, "[%w+/]") do
    word, bits = word * 64 + BASE64[c], bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[#out + 1] = string.char(math.floor(word / 2 ^ bits))
      word = word % 2 ^ bits
    end
  end
  return table.concat(out)
end

local LONGEST_PASSWORD = 256
-- Those that were right: the same again is not computed again.
local proven, provings = {}, 0

local function is_right(handle, users, header)
  local coded = string.match(header or "", "^[Bb][Aa][Ss][Ii][Cc] +([%w+/=]+)$")
  local name, password = string.match(coded and unbased(coded) or "", "^([^:]*):(.*)$")
  local hash = name and users[name]
  if not hash or #password > LONGEST_PASSWORD then return false end
  local key = hash .. " " .. coded
  if proven[key] then return true end
  local magic, salt = string.match(hash, "^(%$%w+%$)([^$]*)%$")
  local right
  if magic then right = crypted(password, magic, salt) == hash
  else right = "{SHA}" .. handle:base64Escape(sha1(password)) == hash end
  if right then
    if provings >= 1000 then proven, provings = {}, 0 end
    proven[key], provings = true, provings + 1
  end
  return right
end
"""
"""The part of the routes' program that judges a password: MD5 (RFC 1321), SHA-1 (RFC 3174), crypt's rounds, base64."""
