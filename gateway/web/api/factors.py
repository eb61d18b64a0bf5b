"""
/auth/factors: the second factors of who asks, and the first one of who has to set one up to log in.

The calls that set one up take the `pending` of POST /auth/login in place of a login: the last of them, which confirms
the factor, then answers as that does.
"""

import msgspec
from starlette.responses import Response

from gateway.accounts import Factor
from gateway.clock import rfc3339
from gateway.errors import MalformedRequest, UnsupportedMediaType
from gateway.state import GatewayRequest
from gateway.web.api.delivery import login_response
from gateway.web.api.wire import (
    AddPasskeyRequest,
    ConfirmTotpRequest,
    EnrolmentRequest,
    FactorBody,
    FactorsBody,
    NewTotpBody,
    NoMembers,
    PasskeyOptions,
    PendingMember,
    RecoveryCodesBody,
)
from gateway.web.http import (
    Address,
    Caller,
    add_own_passkey,
    address_of,
    begin_own_passkey,
    begin_own_totp,
    complete_by_first_passkey,
    complete_by_first_totp,
    confirm_own_totp,
    json_response,
    make_own_recovery_codes,
    read_body,
    refuse_cross_site,
    refuse_token_in_query,
    remove_own_factor,
    require_caller,
    user_to_enrol,
)


async def list_factors(request: GatewayRequest) -> Response:
    """Give the caller's second factors, the oldest first."""
    caller = await require_caller(request)
    factors = await request.state["gateway"].factors.all(caller.sub)
    return json_response(FactorsBody([_row(factor) for factor in factors]))


async def begin_totp(request: GatewayRequest) -> Response:
    """Give the secret for an authenticator app."""
    caller = await _caller_unless_pending(request)
    body = await read_body(request, EnrolmentRequest, form=False)
    if caller is not None:
        new = await begin_own_totp(request, caller)
    else:
        user = await user_to_enrol(request, body.pending or "", _address_of_login(request))
        new = await request.state["gateway"].factors.begin_totp(user)
    return json_response(NewTotpBody(new.factor_id, new.secret, new.otpauth_uri))


async def confirm_totp(request: GatewayRequest) -> Response:
    """Make it a factor, now that a code of it is shown."""
    caller = await _caller_unless_pending(request)
    body = await read_body(request, ConfirmTotpRequest, form=False)
    if caller is not None:
        return json_response(_row(await confirm_own_totp(request, caller, body.id, body.code, body.name)))
    address = _address_of_login(request)
    login = await complete_by_first_totp(request, body.pending or "", body.id, body.code, body.name, address)
    return await login_response(request.state["gateway"], login)


async def begin_passkey(request: GatewayRequest) -> Response:
    """Give the options for a new passkey."""
    caller = await _caller_unless_pending(request)
    body = await read_body(request, EnrolmentRequest, form=False)
    if caller is not None:
        options = await begin_own_passkey(request, caller)
    else:
        user = await user_to_enrol(request, body.pending or "", _address_of_login(request))
        options = await request.state["gateway"].factors.begin_passkey(user)
    return json_response(PasskeyOptions(options))


async def add_passkey(request: GatewayRequest) -> Response:
    """Make it a factor."""
    caller = await _caller_unless_pending(request)
    body = await read_body(request, AddPasskeyRequest, form=False)
    if caller is not None:
        return json_response(_row(await add_own_passkey(request, caller, body.credential, body.name)))
    address = _address_of_login(request)
    login = await complete_by_first_passkey(request, body.pending or "", body.credential, body.name, address)
    return await login_response(request.state["gateway"], login)


async def make_recovery_codes(request: GatewayRequest) -> Response:
    """Give ten new recovery codes."""
    caller = await require_caller(request)
    await read_body(request, NoMembers, form=False)
    return json_response(RecoveryCodesBody(await make_own_recovery_codes(request, caller)))


async def remove_factor(request: GatewayRequest) -> Response:
    """Take one of the caller's factors away."""
    caller = await require_caller(request)
    await remove_own_factor(request, caller, request.path_params["id"])
    return Response(status_code=204)


async def _caller_unless_pending(request: GatewayRequest) -> Caller | None:
    """
    Give who asks; None where the body says that a pending login takes the place of a login.

    A body that cannot be read says nothing of the kind: only who may ask is told what is wrong with it.
    """
    try:
        pending = (await read_body(request, PendingMember, form=False)).pending
    except (MalformedRequest, UnsupportedMediaType):
        pending = None
    return await require_caller(request) if pending is None else None


def _address_of_login(request: GatewayRequest) -> Address:
    """Give from where somebody logs in; a browser may not do so from another site."""
    gateway = request.state["gateway"]
    refuse_token_in_query(request)
    refuse_cross_site(request.headers, gateway.settings)
    return address_of(request, gateway.trusted_networks)


def _row(factor: Factor) -> FactorBody:
    return FactorBody(
        id=factor.factor_id,
        kind=factor.kind,
        name=factor.name,
        created_at=rfc3339(factor.created_at),
        last_used_at=rfc3339(factor.last_used_at) if factor.last_used_at is not None else None,
        left=msgspec.UNSET if factor.left is None else factor.left,
    )
