"""
Endpoints: the templates of all routes, a closed list, by which metrics and request ids name what was asked for.

A test holds it equal to the route table, so that none is forgotten.
"""

import re

OTHER = "other"

# An endpoint's place is its number in ids that were told long ago: new ones come to the end.
ENDPOINTS = (
    OTHER,
    "/api/authz/auth-request",
    "/api/authz/forward-auth",
    "/api/authz/ext-authz",
    "/api/authz/ext-authz/{path}",
    "/auth/login",
    "/auth/logout",
    "/auth/refresh",
    "/auth/logout-all",
    "/auth/me",
    "/auth/change-password",
    "/auth/sessions",
    "/auth/sessions/{id}",
    "/auth/account",
    "/auth/account/password",
    "/auth/account/sessions/end-others",
    "/auth/account/sessions/{id}/end",
    "/auth/welcome",
    "/auth/static/{name}",
    "/",
    "/.well-known/change-password",
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/livez",
    "/readyz",
    "/auth/login/passkey",
    "/auth/factors",
    "/auth/factors/totp",
    "/auth/factors/totp/confirm",
    "/auth/factors/passkeys/options",
    "/auth/factors/passkeys",
    "/auth/factors/recovery",
    "/auth/factors/{id}",
    "/auth/account/factors/app",
    "/auth/account/factors/passkey",
    "/auth/account/factors/recovery",
    "/auth/account/factors/recovery/file",
    "/auth/account/factors/{id}",
    "/auth/account/factors/{id}/name",
    "/auth/account/factors/{id}/remove",
    "/auth/tokens",
    "/auth/tokens/{id}",
    "/oauth/token",
    "/oauth/introspect",
    "/oauth/revoke",
    "/status/lists",
    "/status/{number}",
    "/auth/account/tokens",
    "/auth/account/tokens/{id}/revoke",
    "/openapi.json",
)

_PLAIN = {path: path for path in ENDPOINTS if "{" not in path}
_WITH_NAMES = tuple(
    (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path).replace(r"\{path\}", "(?s:.*)"))), path)
    for path in ENDPOINTS
    if "{" in path
)


def endpoint_of(path: str) -> str:
    """Give the template of a path; `other` for one that no route has."""
    return _PLAIN.get(path) or next((endpoint for form, endpoint in _WITH_NAMES if form.fullmatch(path)), OTHER)
