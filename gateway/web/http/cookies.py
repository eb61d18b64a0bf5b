"""The cookies: browser session, refresh token and known device, and the access token, which an application may set."""

from starlette.responses import Response

from gateway.errors import CookieSentTwice
from gateway.limits import KNOWN_DEVICE_SECONDS
from gateway.settings import Settings
from gateway.tokens import RawHeaders
from gateway.verifier import presented

REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a cookie
KNOWN_DEVICE = "known_device"
BROWSER_SESSION = "gateway_session"
OF_THIS_HOST = f"__Host-{BROWSER_SESSION}"
LOGIN_HOPS = "login_hops"
OURS = frozenset(
    name.encode()
    for plain in (BROWSER_SESSION, REFRESH_TOKEN, KNOWN_DEVICE, presented.ACCESS_TOKEN)
    for name in (plain, presented.full_cookie_name(plain, is_https=True))
) | {OF_THIS_HOST.encode()}
"""The names, in all spellings, that no application should see."""
PATH = "/auth"
LOGIN_PATH = "/auth/login"


def cookie_name(settings: Settings, name: str) -> str:
    """Give the full name, which says what the issuer is."""
    return presented.full_cookie_name(name, is_https=settings.is_https)


def session_cookie_name(settings: Settings) -> str:
    """Give the full name of the session cookie: browsers hold to `__Host-` that nobody but this host has set it."""
    if settings.is_https and settings.cookie_domain is None:
        return OF_THIS_HOST
    return cookie_name(settings, BROWSER_SESSION)


def read_cookie(headers: RawHeaders, name: str) -> str | None:
    """
    Give the value of a cookie, as it was sent: quotes belong to it, and blanks and tabs around it do not.

    Raises:
        CookieSentTwice: It was.
    """
    return cookie_in(presented.credentials(headers)[1], name)


def cookie_in(cookies: list[bytes], name: str) -> str | None:
    """Do the same with the values of `Cookie`."""
    try:
        return presented.cookie_in(cookies, name)
    except presented.SentTwice as error:
        raise CookieSentTwice(str(error)) from error


def cookies_of_others(headers: RawHeaders) -> bytes:
    """Give what is left of `Cookie` without ours, as one value (RFC 6265 section 4.2.1); empty when nothing is."""
    sent = b";".join(value for name, value in headers if name == b"cookie").split(b";")
    pairs = (pair.strip(b" \t") for pair in sent)
    return b"; ".join(pair for pair in pairs if pair and pair.partition(b"=")[0].rstrip(b" \t") not in OURS)


def set_refresh_cookie(response: Response, settings: Settings, refresh_token: str, max_age_seconds: int) -> None:
    """Hand out a refresh token; the browser forgets it when the session has ended unused."""
    _set(response, settings, REFRESH_TOKEN, refresh_token, PATH, max_age_seconds)


def clear_refresh_cookie(response: Response, settings: Settings) -> None:
    """Take the refresh token back, with the same attributes as it was given."""
    _set(response, settings, REFRESH_TOKEN, "", PATH, 0)


def set_device_cookie(response: Response, settings: Settings, value: str) -> None:
    """Let this device be known at its next logins."""
    _set(response, settings, KNOWN_DEVICE, value, LOGIN_PATH, KNOWN_DEVICE_SECONDS)


def set_session_cookie(response: Response, settings: Settings, value: str, max_age_seconds: int | None) -> None:
    """Hand out a browser session; without *max_age_seconds* it is forgotten when the browser is closed."""
    domain = f"; Domain={settings.cookie_domain}" if settings.cookie_domain else ""
    max_age = f"; Max-Age={max_age_seconds}" if max_age_seconds is not None else ""
    response.headers.append(
        "Set-Cookie",
        f"{session_cookie_name(settings)}={value}; Path=/{domain}{max_age}; HttpOnly; SameSite=Lax"
        + ("; Secure" if settings.is_https else ""),
    )


def clear_session_cookie(response: Response, settings: Settings) -> None:
    """Take the browser session back, with the same attributes as it was given."""
    set_session_cookie(response, settings, "", 0)


def clear_earlier_session_cookie(response: Response, settings: Settings) -> None:
    """Take back one that was set for this host alone, before there was `cookie_domain`."""
    if settings.cookie_domain:
        _set(response, settings, BROWSER_SESSION, "", "/", 0)


def set_hops_cookie(response: Response, settings: Settings, value: str, max_age_seconds: int) -> None:
    """Remember how often the login has led on to the same address; `SameSite=Lax`, since other sites lead here."""
    response.headers.append(
        "Set-Cookie",
        f"{cookie_name(settings, LOGIN_HOPS)}={value}; Path={LOGIN_PATH}; Max-Age={max_age_seconds}; HttpOnly; "
        "SameSite=Lax" + ("; Secure" if settings.is_https else ""),
    )


def _set(response: Response, settings: Settings, name: str, value: str, path: str, max_age_seconds: int) -> None:
    response.headers.append(
        "Set-Cookie",
        f"{cookie_name(settings, name)}={value}; Path={path}; Max-Age={max_age_seconds}; HttpOnly; "
        f"SameSite={settings.cookie_samesite.capitalize()}" + ("; Secure" if settings.is_https else ""),
    )
