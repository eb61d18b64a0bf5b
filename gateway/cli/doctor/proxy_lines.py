"""
Which line of which proxy mends what. The names are those of the files in config/.

One file, since it is one table.
"""

from gateway.cli.doctor.asking import Answer

SEE = "docs/proxies.md"
BY_SERVER = {
    "nginx": "nginx",
    "openresty": "nginx",
    "caddy": "Caddy",
    "envoy": "Envoy",
    "istio-envoy": "Envoy",
    "apache": "Apache httpd",
}
NAMELESS = ("Traefik", "HAProxy")
"""Proxies that do not say in `Server` who they are."""

_NGINX_LOGIN = (
    "auth_request_set $login $upstream_http_location; error_page 401 = @login; "
    'location @login { if ($login = "") { return 401; } return 302 $login; }'
)
_NGINX_ASKED = (
    "proxy_set_header X-Original-URL $scheme://$http_host$request_uri; "
    "proxy_set_header X-Original-Method $request_method;"
)
_TRAEFIK_ASKED = (
    "[Authorization, Cookie, Accept, Accept-Language, Content-Type, User-Agent, Sec-Fetch-Mode, Sec-Fetch-Dest, "
    "Sec-Fetch-Site, Sec-Purpose]"
)
_ASKED_WITH = "ASKED_WITH with authorization, cookie, accept, content-type, sec-fetch-mode, sec-purpose"

LINES: dict[str, dict[str, str]] = {
    "not-protected": {
        "nginx": "auth_request /_auth;  (and no `auth_request off;` in this location)",
        "Caddy": "forward_auth 127.0.0.1:8000 { uri /api/authz/forward-auth? ... }  (in `route`, before reverse_proxy)",
        "HAProxy": "http-request lua.ask_gateway  (first in the backend)",
        "Traefik": "middlewares: [from-the-client, ask-the-gateway]  (of the router)",
        "Envoy": "http_filters: - name: envoy.filters.http.ext_authz  (before the router, not disabled for this route)",
        "Apache httpd": "LuaHookAccessChecker /etc/apache2/token-gateway/ask-gateway.lua ask_gateway",
    },
    "gateway-away": {
        "nginx": "upstream gateway { server 127.0.0.1:8000; }  (the address of the gateway as nginx reaches it)",
        "Caddy": "forward_auth 127.0.0.1:8000 { ... }  (the address of the gateway as Caddy reaches it)",
        "HAProxy": 'local GATEWAY = "http://127.0.0.1:8000/api/authz/forward-auth?"  (in gateway.lua)',
        "Traefik": "forwardAuth: address: http://127.0.0.1:8000/api/authz/forward-auth",
        "Envoy": "cluster gateway: address: 127.0.0.1, port_value: 8000",
        "Apache httpd": 'local GATEWAY = "http://127.0.0.1:8000"  (in ask-gateway.lua)',
    },
    "no-redirect": {
        "nginx": f"{_NGINX_LOGIN}  (in the server) and {_NGINX_ASKED}  (in location = /_auth)",
        "Caddy": "forward_auth { uri /api/authz/forward-auth? ... }  (as in config/caddy: no `header_up -Accept`, "
        "no `handle_response` of your own for 302)",
        "HAProxy": f"{_ASKED_WITH}; ANSWERED_WITH with location  (in gateway.lua)",
        "Traefik": f"authRequestHeaders: {_TRAEFIK_ASKED} and preserveLocationHeader: true",
        "Envoy": "allowed_headers: patterns: accept, content-type, cookie, sec-fetch-mode, sec-purpose, "
        "x-forwarded-proto; allowed_client_headers: patterns: location",
        "Apache httpd": f"{_ASKED_WITH}; ANSWERED_WITH with Location; X-Forwarded-Method, -Proto, -Host, -Uri  "
        "(in ask-gateway.lua)",
    },
    "no-accept": {
        "nginx": 'no `proxy_set_header Accept "";` and no `proxy_pass_request_headers off;` in location = /_auth',
        "Caddy": "no `header_up -Accept` in forward_auth",
        "HAProxy": f"{_ASKED_WITH}  (in gateway.lua)",
        "Traefik": f"authRequestHeaders: {_TRAEFIK_ASKED}",
        "Envoy": "allowed_headers: patterns: - exact: accept",
        "Apache httpd": f"{_ASKED_WITH}  (in ask-gateway.lua)",
    },
    "return-address": {
        "nginx": "proxy_set_header X-Original-URL $scheme://$http_host$request_uri;  (in location = /_auth; behind "
        "another proxy that ends TLS https:// for $scheme://)",
        "Caddy": "servers { trusted_proxies static private_ranges }  (behind another proxy; and no "
        "header_up X-Forwarded-* in forward_auth)",
        "HAProxy": "http-request set-header X-Forwarded-Proto, X-Forwarded-Host and the X-Forwarded-Uri of gateway.lua",
        "Traefik": "entryPoints: ...: forwardedHeaders: trustedIPs  (behind another proxy) and forwardAuth: "
        "trustForwardHeader: false  (else), no rewriting middleware before ask-the-gateway",
        "Envoy": "http_service: path_prefix: /api/authz/ext-authz  and allowed_headers: patterns: "
        "- exact: x-forwarded-proto",
        "Apache httpd": '["X-Forwarded-Uri"] = r.unparsed_uri, -Host, -Proto  (in ask-gateway.lua)',
    },
    "cookie-stripped": {
        "nginx": 'location = /_auth { no `proxy_set_header Cookie "...";` and no `proxy_pass_request_headers off;` }  '
        "(a proxy_set_header Cookie of the server is inherited where the location has none of its own)",
        "Caddy": "no `header_up -Cookie` in forward_auth, and no `request_header -Cookie` before it",
        "HAProxy": f"{_ASKED_WITH}  (in gateway.lua)",
        "Traefik": f"authRequestHeaders: {_TRAEFIK_ASKED}",
        "Envoy": "allowed_headers: patterns: - exact: cookie",
        "Apache httpd": f"{_ASKED_WITH}  (in ask-gateway.lua)",
    },
    "forgeable": {
        "nginx": 'proxy_set_header {name} "";  (of those that the gateway gives $auth_... for ""; in each location '
        "too that has a proxy_set_header of its own)",
        "Caddy": "request_header -{name}  (first in `route`)",
        "HAProxy": "http-request del-header {name}",
        "Traefik": 'customRequestHeaders: {name}: ""  (in from-the-client, before ask-the-gateway)',
        "Envoy": "early_header_mutation_extensions: - remove_on_match: { key_matcher: { exact: {lower} } }",
        "Apache httpd": "LuaHookTranslateName /etc/apache2/token-gateway/from-the-client.lua take_away early",
    },
    "forgeable-spelling": {
        "nginx": "underscores_in_headers off; ignore_invalid_headers on;  (in the first server of the address)",
        "Caddy": "request_header -*_*  and  request_header -*.*  (first in `route`)",
        "HAProxy": "http-request del-header [^A-Za-z0-9-] -m reg",
        "Traefik": 'customRequestHeaders: {spelt}: ""  (in from-the-client)',
        "Envoy": "headers_with_underscores_action: DROP_HEADER  and remove_on_match: { key_matcher: { safe_regex: "
        '{ regex: "[^:].*[^a-z0-9-].*" } } }',
        "Apache httpd": "LuaHookTranslateName /etc/apache2/token-gateway/from-the-client.lua take_away early",
    },
    "connection": {
        "nginx": "proxy_set_header Connection $app_connection;  (and proxy_set_header Remote-User $auth_user; ...)",
        "Caddy": "request_header @no_websocket -Connection  (and header_up Remote-User in the last reverse_proxy)",
        "HAProxy": "http-request del-header connection unless METH_GET is_websocket",
        "Apache httpd": "LuaHookTranslateName /etc/apache2/token-gateway/from-the-client.lua take_away early",
    },
    "our-cookies": {
        "nginx": "proxy_set_header Cookie $app_cookies;  (in the server, with the maps of config/nginx)",
        "Caddy": 'request_header Cookie "(?:^|;)[ \\t]*...gateway_session...[ \\t]*=[^;]*()" "$1"  '
        "(after forward_auth, as config/caddy has it)",
        "HAProxy": "take_our_cookies_away(txn, ...)  (in gateway.lua, as config/haproxy has it)",
        "Traefik": "forwardAuth: address: .../forward-auth?cookies=others  and authResponseHeaders: [..., Cookie]",
        "Envoy": "the Lua filter behind ext_authz that takes our cookies away, as config/envoy has it",
        "Apache httpd": "without_our_cookies(...)  (in ask-gateway.lua, as config/apache has it)",
    },
    "xhr": {
        "nginx": 'location @login { if ($login = "") { return 401; } return 302 $login; }  '
        "(and no error_page 401 =302)",
        "Caddy": "no `redir` of your own in forward_auth: the gateway itself knows who can be led",
        "HAProxy": "the answer of the gateway as it is: no http-request redirect of your own",
        "Traefik": f"authRequestHeaders: {_TRAEFIK_ASKED}, and no `errors` middleware for 401",
        "Envoy": "allowed_headers: patterns: - prefix: sec-fetch-",
        "Apache httpd": f"{_ASKED_WITH}  (in ask-gateway.lua), and no ErrorDocument 401 of your own",
    },
    "websocket": {
        "nginx": "proxy_set_header Upgrade $app_upgrade; proxy_set_header Connection $app_connection; "
        "proxy_http_version 1.1;",
        "Caddy": "request_header @websocket Connection Upgrade  (and nothing that takes Upgrade away from a WebSocket)",
        "HAProxy": "http-request set-header Connection upgrade if METH_GET is_websocket",
        "Traefik": "the router app-websocket: HeaderRegexp(`Upgrade`, `(?i)^websocket$`), without no-upgrade",
        "Envoy": "route: upgrade_configs: [{ upgrade_type: websocket }]",
        "Apache httpd": "ProxyPass / http://127.0.0.1:3000/ upgrade=websocket",
    },
    "upload": {
        "nginx": "client_max_body_size 0;  (in the server and in location = /_auth) and, in location = /_auth, "
        'proxy_pass_request_body off; proxy_set_header Content-Length "";',
        "Caddy": "no `request_body { max_size ... }` that is too small",
        "HAProxy": "no http-request deny of your own by req.body_size",
        "Traefik": "forwardAuth: forwardBody: false, and no buffering: maxRequestBodyBytes that is too small",
        "Envoy": "ext_authz without with_request_body, and no buffer filter with a small max_request_bytes",
        "Apache httpd": "LimitRequestBody 0",
    },
    "login-away": {
        "nginx": "location ^~ /auth/ { auth_request off; proxy_pass http://gateway; }",
        "Caddy": "@gateway path /auth/* ...  and  reverse_proxy @gateway 127.0.0.1:8000  (before forward_auth)",
        "HAProxy": "use_backend gateway if { path_beg /auth/ }",
        "Traefik": "router gateway: rule: PathPrefix(`/auth/`), priority over the application's",
        "Envoy": "routes: - match: { prefix: /auth/ } route: { cluster: gateway }, with ext_authz disabled there",
        "Apache httpd": "ProxyPass /auth/ http://127.0.0.1:8000/auth/",
    },
}


def proxy_of(answer: Answer) -> str:
    """Give the name of the proxy that an answer is of, as `Server` tells it; nothing where it does not."""
    return BY_SERVER.get(answer.first("server").split("/")[0].strip().lower(), "")


def line_for(fault: str, proxy: str, **said: str) -> str:
    """Give the line that mends a fault, or where that is not known the candidates, and the page that tells more."""
    lines = LINES[fault]
    names = [proxy] if proxy in lines else [] if proxy else [name for name in NAMELESS if name in lines]
    told = "; or ".join([*(f"{name}: {lines[name]}" for name in names), *([] if proxy in lines else [f"see {SEE}"])])
    for name, value in said.items():
        told = told.replace(f"{{{name}}}", value)
    return told
