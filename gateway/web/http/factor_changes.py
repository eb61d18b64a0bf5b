"""
How second factors are set up and taken away by who has logged in, whoever asks for it, the API or a page.

All of it takes a young login (`young_login`).
"""

from gateway.accounts import Factor, NewCredential, NewTotp, User
from gateway.errors import MalformedRequest, NotFound
from gateway.state import GatewayRequest
from gateway.telemetry import FACTOR_ADDED, FACTOR_REMOVED
from gateway.web.http.audit import tell
from gateway.web.http.bearer import Caller
from gateway.web.http.client_address import address_of, rate_keys
from gateway.web.http.noting import note_change
from gateway.web.http.second_step import failures_told
from gateway.web.http.young_login import MULTIPLE, user_with_young_login


async def user_who_may_change(request: GatewayRequest, caller: Caller) -> User:
    """
    Give the user who asks, if he may change his factors with this login.

    Raises:
        AuthenticationTooWeak, AccessTokenInvalid: As `user_with_young_login`.
        NotFound: Second factors are off: they rest as they are.
    """
    if not request.state["gateway"].factors.logins.is_on:
        raise NotFound("Second factors are off here")
    return await user_with_young_login(request, caller)


async def begin_own_totp(request: GatewayRequest, caller: Caller) -> NewTotp:
    """
    Give a secret for an authenticator app of the caller.

    Raises:
        RateLimited, StoreUnavailable: As everywhere; and as `user_who_may_change`.
    """
    user = await user_who_may_change(request, caller)
    await _count(request)
    return await request.state["gateway"].factors.begin_totp(user)


async def confirm_own_totp(request: GatewayRequest, caller: Caller, factor_id: str, code: str, name: str) -> Factor:
    """
    Make it a factor.

    Raises:
        SecondFactorInvalid: The code is wrong, or there is nothing to confirm any more.
        MalformedRequest: There are as many as anybody may have, or the name is none; and as `user_who_may_change`.
    """
    user, factors = await user_who_may_change(request, caller), request.state["gateway"].factors
    with failures_told(request):
        factor = await factors.confirm_totp(user.user_id, factor_id, code, name, only_first=_is_weak(caller))
    tell(FACTOR_ADDED, request, factor.kind, sid=caller.sid)
    await note_change(request, caller.sub, factor.kind, caller.sid)
    return factor


async def begin_own_passkey(request: GatewayRequest, caller: Caller) -> dict[str, object]:
    """Give the options for a passkey of the caller, likewise."""
    user = await user_who_may_change(request, caller)
    await _count(request)
    return await request.state["gateway"].factors.begin_passkey(user)


async def add_own_passkey(request: GatewayRequest, caller: Caller, answer: NewCredential, name: str) -> Factor:
    """
    Make it a factor.

    Raises:
        SecondFactorInvalid: It was not made as it was asked for, or that is over; else as `confirm_own_totp`.
    """
    user, factors = await user_who_may_change(request, caller), request.state["gateway"].factors
    with failures_told(request):
        factor = await factors.add_passkey(user.user_id, answer, name, only_first=_is_weak(caller))
    tell(FACTOR_ADDED, request, factor.kind, sid=caller.sid)
    await note_change(request, caller.sub, factor.kind, caller.sid)
    return factor


async def make_own_recovery_codes(request: GatewayRequest, caller: Caller) -> tuple[str, ...]:
    """
    Give ten new recovery codes of the caller; those from before are void.

    Raises:
        MalformedRequest: There is no factor that could be lost; and as `user_who_may_change`.
    """
    user = await user_who_may_change(request, caller)
    if _is_weak(caller):
        raise MalformedRequest("Recovery codes are for who has another second factor: set that up first")
    codes = await request.state["gateway"].factors.make_recovery_codes(user.user_id)
    tell(FACTOR_ADDED, request, "recovery", sid=caller.sid)
    await note_change(request, caller.sub, "recovery", caller.sid)
    return codes


async def remove_own_factor(request: GatewayRequest, caller: Caller, factor_id: str) -> None:
    """
    Take a factor of the caller away, with the last one the recovery codes too.

    Raises:
        NotFound: There is none such; and as `user_who_may_change`.
    """
    user = await user_who_may_change(request, caller)
    if not await request.state["gateway"].factors.remove(user.user_id, factor_id):
        raise NotFound("You have no such factor")
    tell(FACTOR_REMOVED, request, sid=caller.sid)
    await note_change(request, caller.sub, "removed", caller.sid)


def _is_weak(caller: Caller) -> bool:
    """Tell whether a login is only enough for who has no factor; scripts decide whether that is still so."""
    return MULTIPLE not in caller.amr


async def _count(request: GatewayRequest) -> None:
    gateway = request.state["gateway"]
    await gateway.rate_limiter.take("factors", *rate_keys(address_of(request, gateway.trusted_networks)))
