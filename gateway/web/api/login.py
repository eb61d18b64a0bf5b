"""POST /auth/login: a password, a second factor after it, or a passkey alone becomes a session."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.errors import MalformedRequest, Overloaded
from gateway.state import GatewayRequest
from gateway.web.api.delivery import login_response, tell_rate
from gateway.web.api.wire import LoginRequest, NoMembers, PasskeyOptions
from gateway.web.html import asks_for_page
from gateway.web.http import (
    Credentials,
    SecondStep,
    Wanted,
    address_of,
    begin_passkey_login,
    complete_login,
    heard_address,
    is_too_large,
    json_response,
    open_session,
    read_body,
    refuse_cross_site,
    refuse_quickly,
    refuse_token_in_query,
)

OAUTH_FORM_FIELDS = frozenset({"grant_type", "scope", "client_id", "client_secret"})


async def log_in(request: GatewayRequest) -> Response:
    """Open a session for who has shown all that is asked of him, and hand it out."""
    address = heard_address(request)
    refuse_token_in_query(request)
    step = _step_of(await read_body(request, LoginRequest, ignored_fields=OAUTH_FORM_FIELDS))
    if isinstance(step, Credentials):
        login = await open_session(request, step, address)
    else:
        login = await complete_login(request, step, address)
    return await login_response(request.state["gateway"], login)


def _step_of(body: LoginRequest) -> Credentials | SecondStep:
    """
    Tell the two steps apart.

    Raises:
        MalformedRequest: It is neither, or both.
    """
    wanted = Wanted(body.delivery, body.remember, body.device_token)
    factors = [factor for factor in (body.totp, body.recovery, body.passkey) if factor is not None]
    if body.pending is None:
        if body.username is None or body.password is None:
            raise _malformed("username and password are needed, or pending and a second factor")
        if factors:
            raise _malformed("A second factor is shown with pending")
        return Credentials(body.username, body.password, wanted)
    if len(factors) != 1 or body.username is not None or body.password is not None:
        raise _malformed("pending is sent with one of `totp`, `recovery` and `passkey`")
    return SecondStep(body.pending, body.totp, body.recovery, body.passkey, wanted)


def _malformed(detail: str) -> MalformedRequest:
    return MalformedRequest(detail, "body-unreadable")


async def begin_login_by_passkey(request: GatewayRequest) -> Response:
    """POST /auth/login/passkey: give the options for a login without a password."""
    gateway = request.state["gateway"]
    refuse_token_in_query(request)
    refuse_cross_site(request.headers, gateway.settings)
    await read_body(request, NoMembers, form=False)
    asked, rate = await begin_passkey_login(request, address_of(request, gateway.trusted_networks))
    response = json_response(PasskeyOptions(asked.public_key or {}, asked.pending))
    tell_rate(response, rate)
    return response


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
