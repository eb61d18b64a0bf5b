"""The cookies: the refresh token, which the gateway sets, and the access token, which an app may set."""

from starlette.datastructures import Headers
from starlette.responses import Response

from gateway.errors import MalformedRequest
from gateway.settings import Settings

REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a cookie
ACCESS_TOKEN = "access_token"  # noqa: S105 - the name of a cookie
PATH = "/auth"


def cookie_name(settings: Settings, name: str) -> str:
    """Give the full name: under an https issuer the plain one means nothing (RFC 6265bis section 4.1.3.1)."""
    return f"__Secure-{name}" if settings.is_https else name


def read_cookie(headers: Headers, name: str) -> str | None:
    """
    Give the value of a cookie.

    Raises:
        MalformedRequest: It was sent twice. A sibling subdomain can plant a second one, so neither is believed.
    """
    values = []
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            found, separator, value = pair.partition("=")
            if separator and found.strip() == name:
                values.append(value.strip().strip('"'))
    if len(values) > 1:
        raise MalformedRequest(f"The cookie {name} was sent twice")
    return values[0] if values else None


def set_refresh_cookie(response: Response, settings: Settings, refresh_token: str, max_age_seconds: int) -> None:
    """Hand out a refresh token; the browser forgets it when the session has ended unused."""
    _set(response, settings, refresh_token, max_age_seconds)


def clear_refresh_cookie(response: Response, settings: Settings) -> None:
    """Take the refresh token back, with the same attributes as it was given."""
    _set(response, settings, "", 0)


def _set(response: Response, settings: Settings, value: str, max_age_seconds: int) -> None:
    response.headers.append(
        "Set-Cookie",
        f"{cookie_name(settings, REFRESH_TOKEN)}={value}; Path={PATH}; Max-Age={max_age_seconds}; HttpOnly; "
        f"SameSite={settings.cookie_samesite.capitalize()}" + ("; Secure" if settings.is_https else ""),
    )
