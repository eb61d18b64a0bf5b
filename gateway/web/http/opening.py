"""How a password becomes a session, whoever asks for it: the API or a page."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.accounts import NOBODY, PendingLogin, Proved, UnknownUser, User, UserChanged, normalise_email
from gateway.errors import InvalidCredentials, Overloaded, RefreshTokenInvalid, SecondFactorRequired
from gateway.limits import RateState
from gateway.sessions import BY_PASSWORD, Opened, new_family_id
from gateway.settings import Settings
from gateway.state import Gateway, GatewayRequest
from gateway.web.http.audit import tell
from gateway.web.http.bearer import find_session
from gateway.web.http.client_address import Address, address_of, rate_key, rate_keys
from gateway.web.http.cookies import KNOWN_DEVICE, REFRESH_TOKEN, cookie_name, read_cookie
from gateway.web.http.cross_site import refuse_cross_site
from gateway.web.http.device import device_label


@dataclass(frozen=True, repr=False)
class Wanted:
    """
    What a login is to give.

    `delivery` is `cookie`, `body` or `session`, `remember` whether a browser session outlives the browser;
    `device_token` is what an earlier login gave, where it does not come as a cookie.
    """

    delivery: str = "session"
    remember: bool = False
    device_token: str | None = None

    def most_seconds(self, settings: Settings) -> int | None:
        """Give how long the session may live at most; None for as long as any."""
        return settings.browser_session_ttl_seconds if self.delivery == "session" and not self.remember else None


@dataclass(frozen=True, repr=False)
class Credentials:
    """What somebody logs in with at first, and what for."""

    username: str
    password: str
    wanted: Wanted


@dataclass(frozen=True, repr=False)
class LoggedIn:
    """
    A login that was right: the user, his new session and how it was opened, what he wanted, a token of his device, and
    what is left of the limit.

    `proved` is the second factor, or the passkey alone; None after a password alone.
    """

    user: User
    opened: Opened
    wanted: Wanted
    device_token: str | None
    rate: RateState | None
    proved: Proved | None = None

    @property
    def amr(self) -> tuple[str, ...]:
        """Give how the login was made (RFC 8176)."""
        return self.proved.amr if self.proved else BY_PASSWORD


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
    Compare the password and, where nothing else is asked of the user, open a family and end those that the browser
    brought along.

    Raises:
        InvalidCredentials: Unknown user, wrong password, disabled user.
        SecondFactorRequired: The password is right; `complete_login` goes on with what this says.
        RateLimited: Too many attempts, of this address or for this account.
        MalformedRequest, Overloaded, StoreUnavailable: As everywhere.
    """
    gateway = request.state["gateway"]
    earlier = earlier_sessions(request)
    request.scope["gateway.email"] = normalise_email(credentials.username)
    rate = await gateway.rate_limiter.take("login", *rate_keys(address))
    try:
        user, opened, device_id = await _open(request, credentials, address)
    except InvalidCredentials as error:
        if "gateway.sub" not in request.scope:
            error.cause = "unknown-user"
        tell("login_failed", request, failed=True, reason=error.cause)
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
    async with gateway.guessing.login(email, known_device(request, found, wanted)) as attempt:
        user = await _authenticate(gateway, found, credentials.password, rate_key(address))
        attempt.was_right = True
        lacking = await ask_for_more(request, user, wanted, attempt.device_id)
        if lacking is None:
            opened = await open_family(request, user, address, most_seconds=wanted.most_seconds(gateway.settings))
            return user, opened, attempt.device_id
    raise lacking


def known_device(request: GatewayRequest, user: User | None, wanted: Wanted) -> str | None:
    """
    Give the id by which a user's device is known; None for any other.

    Raises:
        CookieSentTwice: Its cookie was.
    """
    gateway = request.state["gateway"]
    cookie = read_cookie(request.scope["headers"], cookie_name(gateway.settings, KNOWN_DEVICE))
    owner = (user.user_id, user.password_version) if user else (NOBODY, 0)
    return gateway.guessing.device_of(*owner, wanted.device_token or cookie)


async def ask_for_more(
    request: GatewayRequest, user: User, wanted: Wanted, device_id: str | None = None
) -> SecondFactorRequired | None:
    """
    Give what has to be told to a user whose password is right, and for whom no session may be opened yet; None where
    nothing is lacking.

    Whoever opens a session of somebody who has shown a password, or nothing yet, asks this first.

    Args:
        device_id: By which the device is known; see `known_device`.
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


async def open_family(
    request: GatewayRequest,
    user: User,
    address: Address,
    *,
    most_seconds: int | None = None,
    proved: Proved | None = None,
) -> Opened:
    """
    Open a session of a user who has shown all that is asked of him, under the address and the device that he comes
    with.

    Args:
        proved: The second factor, or the passkey alone; None where a password is enough.
    """
    return await request.state["gateway"].families.open(
        user.user_id,
        user.password_version,
        new_family_id(),
        str(address),
        device_label(request.headers.get("user-agent", "")),
        most_seconds=most_seconds,
        amr=proved.amr if proved else BY_PASSWORD,
        by_recovery_code=proved.by_recovery_code if proved else False,
        factor_id=proved.factor_id if proved else "",
    )


async def finish_opening(
    request: GatewayRequest, user: User, opened: Opened, earlier: list[tuple[str, str]], reason: str = ""
) -> None:
    """End the sessions that a new one takes the place of, and tell that it was opened, and by what."""
    gateway = request.state["gateway"]
    await gateway.end_families(user.user_id, opened.unannounced)
    for user_id, family_id in earlier:
        if await gateway.families.exists(user_id, family_id):
            await gateway.end_families(user_id, (family_id,))
    tell("login_succeeded", request, reason=reason, sub=user.user_id, sid=opened.family_id)


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
