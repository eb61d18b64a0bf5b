-- Takes away what a client sends under our names, in every spelling, and what it says about where it comes from.
-- Apache's own `RequestHeader unset` can take away one spelling at a time, and there are hundreds.
--
-- A header may be spelt with letters, digits and hyphens alone: an application behind CGI, WSGI or PHP takes Remote_User
-- and Remote.User for Remote-User.

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
    return apache2.DECLINED
end
