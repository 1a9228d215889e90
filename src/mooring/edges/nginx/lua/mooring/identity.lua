-- What is a request called that nobody has named yet? 128 random bits, as NGINX's `$request_id`, but drawn for many requests at once.

local _M = {}

local ffi = require "ffi"

ffi.cdef [[
int RAND_bytes(unsigned char *buffer, int count);
unsigned char *ngx_hex_dump(unsigned char *to, const unsigned char *from, size_t count);
]]

local C, text_of = ffi.C, ffi.string

local OCTETS, LENGTH, MANY = 16, 32, 256
local drawn, written = ffi.new("unsigned char[?]", OCTETS * MANY), ffi.new("unsigned char[?]", LENGTH * MANY)
local at = MANY     -- of this worker: nothing is drawn before it is one

-- Nil if there is no randomness.
function _M.new()
    if at == MANY then
        if C.RAND_bytes(drawn, OCTETS * MANY) ~= 1 then
            return nil
        end
        C.ngx_hex_dump(written, drawn, OCTETS * MANY)
        at = 0
    end
    local from = written + at * LENGTH
    at = at + 1
    return text_of(from, LENGTH)
end

return _M
