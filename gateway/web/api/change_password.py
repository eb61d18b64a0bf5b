"""POST /auth/change-password: a new password, and every other session ends."""

from starlette.responses import Response

from gateway.accounts import UnknownUser, UserChanged, check_new_password
from gateway.errors import AccessTokenInvalid, InvalidCredentials, WrongCurrentPassword
from gateway.state import GatewayRequest
from gateway.web.api.wire import ChangePasswordRequest
from gateway.web.http import address_of, rate_key, rate_keys, read_body, require_caller, tell


async def change_own_password(request: GatewayRequest) -> Response:
    """Compare the current password, judge the new one, store it, and end the other sessions with it."""
    gateway = request.state["gateway"]
    claims = await require_caller(request)
    body = await read_body(request, ChangePasswordRequest, form=False)
    address = address_of(request, gateway.trusted_networks)
    await gateway.rate_limiter.take("change-password", *rate_keys(address))
    user = await gateway.users.get(claims.sub)
    if user is None or not user.is_active:
        raise AccessTokenInvalid("user_disabled")
    try:
        async with gateway.guessing.change_of_password(user.email):
            await gateway.passwords.verify(body.current_password, user.password_hash, rate_key(address))
    except InvalidCredentials as error:
        tell("password_changed", request, failed=True, reason="wrong-password", sid=claims.sid)
        raise WrongCurrentPassword from error
    check_new_password(
        body.new_password,
        email=user.email,
        min_length=gateway.settings.password_min_length,
        current=body.current_password,
        service_names=gateway.service_names,
    )
    try:
        ended = await gateway.users.set_password(
            user.user_id,
            await gateway.passwords.hash(body.new_password, rate_key(address)),
            expected_version=user.password_version,
            keep_family=claims.sid,
        )
    except (UserChanged, UnknownUser) as error:
        raise WrongCurrentPassword from error
    await gateway.finish_ending(user.user_id, ended)
    tell("password_changed", request, sid=claims.sid)
    return Response(status_code=204)
