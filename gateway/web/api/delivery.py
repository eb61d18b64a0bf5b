"""How tokens, and the user they are of, are handed out."""

from starlette.responses import Response

from gateway.accounts import User
from gateway.clock import rfc3339
from gateway.limits import RateState
from gateway.sessions import Opened
from gateway.state import Gateway
from gateway.web.api.wire import TokenBody, UserAnswer, UserBody
from gateway.web.http import json_response, set_refresh_cookie, set_session_cookie


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
    _tell_rate(response, rate)
    return response


def session_response(
    gateway: Gateway, user: User, opened: Opened, *, remember: bool, rate: RateState | None
) -> Response:
    """Hand out a browser session, which outlives the browser when it is to be remembered."""
    response = json_response(UserAnswer(user_body(user)))
    cookie = gateway.presences.cookie_of(user.user_id, opened)
    max_age_seconds = gateway.settings.refresh_absolute_ttl_seconds if remember else None
    set_session_cookie(response, gateway.settings, cookie, max_age_seconds)
    _tell_rate(response, rate)
    return response


def _tell_rate(response: Response, rate: RateState | None) -> None:
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
