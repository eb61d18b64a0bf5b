"""
How a password becomes a session, or what has to follow it, whoever asks: the API or a page. What follows is in
`second_step`.
"""

import contextlib
from dataclasses import dataclass

from gateway.accounts import NOBODY, PendingLogin, UnknownUser, User, UserChanged, normalise_email
from gateway.errors import InvalidCredentials, Overloaded, SecondFactorRequired
from gateway.sessions import Opened
from gateway.state import Gateway, GatewayRequest
from gateway.telemetry import LOGIN_FAILED
from gateway.web.http.audit import tell
from gateway.web.http.client_address import Address, address_of, rate_key, rate_keys
from gateway.web.http.cross_site import refuse_cross_site
from gateway.web.http.opened import (
    PASSWORD,
    LoggedIn,
    Wanted,
    earlier_sessions,
    finish_opening,
    given_device_token,
    open_family,
    refusals_counted,
)


@dataclass(frozen=True, repr=False)
class Credentials:
    """What somebody logs in with at first, and what for."""

    username: str
    password: str
    wanted: Wanted


def heard_address(request: GatewayRequest) -> Address:
    """
    Give the address of who may log in from where he comes, and whose password can be looked at in time.

    Raises:
        CrossSiteRequest: A browser sent this from another site.
        Overloaded: Too many passwords wait already.
    """
    gateway = request.state["gateway"]
    refuse_cross_site(request.headers, gateway.settings)
    address = address_of(request, gateway.trusted_networks)
    with refusals_counted(gateway, PASSWORD):
        gateway.passwords.refuse_when_full(rate_key(address))
    return address


async def open_session(request: GatewayRequest, credentials: Credentials, address: Address) -> LoggedIn:
    """
    Compare the password and, where nothing else is asked of the user, open a family and end those that the browser
    brought along.

    Raises:
        InvalidCredentials: Unknown user, wrong password, disabled user.
        SecondFactorRequired: The password is right; `complete_login` goes on with what this says.
        RateLimited: Too many attempts, of this address or for this account.
        MalformedRequest, Overloaded, StoreUnavailable: As everywhere.
    """
    gateway = request.state["gateway"]
    with refusals_counted(gateway, PASSWORD):
        return await _open_session(request, credentials, address)


async def _open_session(request: GatewayRequest, credentials: Credentials, address: Address) -> LoggedIn:
    gateway = request.state["gateway"]
    earlier = earlier_sessions(request)
    request.scope["gateway.email"] = normalise_email(credentials.username)
    rate = await gateway.rate_limiter.take("login", *rate_keys(address))
    try:
        user, opened, device_id = await _open(request, credentials, address)
    except InvalidCredentials as error:
        if "gateway.sub" not in request.scope:
            error.cause = "unknown-user"
        request.scope["gateway.error"] = error
        tell(LOGIN_FAILED, request, error.cause)
        raise
    await finish_opening(request, user, opened, earlier)
    device_token = gateway.guessing.remember_device(user.user_id, user.password_version, device_id)
    return LoggedIn(user, opened, credentials.wanted, device_token, rate)


async def _open(request: GatewayRequest, credentials: Credentials, address: Address) -> tuple[User, Opened, str | None]:
    """Compare the password, if the attempt may be heard, and open a family; give the id of a known device, too."""
    gateway, wanted = request.state["gateway"], credentials.wanted
    email = normalise_email(credentials.username)
    found = await gateway.users.find(email)
    if found is not None:
        request.scope["gateway.sub"] = found.user_id
    owner = (found.user_id, found.password_version) if found else (NOBODY, 0)
    device_id = gateway.guessing.device_of(*owner, given_device_token(request, wanted))
    async with gateway.guessing.login(email, device_id) as attempt:
        user = await _authenticate(gateway, found, credentials.password, rate_key(address))
        attempt.was_right = True
        lacking = await ask_for_more(request, user, wanted, attempt.device_id)
        if lacking is None:
            opened = await open_family(request, user, address, most_seconds=wanted.most_seconds(gateway.settings))
            return user, opened, attempt.device_id
    raise lacking


async def ask_for_more(
    request: GatewayRequest, user: User, wanted: Wanted, device_id: str | None = None
) -> SecondFactorRequired | None:
    """
    Give what has to be told to a user whose password is right, and for whom no session may be opened yet; None where
    nothing is lacking.

    Whoever opens a session of somebody who has shown a password, or nothing yet, asks this first.

    Args:
        device_id: By which the device is known; see `gateway.limits`.
    """
    gateway = request.state["gateway"]
    demand = await gateway.factors.logins.demand(user.user_id)
    if demand.what == "none":
        return None
    pending = PendingLogin(
        purpose=demand.what,
        user_id=user.user_id,
        password_version=user.password_version,
        device_id=device_id,
        delivery=wanted.delivery,
        most_seconds=wanted.most_seconds(gateway.settings),
        remember=wanted.remember,
    )
    asked = await gateway.factors.logins.ask(pending)
    return SecondFactorRequired(demand.methods, asked.pending, asked.public_key)


async def _authenticate(gateway: Gateway, user: User | None, password: str, address_key: str) -> User:
    # An unknown or disabled user costs one bcrypt too, so timing does not tell who exists.
    await gateway.passwords.verify(password, user.password_hash if user else None, address_key)
    if user is None or not user.is_active:
        raise InvalidCredentials("user-disabled")
    if gateway.passwords.needs_renewal(user.password_hash):
        with contextlib.suppress(Overloaded, UserChanged, UnknownUser):
            renewed = await gateway.passwords.hash(password, address_key)
            await gateway.users.renew_hash(user.user_id, renewed, user.password_version)
    return user
