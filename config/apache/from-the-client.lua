-- Takes away what a client sends under our names, in every spelling, and what it says about where it comes from.
-- Apache's own `RequestHeader unset` can take away one spelling at a time, and there are hundreds.
--
-- A header may be spelt with letters, digits and hyphens alone: an application behind CGI, WSGI or PHP takes Remote_User
-- and Remote.User for Remote-User.
--
-- What `Connection` names, mod_proxy takes away before it asks the application, and the identity headers that were set
-- by then with it. So nothing is left there but what is Apache's own to know.

require "apache2"

local FORBIDDEN = {
    "[^%w-]", "^remote%-", "^x%-auth%-request%-", "^x%-forwarded%-", "^x%-original%-",
    "^x%-rewrite%-url$", "^x%-real%-ip$", "^forwarded$",
}

function take_away(r)
    for name in pairs(r:headers_in_table()) do
        for _, pattern in ipairs(FORBIDDEN) do
            if name:lower():find(pattern) then
                r.headers_in[name] = nil
            end
        end
    end
    -- A WebSocket is the one upgrade that is passed on.
    if r.method ~= "GET" or (r.headers_in["Upgrade"] or ""):lower() ~= "websocket" then
        r.headers_in["Upgrade"] = nil
    end
    local named = {}
    for name in (r.headers_in["Connection"] or ""):gmatch("[^,%s]+") do
        named[name:lower()] = true
    end
    local kept = {}
    for _, name in ipairs({ "close", "keep-alive", "upgrade" }) do
        if named[name] and (name ~= "upgrade" or r.headers_in["Upgrade"]) then
            kept[#kept + 1] = name
        end
    end
    r.headers_in["Connection"] = #kept > 0 and table.concat(kept, ", ") or nil
    return apache2.DECLINED
end
