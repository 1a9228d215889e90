-- What is a request called that nobody has named yet? 128 random bits, as NGINX's `$request_id`, but drawn for many requests at once.

local _M = {}

local ffi = require "ffi"
local base = require "resty.core.base"

ffi.cdef [[
int RAND_bytes(unsigned char *buffer, int count);
unsigned char *ngx_hex_dump(unsigned char *to, const unsigned char *from, size_t count);
]]

local C, get_request, get_string_buf, get_size_ptr = ffi.C, base.get_request, base.get_string_buf, base.get_size_ptr

local OCTETS, LENGTH, MANY = 16, 32, 256
local drawn, written = ffi.new("unsigned char[?]", OCTETS * MANY), ffi.new("unsigned char[?]", LENGTH * MANY)
local at = MANY     -- of this worker: nothing is drawn before it is one

local NAME, ROOM = "m_new_id", 256

-- Sets `$m_new_id`, as `ngx.var` does, with no string of Lua in between: each would be new. If there is no randomness NGINX draws.
function _M.set()
    if at == MANY then
        if C.RAND_bytes(drawn, OCTETS * MANY) ~= 1 then
            return
        end
        C.ngx_hex_dump(written, drawn, OCTETS * MANY)
        at = 0
    end
    local from = written + at * LENGTH
    at = at + 1
    local length, buffer = get_size_ptr(), get_string_buf(#NAME + ROOM)
    length[0] = ROOM
    C.ngx_http_lua_ffi_var_set(get_request(), NAME, #NAME, buffer, from, LENGTH, buffer + #NAME, length)
end

return _M
