-- What does a value of the control process say? As routing/nginx/data.py writes it.

local byte, find, sub, tonumber, error = string.byte, string.find, string.sub, tonumber, error

local STRING, NUMBER, TRUE, FALSE, LIST, DICT, END = byte("sntflde", 1, 7)

local function value(text, at)
    local kind = byte(text, at)
    if kind == STRING then
        local colon = find(text, ":", at, true)
        local last = colon + tonumber(sub(text, at + 1, colon - 1))
        return sub(text, colon + 1, last), last + 1
    elseif kind == NUMBER then
        local last = find(text, ";", at, true)
        return tonumber(sub(text, at + 1, last - 1)), last + 1
    elseif kind == TRUE or kind == FALSE then
        return kind == TRUE, at + 1
    elseif kind == LIST then
        local list, count, each = {}, 0, nil
        at = at + 1
        while byte(text, at) ~= END do
            each, at = value(text, at)
            count = count + 1
            list[count] = each
        end
        return list, at + 1
    elseif kind == DICT then
        local dict, key, each = {}, nil, nil
        at = at + 1
        while byte(text, at) ~= END do
            key, at = value(text, at)
            each, at = value(text, at)
            dict[key] = each
        end
        return dict, at + 1
    end
    error("malformed value")
end

return function(text)
    return (value(text, 1))
end
