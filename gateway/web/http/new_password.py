"""How a user changes his own password, whoever asks for it: the API or a page."""

from gateway.accounts import UnknownUser, UserChanged, check_new_password
from gateway.errors import AccessTokenInvalid, InvalidCredentials, WrongCurrentPassword
from gateway.state import GatewayRequest
from gateway.telemetry import PASSWORD_CHANGED
from gateway.web.http.audit import tell
from gateway.web.http.bearer import Caller
from gateway.web.http.client_address import address_of, rate_key, rate_keys
from gateway.web.http.noting import note_change


async def change_password_of(request: GatewayRequest, caller: Caller, current: str, new: str) -> None:
    """
    Compare the current password, judge the new one, store it, and end the caller's other sessions with it.

    Raises:
        WrongCurrentPassword: It is not the user's, or somebody else has changed it meanwhile.
        PasswordRejected: The new one breaks a rule.
        RateLimited, Overloaded, StoreUnavailable: As at a login.
        AccessTokenInvalid: The user is disabled or gone.
    """
    gateway = request.state["gateway"]
    address = address_of(request, gateway.trusted_networks)
    await gateway.rate_limiter.take("change-password", *rate_keys(address))
    user = await gateway.users.get(caller.sub)
    if user is None or not user.is_active:
        raise AccessTokenInvalid("user_disabled")
    try:
        async with gateway.guessing.change_of_password(user.email):
            await gateway.passwords.verify(current, user.password_hash, rate_key(address))
    except InvalidCredentials as error:
        request.scope["gateway.error"] = WrongCurrentPassword()
        tell(PASSWORD_CHANGED, request, "wrong-password", sid=caller.sid)
        raise WrongCurrentPassword from error
    check_new_password(
        new,
        email=user.email,
        min_length=gateway.settings.password_min_length,
        current=current,
        service_names=gateway.service_names,
    )
    try:
        ended = await gateway.users.set_password(
            user.user_id,
            await gateway.passwords.hash(new, rate_key(address)),
            expected_version=user.password_version,
            keep_family=caller.sid,
        )
    except (UserChanged, UnknownUser) as error:
        request.scope["gateway.error"] = WrongCurrentPassword()
        tell(PASSWORD_CHANGED, request, "user-changed", sid=caller.sid)
        raise WrongCurrentPassword from error
    tell(PASSWORD_CHANGED, request, sid=caller.sid)
    await gateway.finish_ending(user.user_id, ended, "password-changed")
    await note_change(request, user.user_id, "password", caller.sid)
