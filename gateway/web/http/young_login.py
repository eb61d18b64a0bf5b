"""
Who may change what opens doors, second factors and personal tokens: only who has logged in lately, and well.

It takes a login that is at most `YOUNG_SECONDS` old, and one with a second factor from who has one: whoever finds a
browser open, or has a password alone, changes nothing.
"""

from gateway.accounts import User
from gateway.errors import AccessTokenInvalid, AuthenticationTooWeak
from gateway.state import GatewayRequest
from gateway.web.http.bearer import Caller

YOUNG_SECONDS = 600
MULTIPLE = "mfa"


async def user_with_young_login(request: GatewayRequest, caller: Caller) -> User:
    """
    Give the user who asks, if the login is good enough. Factors that rest (`second_factor = off`) are not asked for.

    Raises:
        AuthenticationTooWeak: It is too old, or was made without a second factor though there is one.
        AccessTokenInvalid: The user is disabled or gone.
    """
    gateway = request.state["gateway"]
    user = await gateway.users.get(caller.sub)
    if user is None or not user.is_active:
        raise AccessTokenInvalid("user_disabled")
    is_old = gateway.clock() - caller.auth_time > YOUNG_SECONDS
    asks_for_factors = gateway.factors.logins.is_on and MULTIPLE not in caller.amr
    is_weak = asks_for_factors and bool(await gateway.factors.all(caller.sub))
    if is_old or is_weak:
        raise AuthenticationTooWeak(YOUNG_SECONDS if is_old else None, ((MULTIPLE,),) if is_weak else ())
    return user
