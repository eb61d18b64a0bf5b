-- lua.ask_gateway: ask the token gateway about a request, with its Authorization and Cookie headers and nothing else.
-- Allowed: replaces the identity headers and sets txn.gateway to "allowed". Denied: answers 401 or 403 as the gateway
-- did. Anything else, a gateway that is away too: does nothing, and haproxy.cfg answers 503.

local QUESTION = "http://127.0.0.1:8000/api/authz/forward-auth?role=demo"   -- change this: the gateway, and who may come in
-- HAProxy asks four times before it gives up, so that a gateway that hangs costs three seconds.
local TIMEOUT_MILLISECONDS = 700
-- With `identity_headers` of the gateway set otherwise, change these names.
local IDENTITY = { "remote-user", "remote-groups", "remote-name", "remote-email", "remote-sub" }
local ASKED_WITH = { "authorization", "cookie" }
local ANSWERED_WITH = { "www-authenticate", "content-type", "cache-control" }

core.register_action("ask_gateway", { "http-req" }, function(txn)
    local sent, asked = txn.http:req_get_headers(), {}
    for _, name in ipairs(ASKED_WITH) do
        for _, value in pairs(sent[name] or {}) do
            asked[name] = asked[name] or {}
            table.insert(asked[name], value)
        end
    end

    local answer = core.httpclient():get({ url = QUESTION, headers = asked, timeout = TIMEOUT_MILLISECONDS })
    local status = answer and answer.status

    for _, name in ipairs(IDENTITY) do
        txn.http:req_del_header(name)
        if status == 200 and answer.headers[name] then
            txn.http:req_set_header(name, answer.headers[name][0])
        end
    end
    if status == 200 then
        txn:set_var("txn.gateway", "allowed")
    elseif status == 401 or status == 403 then
        local reply = txn:reply({ status = status, body = answer.body })
        for _, name in ipairs(ANSWERED_WITH) do
            for _, value in pairs(answer.headers[name] or {}) do
                reply:add_header(name, value)
            end
        end
        txn:done(reply)
    end
end)
