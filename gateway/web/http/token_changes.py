"""How personal tokens are made and revoked by their owner, whoever asks for it, the API or a page."""

from functools import partial

from gateway.accounts import check_factor_name, check_roles
from gateway.errors import CommandError, MalformedRequest, NotFound
from gateway.machines import DEFAULT_DAYS, TokenEntry
from gateway.state import GatewayRequest
from gateway.telemetry import TOKEN_CREATED, TOKEN_REVOKED
from gateway.web.http.audit import tell
from gateway.web.http.bearer import Caller
from gateway.web.http.client_address import address_of, rate_keys
from gateway.web.http.noting import note_change
from gateway.web.http.young_login import user_with_young_login


async def make_own_token(
    request: GatewayRequest, caller: Caller, name: str, roles: tuple[str, ...] | None, days: int = DEFAULT_DAYS
) -> tuple[str, TokenEntry]:
    """
    Make a personal token of the caller, and give its text, which nobody can tell again, and its entry.

    Args:
        roles: Of the caller's, each kept once; None for all, whatever they will be.
        days: 1 to 365.

    Raises:
        AuthenticationTooWeak, AccessTokenInvalid: As `user_with_young_login`.
        MalformedRequest: The name is none, a role is not the caller's, or there are as many as anybody may have.
        RateLimited, StoreUnavailable: As everywhere.
    """
    gateway = request.state["gateway"]
    user = await user_with_young_login(request, caller)
    name = check_factor_name(name)
    if not name:
        raise MalformedRequest("A personal token needs a name")
    try:
        roles = None if roles is None else check_roles(roles)
    except CommandError as error:
        raise MalformedRequest(str(error)) from error
    await gateway.rate_limiter.take("tokens", *rate_keys(address_of(request, gateway.trusted_networks)))
    text, entry = await gateway.personal_tokens.create(user.user_id, name, roles, days)
    tell(TOKEN_CREATED, request, sid=caller.sid, token_id=entry.token_id)
    await note_change(request, user.user_id, "token", caller.sid)
    return text, entry


async def revoke_own_token(request: GatewayRequest, caller: Caller, token_id: str) -> None:
    """
    Revoke a personal token of the caller, by a login of any age: what takes a way in away is not to be hindered.

    Raises:
        NotFound: There is none such.
        StoreUnavailable: Not everybody knows; the caller should try again.
    """
    told = partial(tell, TOKEN_REVOKED, request, sid=caller.sid, token_id=token_id)
    if not await request.state["gateway"].end_personal_token(caller.sub, token_id, told):
        raise NotFound("You have no such personal token")
