-- Has anything changed since a worker last looked? A number that all workers see, and that a request reads for nothing.
--
-- It stands in a page that the workers share because the master made it before them. The shared dict says where, so that those of
-- earlier generations, which have the same master, hear of changes, too.

local _M = {}

local ffi = require "ffi"

ffi.cdef "void *mmap(void *address, size_t length, int protection, int flags, int file, long offset);"

local dict = ngx.shared.mooring
local READ_WRITE, SHARED_ANONYMOUS, SIZE = 3, 33, 4096

local function page()
    local address = dict:get("page")
    if not address then
        local made = ffi.C.mmap(nil, SIZE, READ_WRITE, SHARED_ANONYMOUS, -1, 0)
        address = tonumber(ffi.cast("intptr_t", made))
        if address == -1 then
            error("no memory for the version")
        end
        assert(dict:safe_set("page", address))
    end
    return ffi.cast("double *", ffi.cast("intptr_t", address))
end

local shared = page()

function _M.now()
    return shared[0]
end

-- What was stored is seen by whoever sees the number. Of two that raise it at once either may be last: both numbers are new.
function _M.raise()
    shared[0] = dict:incr("version", 1, 0)
end

return _M
