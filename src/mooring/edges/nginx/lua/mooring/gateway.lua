-- What does the configuration call? One function for each hook; the generated data file fills `data`.

local data = {
    generation = "",
    server = "",      -- what every answer says of its server, "" for what the backend says
    common = "",      -- the location of the routes that are served where they are looked up
    keeps = false,    -- escaped slashes, as parts of paths' elements
    limit = nil,      -- of their bodies, in octets, where other routes take larger ones
}

-- Most of what requests leave behind is small, and so is what stays: collecting it half as often costs little memory.
collectgarbage("setpause", 400)

local control = require "mooring.control"
local state = require "mooring.state"
local balance = require "mooring.balance"
local find = require "mooring.find"
local kept = require "mooring.kept"
local request = require "mooring.request"
local answer = require "mooring.answer"
local certificate = require "mooring.certificate"

find.data = data
answer.data = data
find.prune = function()
    state.prune()
    certificate.prune()
end
kept.data = data

local leaf = find.leaf

local function server()
    if data.server ~= "" then
        ngx.header["Server"] = data.server
    end
end

return {
    data = data,
    control = function() return control.serve(data.generation) end,
    ready = control.ready,
    find = find.find,
    go = find.go,
    last = find.last,
    of_set = balance.of_set,
    round_robin = balance.round_robin,
    least = balance.least,
    done = balance.done,
    sticky = function() return balance.sticky(leaf()) end,
    request = function() return request.change(leaf()) end,
    question = function() return request.question(leaf()) end,
    mirror = function(which) return request.mirror(leaf().mirrors[which]) end,
    escaped = function() return ngx.escape_uri(ngx.var.request_uri) end,
    answer = function()
        server()
        return answer.change(leaf())
    end,
    server = server,
    act = function() return answer.act(leaf()) end,
    sign_in = function() return answer.sign_in(leaf()) end,
    said = function()
        balance.done()
        return answer.said(nil, leaf())
    end,
    failed = function()
        balance.done()
        return answer.failed(leaf())
    end,
    unverified = answer.unverified,
    certificate = certificate.serve,
}
