"""The header fields of answers that a caller may want to read, and the ways to show who asks."""

from typing import Any

from gateway.settings import Settings
from gateway.tokens import HEADER_NAMES
from gateway.verifier.presented import ACCESS_TOKEN
from gateway.web.http import REFRESH_TOKEN, cookie_name, session_cookie_name

_DESCRIBED: dict[str, tuple[str, dict[str, Any], bool]] = {
    "X-Request-Id": (
        "The id of this answer, which is in its log line too. All answers have one but quick 200s.",
        {"type": "string"},
        False,
    ),
    "WWW-Authenticate": (
        "How to show who asks: `Bearer`, with an `error` (RFC 6750 section 3.1, RFC 9470 section 3) where a token or a "
        "login was not good enough; or `Basic`, where a program asked for that.",
        {"type": "string"},
        True,
    ),
    "Client-Challenge": (
        "`Basic`, where the client tried that or showed nothing at all (RFC 6749 section 5.2).",
        {"type": "string"},
        False,
    ),
    "Retry-After": ("When to try again, in seconds.", {"type": "integer", "minimum": 1}, True),
    "RateLimit-Policy": (
        'The limit: `"login";q=10;w=60` is ten within 60 seconds (draft-ietf-httpapi-ratelimit-headers).',
        {"type": "string"},
        False,
    ),
    "RateLimit": (
        'What is left of it: `"login";r=9;t=6` is nine, and one more in 6 seconds.',
        {"type": "string"},
        False,
    ),
    "Allow": ("The methods that the path has (RFC 9110 section 10.2.1).", {"type": "string"}, True),
    "Location": ("Where to go.", {"type": "string", "format": "uri-reference"}, True),
    "Login-Location": (
        "The login, where a navigation of a browser was denied: for nginx, which makes a redirect of it.",
        {"type": "string", "format": "uri-reference"},
        False,
    ),
    "ETag": ("A strong validator (RFC 9110 section 8.8.3).", {"type": "string"}, True),
    "Set-Cookie": ("Cookies that are given or taken back.", {"type": "string"}, False),
    "Clear-Site-Data": ("`cache`: the back button shows nothing.", {"type": "string"}, True),
    "Content-Disposition": ("A name for the file.", {"type": "string"}, True),
    "Cookie": (
        "With `cookies=others`: the cookies of the request that are not the gateway's.",
        {"type": "string"},
        False,
    ),
}
SENT_AS = {"Client-Challenge": "WWW-Authenticate", "Login-Location": "Location"}
"""Names on the wire of fields that have two descriptions."""


def identity_headers(settings: Settings) -> tuple[str, ...]:
    """Give the names of the header fields by which an allowed subrequest tells who asks; the last is the token's."""
    return HEADER_NAMES[settings.identity_headers]


def described_headers(settings: Settings) -> dict[str, Any]:
    """Give `components.headers`."""
    described = {
        name: {"description": what, "required": is_required, "schema": schema}
        for name, (what, schema, is_required) in _DESCRIBED.items()
    }
    *names, token_name = identity_headers(settings)
    for name, what in zip(names, ("E-mail address, else id", "Roles", "Name", "E-mail address", "Id"), strict=True):
        text = f"{what} of who asks: visible ASCII, all else and `%` percent-encoded; empty where there is nothing."
        described[name] = {"description": text, "required": True, "schema": {"type": "string"}}
    described[token_name] = {
        "description": "With `token=`: an access token for the application.",
        "required": False,
        "schema": {"type": "string"},
    }
    return described


def header_references(names: tuple[str, ...]) -> dict[str, Any]:
    """Give the header fields of an answer, by their names on the wire."""
    return {SENT_AS.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}


def security_schemes(settings: Settings) -> dict[str, Any]:
    """Give `components.securitySchemes`; the names of cookies say what the issuer is."""

    def cookie(name: str, what: str) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": name, "description": what}

    return {
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token (RFC 9068).",
        },
        "accessTokenCookie": cookie(cookie_name(settings, ACCESS_TOKEN), "The same, which an application has set."),
        "browserSession": cookie(session_cookie_name(settings), "The session of a browser."),
        "refreshToken": cookie(cookie_name(settings, REFRESH_TOKEN), "A refresh token; it may come in the body, too."),
        "personalToken": {"type": "http", "scheme": "bearer", "description": "A personal token, `gwp_…`."},
        "personalTokenAsPassword": {
            "type": "http",
            "scheme": "basic",
            "description": "A personal token as the password, with any name.",
        },
        "client": {
            "type": "http",
            "scheme": "basic",
            "description": "Id and secret of a machine client (`client_secret_basic`). Secret and assertion may come "
            "in the form, too.",
        },
    }
