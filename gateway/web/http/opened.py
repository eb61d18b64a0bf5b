"""
How the session of a login is opened that lacks nothing any more, whichever step was its last; and how logins are
counted.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from gateway.accounts import Proved, User
from gateway.errors import (
    GatewayError,
    InvalidCredentials,
    Overloaded,
    RateLimited,
    RefreshTokenInvalid,
    SecondFactorInvalid,
    SecondFactorRequired,
    Unavailable,
)
from gateway.limits import RateState
from gateway.sessions import BY_PASSWORD, Opened
from gateway.settings import Settings
from gateway.state import Gateway, GatewayRequest
from gateway.telemetry import LOGIN_SUCCEEDED, LOGINS, SESSIONS_REVOKED
from gateway.web.http.audit import tell
from gateway.web.http.bearer import find_session
from gateway.web.http.client_address import Address
from gateway.web.http.cookies import KNOWN_DEVICE, REFRESH_TOKEN, cookie_name, read_cookie
from gateway.web.http.device import device_label

PASSWORD = "pwd"  # noqa: S105 - RFC 8176
SECOND_STEPS = ("passkey", "totp", "recovery")
_OUTCOMES: tuple[tuple[type[GatewayError], str], ...] = (
    (SecondFactorRequired, "asked"),
    (InvalidCredentials, "failed"),
    (SecondFactorInvalid, "failed"),
    (RateLimited, "limited"),
    (Overloaded, "overloaded"),
    (Unavailable, "unavailable"),
)


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


def earlier_sessions(request: GatewayRequest) -> list[tuple[str, str]]:
    """
    Give user and family of the sessions whose cookies came along: the browser is about to overwrite them.

    Raises:
        MalformedRequest: A cookie was sent twice.
    """
    return list(_earlier_sessions(request))


def given_device_token(request: GatewayRequest, wanted: Wanted | None) -> str | None:
    """
    Give the text by which a device may be known, as a member of the body or as a cookie; None without one.

    Raises:
        CookieSentTwice: The cookie was.
    """
    cookie = read_cookie(request.scope["headers"], cookie_name(request.state["gateway"].settings, KNOWN_DEVICE))
    return (wanted.device_token if wanted else None) or cookie


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
    gateway = request.state["gateway"]
    return await gateway.families.open(
        user.user_id,
        user.password_version,
        await gateway.status_indexes.new_session_id(),
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
    """
    End the sessions that a new one takes the place of, and what a crash has left of other endings; tell that it was
    opened, and count it.

    Args:
        reason: By what, as the event has it (`gateway.telemetry.LOGIN_SUCCEEDED`).
    """
    gateway = request.state["gateway"]
    for family_id in opened.gave_way:
        tell(SESSIONS_REVOKED, request, "too-many", sub=user.user_id, sid=family_id)
    async with gateway.store.confirmed_together():
        await gateway.end_families(user.user_id, opened.unannounced, "too-many")
        for user_id, family_id in earlier:
            if await gateway.families.exists(user_id, family_id):
                told = partial(tell, SESSIONS_REVOKED, request, "replaced", sub=user_id, sid=family_id)
                await gateway.end_families(user_id, (family_id,), "replaced", told)
    tell(LOGIN_SUCCEEDED, request, reason, sub=user.user_id, sid=opened.family_id)
    gateway.metrics.count(LOGINS, "succeeded", reason if reason in SECOND_STEPS else PASSWORD)


@contextlib.contextmanager
def refusals_counted(gateway: Gateway, factor: str) -> Iterator[None]:
    """
    Count a login that is refused within, and a password after which a second factor is asked for.

    Args:
        factor: What was shown: `pwd`, or one of `SECOND_STEPS`.
    """
    try:
        yield
    except GatewayError as error:
        for kind, outcome in _OUTCOMES:
            if isinstance(error, kind):
                gateway.metrics.count(LOGINS, outcome, factor)
                break
        raise


def _earlier_sessions(request: GatewayRequest) -> Iterator[tuple[str, str]]:
    gateway, headers = request.state["gateway"], request.scope["headers"]
    refresh_token = read_cookie(headers, cookie_name(gateway.settings, REFRESH_TOKEN))
    if refresh_token is not None:
        with contextlib.suppress(RefreshTokenInvalid):
            token = gateway.families.parse(refresh_token)
            yield token.user_id, token.family_id
    if (session := find_session(headers, gateway)) is not None:
        yield session.user_id, session.sid
