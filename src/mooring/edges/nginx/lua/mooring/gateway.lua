-- What does the configuration call? One function for each hook; the generated data file fills `data`.

local data = {
    generation = "",
    server = "",      -- what every answer says of its server, "" for what the backend says
    leaves = {},      -- what a route does in Lua, by number
    choices = {},     -- the routes of a path that has more than one, in order, by number
    chains = {},      -- of TLS listeners: server name -> number of the chain, by listener
}

local state = require "mooring.state"
local control = require "mooring.control"
local balance = require "mooring.balance"
local choose = require "mooring.choose"
local request = require "mooring.request"
local answer = require "mooring.answer"
local certificate = require "mooring.certificate"

choose.data = data
answer.data = data
request.said = answer.said

local leaves = data.leaves

local function server()
    if data.server ~= "" then
        ngx.header["Server"] = data.server
    end
end

return {
    data = data,
    control = function() return control.serve(data.generation) end,
    ready = control.ready,
    round_robin = balance.round_robin,
    least = balance.least,
    done = balance.done,
    sticky = function(number, set) return balance.sticky(leaves[number], set) end,
    choose = choose.choose,
    request = function(number) return request.change(leaves[number]) end,
    question = function(number) return request.question(leaves[number]) end,
    mirror = function(number, which) return request.mirror(leaves[number].mirrors[which]) end,
    escaped = function() return ngx.escape_uri(ngx.var.request_uri) end,
    detour = request.detour,
    answer = function(number)
        server()
        return answer.change(leaves[number])
    end,
    server = server,
    act = function(number) return answer.act(leaves[number]) end,
    sign_in = function(number) return answer.sign_in(leaves[number]) end,
    said = function() return answer.said(nil, leaves[tonumber(ngx.var.m_leaf)]) end,
    failed = function() return answer.failed(leaves[tonumber(ngx.var.m_leaf)]) end,
    unverified = function(listener, number, page) return answer.unverified(choose.chain(listener) == number, page) end,
    certificate = certificate.serve,
}
