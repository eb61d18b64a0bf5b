-- Asks the token gateway about a request, with the headers below and nothing else. Allowed: replaces the identity headers
-- and takes the gateway's cookies away. Denied: answers as the gateway did, 302 to the login for a browser that opens a
-- page, else 401 or 403. Anything else, a gateway that is away too: 503.
--
-- It takes LuaSocket, Debian's package lua-socket.

require "apache2"
local http = require "socket.http"
local ltn12 = require "ltn12"

local GATEWAY = "http://127.0.0.1:8000"           -- change this: the gateway, as it stands behind ProxyPass
local TIMEOUT_SECONDS = 2
-- With `identity_headers` of the gateway set otherwise, change these names. The last one is there with token=AUDIENCE.
local IDENTITY = { "Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Sub", "Remote-Access-Token" }
local ASKED_WITH = {
    "Authorization", "Cookie", "Accept", "Accept-Language", "Content-Type", "Upgrade", "User-Agent", "Sec-Fetch-Mode",
    "Sec-Fetch-Dest", "Sec-Fetch-Site", "Sec-Purpose",
}
local ANSWERED_WITH = { "WWW-Authenticate", "Location", "Vary", "Content-Language", "Cache-Control",
    "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options" }
local OUR_COOKIES = {
    ["__Host-gateway_session"] = true, ["__Secure-gateway_session"] = true, ["gateway_session"] = true,
    ["__Secure-access_token"] = true, ["access_token"] = true, ["__Secure-refresh_token"] = true,
    ["refresh_token"] = true, ["__Secure-known_device"] = true, ["known_device"] = true,
}

local function without_our_cookies(cookies)
    local kept = {}
    for pair in cookies:gmatch("[^;]+") do
        if not OUR_COOKIES[pair:match("^[ \t]*(.-)[ \t]*=")] and pair:find("[^ \t]") then
            kept[#kept + 1] = pair:match("^[ \t]*(.*)$")
        end
    end
    return #kept > 0 and table.concat(kept, "; ") or nil
end

function ask_gateway(r)
    -- By now mod_proxy has said where the request goes; what goes to the gateway itself is not asked about.
    if r.filename:sub(1, #GATEWAY + 7) == "proxy:" .. GATEWAY .. "/" then
        return apache2.DECLINED
    end
    local requirements = r.subprocess_env["requires"]
    if not requirements then
        return 503
    end
    local asked = {
        ["X-Forwarded-Method"] = r.method,
        ["X-Forwarded-Proto"] = r.is_https and "https" or "http",
        ["X-Forwarded-Host"] = r.headers_in["Host"],
        ["X-Forwarded-Uri"] = r.unparsed_uri,
    }
    for _, name in ipairs(ASKED_WITH) do
        asked[name] = r.headers_in[name]
    end
    asked["User-Agent"] = asked["User-Agent"] or "-"                  -- else LuaSocket says its own
    http.TIMEOUT = TIMEOUT_SECONDS
    local body = {}
    local done, status, headers = http.request({
        url = GATEWAY .. "/api/authz/forward-auth?" .. requirements, headers = asked, redirect = false, sink = ltn12.sink.table(body),
    })
    if not done or (status ~= 200 and status ~= 302 and status ~= 401 and status ~= 403) then
        r.err_headers_out["Retry-After"] = "5"
        return 503
    end
    if status == 200 then
        for _, name in ipairs(IDENTITY) do
            local value = headers[name:lower()]
            r.headers_in[name] = value ~= "" and value or nil
        end
        r.headers_in["Cookie"] = without_our_cookies(r.headers_in["Cookie"] or "")
        return apache2.OK
    end
    for _, name in ipairs(ANSWERED_WITH) do
        r.err_headers_out[name] = headers[name:lower()]
    end
    if (headers["content-type"] or ""):find("^text/html") then
        r:custom_response(status, table.concat(body))
    end
    return status
end
