"""POST /auth/login: a password becomes a session."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.errors import MalformedRequest, Overloaded
from gateway.state import GatewayRequest
from gateway.web.api.delivery import session_response, token_response
from gateway.web.api.wire import LoginRequest
from gateway.web.html import asks_for_page
from gateway.web.http import (
    Credentials,
    LoggedIn,
    heard_address,
    is_too_large,
    open_session,
    read_body,
    refuse_quickly,
    refuse_token_in_query,
    set_device_cookie,
)

OAUTH_FORM_FIELDS = frozenset({"grant_type", "scope", "client_id", "client_secret"})


async def log_in(request: GatewayRequest) -> Response:
    """Compare the password, open a family, and hand out the first pair of tokens, or a browser session."""
    gateway = request.state["gateway"]
    address = heard_address(request)
    refuse_token_in_query(request)
    body = await read_body(request, LoginRequest, ignored_fields=OAUTH_FORM_FIELDS)
    if body.delivery not in ("cookie", "body", "session"):
        raise MalformedRequest("delivery is `cookie`, `body` or `session`", "body-unreadable")
    is_short = body.delivery == "session" and not body.remember
    most_seconds = gateway.settings.browser_session_ttl_seconds if is_short else None
    credentials = Credentials(body.username, body.password, body.device_token, most_seconds)
    login = await open_session(request, credentials, address)

    if body.delivery == "session":
        response = session_response(gateway, login.user, login.opened, remember=body.remember, rate=login.rate)
    else:
        response = await _with_tokens(request, login, as_cookie=body.delivery == "cookie")
    if body.delivery != "body" and login.device_token is not None:
        set_device_cookie(response, gateway.settings, login.device_token)
    return response


async def _with_tokens(request: GatewayRequest, login: LoggedIn, *, as_cookie: bool) -> Response:
    gateway, user, opened = request.state["gateway"], login.user, login.opened
    access_token = await gateway.access_tokens.mint(
        subject=user.user_id,
        family_id=opened.family_id,
        auth_time=opened.auth_time,
        roles=user.roles,
        email=user.email,
        name=user.name,
        now=gateway.clock(),
        session_seconds_left=opened.max_age_seconds,
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


def login_quickly(scope: Scope) -> tuple[int, bytes] | None:
    """Refuse who would wait too long (`gateway.state.QuickAnswer`): all that most requests of a flood cost."""
    request: GatewayRequest = Request(scope)
    if "origin" in request.headers or is_too_large(request.headers) or asks_for_page(request.headers):
        return None
    try:
        heard_address(request)
    except Overloaded as error:
        return refuse_quickly(scope, error)
    return None
