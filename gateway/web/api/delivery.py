"""How tokens, and the user they are of, are handed out."""

from starlette.responses import Response

from gateway.accounts import User
from gateway.clock import rfc3339
from gateway.limits import RateState
from gateway.state import Gateway
from gateway.web.api.wire import TokenBody, UserAnswer, UserBody
from gateway.web.http import LoggedIn, json_response, set_device_cookie, set_refresh_cookie, set_session_cookie


def token_response(
    gateway: Gateway,
    access_token: str,
    refresh_token: str,
    *,
    max_age_seconds: int,
    as_cookie: bool,
    rate: RateState | None,
    user: User | None = None,
    device_token: str | None = None,
) -> Response:
    """Hand out an access token and a refresh token, the latter as a cookie or in the body; a device token there too."""
    response = json_response(
        TokenBody(
            access_token=access_token,
            expires_in=gateway.access_tokens.lifetime_seconds(max_age_seconds),
            user=user_body(user) if user else None,
            refresh_token=None if as_cookie else refresh_token,
            device_token=device_token,
        )
    )
    if as_cookie:
        set_refresh_cookie(response, gateway.settings, refresh_token, max_age_seconds)
    tell_rate(response, rate)
    return response


async def login_response(gateway: Gateway, login: LoggedIn) -> Response:
    """Hand out what a login wanted: the first pair of tokens, or a browser session; and a token of the device."""
    wanted = login.wanted
    if wanted.delivery == "session":
        response = _session_response(gateway, login)
    else:
        response = await _first_tokens(gateway, login, as_cookie=wanted.delivery == "cookie")
    if wanted.delivery != "body" and login.device_token is not None:
        set_device_cookie(response, gateway.settings, login.device_token)
    return response


async def _first_tokens(gateway: Gateway, login: LoggedIn, *, as_cookie: bool) -> Response:
    user, opened = login.user, login.opened
    access_token = await gateway.access_tokens.mint(
        subject=user.user_id,
        family_id=opened.family_id,
        auth_time=opened.auth_time,
        roles=user.roles,
        email=user.email,
        name=user.name,
        now=gateway.clock(),
        session_seconds_left=opened.max_age_seconds,
        amr=login.amr,
    )
    return token_response(
        gateway,
        access_token,
        opened.refresh_token,
        max_age_seconds=opened.max_age_seconds,
        as_cookie=as_cookie,
        rate=login.rate,
        user=user,
        device_token=None if as_cookie else login.device_token,
    )


def _session_response(gateway: Gateway, login: LoggedIn) -> Response:
    """Hand out a browser session, which outlives the browser when it is to be remembered."""
    response = json_response(UserAnswer(user_body(login.user)))
    cookie = gateway.families.cookie_of(login.user.user_id, login.opened)
    max_age_seconds = gateway.settings.refresh_absolute_ttl_seconds if login.wanted.remember else None
    set_session_cookie(response, gateway.settings, cookie, max_age_seconds)
    tell_rate(response, login.rate)
    return response


def tell_rate(response: Response, rate: RateState | None) -> None:
    """Say what is left of a limit."""
    if rate:
        response.headers["RateLimit-Policy"], response.headers["RateLimit"] = rate.policy, rate.state


def user_body(user: User) -> UserBody:
    """Give a user as shown to himself."""
    return UserBody(
        id=user.user_id,
        email=user.email,
        full_name=user.name,
        roles=user.roles,
        is_active=user.is_active,
        created_at=rfc3339(user.created_at),
    )
