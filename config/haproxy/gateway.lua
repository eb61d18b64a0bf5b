-- lua.ask_gateway REQUIREMENTS: ask the token gateway about a request, with the headers below and nothing else.
-- Allowed: replaces the identity headers, takes the gateway's cookies away, and sets txn.gateway to "allowed". Denied:
-- answers as the gateway did, 302 to the login for a browser that opens a page, else 401 or 403. Anything else, a gateway
-- that is away too: does nothing, and haproxy.cfg answers 503.

local GATEWAY = "http://127.0.0.1:8000/api/authz/forward-auth?"   -- change this: the gateway
-- HAProxy asks four times before it gives up, so that a gateway that hangs costs three seconds.
local TIMEOUT_MILLISECONDS = 700
-- With `identity_headers` of the gateway set otherwise, change these names. The last one is there with token=AUDIENCE.
local IDENTITY = { "remote-user", "remote-groups", "remote-name", "remote-email", "remote-sub", "remote-access-token" }
local ASKED_WITH = {
    "authorization", "cookie", "accept", "accept-language", "content-type", "upgrade", "user-agent", "sec-fetch-mode",
    "sec-fetch-dest", "sec-fetch-site", "sec-purpose", "x-forwarded-proto", "x-forwarded-host",
}
local ANSWERED_WITH = { "www-authenticate", "location", "vary", "content-type", "content-language", "cache-control",
    "content-security-policy", "referrer-policy", "x-content-type-options" }
local OUR_COOKIES = {
    ["__Host-gateway_session"] = true, ["__Secure-gateway_session"] = true, ["gateway_session"] = true,
    ["__Secure-access_token"] = true, ["access_token"] = true, ["__Secure-refresh_token"] = true,
    ["refresh_token"] = true, ["__Secure-known_device"] = true, ["known_device"] = true,
}

local function take_our_cookies_away(txn, lines)
    txn.http:req_del_header("cookie")
    for place = 0, #lines do                      -- HAProxy counts from 0
        local kept = {}
        for pair in (lines[place] or ""):gmatch("[^;]+") do
            if not OUR_COOKIES[pair:match("^[ \t]*(.-)[ \t]*=")] and pair:find("[^ \t]") then
                kept[#kept + 1] = pair:match("^[ \t]*(.*)$")
            end
        end
        if #kept > 0 then
            txn.http:req_add_header("cookie", table.concat(kept, "; "))
        end
    end
end

core.register_action("ask_gateway", { "http-req" }, function(txn, requirements)
    local sent, asked = txn.http:req_get_headers(), {}
    for _, name in ipairs(ASKED_WITH) do
        for _, value in pairs(sent[name] or {}) do
            asked[name] = asked[name] or {}
            table.insert(asked[name], value)
        end
    end
    asked["x-forwarded-method"] = { txn.sf:method() }
    asked["x-forwarded-uri"] = { txn.sf:pathq() }

    local question = { url = GATEWAY .. requirements, headers = asked, timeout = TIMEOUT_MILLISECONDS }
    local answer = core.httpclient():get(question)
    local status = answer and answer.status

    for _, name in ipairs(IDENTITY) do
        txn.http:req_del_header(name)
        if status == 200 and answer.headers[name] then
            txn.http:req_set_header(name, answer.headers[name][0])
        end
    end
    if status == 200 then
        take_our_cookies_away(txn, sent["cookie"] or {})
        txn:set_var("txn.gateway", "allowed")
    elseif status == 302 or status == 401 or status == 403 then
        local reply = txn:reply({ status = status, body = answer.body })
        for _, name in ipairs(ANSWERED_WITH) do
            for _, value in pairs(answer.headers[name] or {}) do
                reply:add_header(name, value)
            end
        end
        txn:done(reply)
    end
end, 1)
