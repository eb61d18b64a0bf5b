"""How a password becomes a session, whoever asks for it: the API or a page."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from gateway.accounts import NOBODY, UnknownUser, User, UserChanged, normalise_email
from gateway.errors import GatewayError, InvalidCredentials, Overloaded, RateLimited, RefreshTokenInvalid, Unavailable
from gateway.limits import RateState
from gateway.sessions import Opened, new_family_id
from gateway.state import Gateway, GatewayRequest
from gateway.telemetry import LOGIN_FAILED, LOGIN_SUCCEEDED, LOGINS, SESSIONS_REVOKED
from gateway.web.http.audit import tell
from gateway.web.http.bearer import find_session
from gateway.web.http.client_address import Address, address_of, rate_key, rate_keys
from gateway.web.http.cookies import KNOWN_DEVICE, REFRESH_TOKEN, cookie_name, read_cookie
from gateway.web.http.cross_site import refuse_cross_site
from gateway.web.http.device import device_label

FACTOR = "pwd"  # RFC 8176
_OUTCOMES: tuple[tuple[type[GatewayError], str], ...] = (
    (InvalidCredentials, "failed"),
    (RateLimited, "limited"),
    (Overloaded, "overloaded"),
    (Unavailable, "unavailable"),
)


@dataclass(frozen=True, repr=False)
class Credentials:
    """
    What somebody logs in with.

    `device_token` is what an earlier login gave, where it does not come as a cookie; `most_seconds` how long the
    session may live at most, None for as long as any.
    """

    username: str
    password: str
    device_token: str | None = None
    most_seconds: int | None = None


@dataclass(frozen=True, repr=False)
class LoggedIn:
    """A login that was right: the user, his new session, a token of his device, and what is left of the limit."""

    user: User
    opened: Opened
    device_token: str | None
    rate: RateState | None


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
    with _refusals_counted(gateway):
        gateway.passwords.refuse_when_full(rate_key(address))
    return address


def earlier_sessions(request: GatewayRequest) -> list[tuple[str, str]]:
    """
    Give user and family of the sessions whose cookies came along: the browser is about to overwrite them.

    Raises:
        MalformedRequest: A cookie was sent twice.
    """
    return list(_earlier_sessions(request))


async def open_session(request: GatewayRequest, credentials: Credentials, address: Address) -> LoggedIn:
    """
    Compare the password, open a family, and end those that the browser brought along.

    Raises:
        InvalidCredentials: Unknown user, wrong password, disabled user.
        RateLimited: Too many attempts, of this address or for this account.
        MalformedRequest, Overloaded, StoreUnavailable: As everywhere.
    """
    gateway = request.state["gateway"]
    with _refusals_counted(gateway):
        login = await _open_session(request, credentials, address)
    count_login(gateway)
    return login


def count_login(gateway: Gateway) -> None:
    """Count one that was right."""
    gateway.metrics.count(LOGINS, "succeeded", FACTOR)


@contextlib.contextmanager
def _refusals_counted(gateway: Gateway) -> Iterator[None]:
    try:
        yield
    except GatewayError as error:
        for kind, outcome in _OUTCOMES:
            if isinstance(error, kind):
                gateway.metrics.count(LOGINS, outcome, FACTOR)
                break
        raise


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
    await end_who_gave_way(request, user, opened)
    for user_id, family_id in earlier:
        if await gateway.families.exists(user_id, family_id):
            told = partial(tell, SESSIONS_REVOKED, request, "replaced", sub=user_id, sid=family_id)
            await gateway.end_families(user_id, (family_id,), "replaced", told)
    tell(LOGIN_SUCCEEDED, request, sub=user.user_id, sid=opened.family_id)
    device_token = gateway.guessing.remember_device(user.user_id, user.password_version, device_id)
    return LoggedIn(user, opened, device_token, rate)


async def _open(request: GatewayRequest, credentials: Credentials, address: Address) -> tuple[User, Opened, str | None]:
    """Compare the password, if the attempt may be heard, and open a family; give the id of a known device, too."""
    gateway = request.state["gateway"]
    email = normalise_email(credentials.username)
    cookie = read_cookie(request.scope["headers"], cookie_name(gateway.settings, KNOWN_DEVICE))
    found = await gateway.users.find(email)
    if found is not None:
        request.scope["gateway.sub"] = found.user_id
    owner = (found.user_id, found.password_version) if found else (NOBODY, 0)
    device_id = gateway.guessing.device_of(*owner, credentials.device_token or cookie)
    async with gateway.guessing.login(email, device_id) as attempt:
        user = await _authenticate(gateway, found, credentials.password, rate_key(address))
        attempt.was_right = True
        opened = await open_family(request, user, address, most_seconds=credentials.most_seconds)
    return user, opened, attempt.device_id


async def open_family(
    request: GatewayRequest, user: User, address: Address, *, most_seconds: int | None = None
) -> Opened:
    """Open a session of a user who has shown that he is one, under the address and the device that he comes with."""
    return await request.state["gateway"].families.open(
        user.user_id,
        user.password_version,
        new_family_id(),
        str(address),
        device_label(request.headers.get("user-agent", "")),
        most_seconds=most_seconds,
    )


async def end_who_gave_way(request: GatewayRequest, user: User, opened: Opened) -> None:
    """End the sessions that a new one leaves no room for, and what a crash has left of other endings."""
    for family_id in opened.gave_way:
        tell(SESSIONS_REVOKED, request, "too-many", sub=user.user_id, sid=family_id)
    await request.state["gateway"].end_families(user.user_id, opened.unannounced, "too-many")


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


def _earlier_sessions(request: GatewayRequest) -> Iterator[tuple[str, str]]:
    gateway, headers = request.state["gateway"], request.scope["headers"]
    refresh_token = read_cookie(headers, cookie_name(gateway.settings, REFRESH_TOKEN))
    if refresh_token is not None:
        with contextlib.suppress(RefreshTokenInvalid):
            token = gateway.families.parse(refresh_token)
            yield token.user_id, token.family_id
    if (session := find_session(headers, gateway)) is not None:
        yield session.user_id, session.family_id
