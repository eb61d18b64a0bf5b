"""
How a login that has begun is completed, whoever asks for it, the API or a page: by a factor after a password, by a
passkey alone, or by the first factor of who has to have one.

Each of these takes the text of a pending login, which a right factor uses up and a wrong one does not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from gateway.accounts import Asked, Assertion, FactorLogins, NewCredential, PendingLogin, Proved, User
from gateway.errors import InvalidCredentials, NotFound, SecondFactorInvalid
from gateway.limits import RateState
from gateway.sessions import Opened
from gateway.state import GatewayRequest
from gateway.telemetry import FACTOR_ADDED, SECOND_FACTOR_FAILED
from gateway.web.http.audit import tell
from gateway.web.http.client_address import Address, rate_keys
from gateway.web.http.noting import note_change
from gateway.web.http.opened import (
    LoggedIn,
    Wanted,
    earlier_sessions,
    finish_opening,
    given_device_token,
    open_family,
    refusals_counted,
)

WRONG_GUESS = "wrong-code"


@dataclass(frozen=True, repr=False)
class SecondStep:
    """
    What somebody completes a login with: the pending login, and one of the others.

    `wanted` counts for a login by passkey alone; after a password that counts which was sent with it.
    """

    pending: str
    totp: str | None = None
    recovery: str | None = None
    passkey: Assertion | None = None
    wanted: Wanted = field(default_factory=Wanted)


async def begin_passkey_login(request: GatewayRequest, address: Address) -> tuple[Asked, RateState | None]:
    """
    Give the options for a login by a passkey alone, the same for everybody, and what is left of the limit.

    Raises:
        NotFound: Second factors are off.
        RateLimited, StoreUnavailable: As at a login.
    """
    gateway = request.state["gateway"]
    if not _logins(request).is_on:
        raise NotFound("Second factors are off here")
    rate = await gateway.rate_limiter.take("passkey", *rate_keys(address))
    return await _logins(request).ask(PendingLogin(purpose="passkey")), rate


async def complete_login(request: GatewayRequest, step: SecondStep, address: Address) -> LoggedIn:
    """
    Let a factor complete a login: open its session, and end those that the browser brought along.

    A code is counted by the guessing throttle before it is looked at; only a wrong one is a failure.

    Raises:
        SecondFactorInvalid: It is wrong or used, or the pending login is over, or no good any more.
        RateLimited: Too many attempts of this address, or too many wrong codes for this account.
        MalformedRequest, Overloaded, StoreUnavailable: As everywhere.
    """
    logins, pending = _logins(request), step.pending

    async def prove() -> Proved:
        if step.passkey is not None:
            return await logins.prove_passkey(pending, step.passkey)
        if step.totp is not None:
            return await logins.prove_totp(pending, step.totp)
        return await logins.prove_recovery(pending, step.recovery or "")

    kind = "passkey" if step.passkey is not None else "totp" if step.totp is not None else "recovery"
    with refusals_counted(request.state["gateway"], kind):
        return await _complete(request, pending, prove, address, step.wanted, is_guess=step.passkey is None)


async def complete_by_first_totp(
    request: GatewayRequest, pending: str, factor_id: str, code: str, name: str, address: Address
) -> LoggedIn:
    """
    Let the confirmation of a first time-based code complete a login, likewise. Its secret was shown to whoever sends
    this: there is nothing to guess.
    """
    logins = _logins(request)
    with refusals_counted(request.state["gateway"], "totp"):
        return await _complete(request, pending, lambda: logins.enrol_totp(pending, factor_id, code, name), address)


async def complete_by_first_passkey(
    request: GatewayRequest, pending: str, answer: NewCredential, name: str, address: Address
) -> LoggedIn:
    """Let a first passkey complete it."""
    logins = _logins(request)
    with refusals_counted(request.state["gateway"], "passkey"):
        return await _complete(request, pending, lambda: logins.enrol_passkey(pending, answer, name), address)


async def user_to_enrol(request: GatewayRequest, pending: str, address: Address) -> User:
    """
    Give the user whose pending login waits for a first factor; uses nothing up.

    Raises:
        SecondFactorInvalid: It is over, or waits for something else.
        RateLimited, StoreUnavailable: As at a login.
    """
    await request.state["gateway"].rate_limiter.take("factors", *rate_keys(address))
    with failures_told(request):
        login, user = await _look(request, pending)
        if login.purpose != "enrolment" or user is None:
            raise SecondFactorInvalid("pending-over")
    return user


@contextmanager
def failures_told(request: GatewayRequest) -> Iterator[None]:
    """Tell a factor that is not valid."""
    try:
        yield
    except SecondFactorInvalid as error:
        request.scope["gateway.error"] = error
        tell(SECOND_FACTOR_FAILED, request, error.cause)
        raise


async def _complete(
    request: GatewayRequest,
    pending: str,
    prove: Callable[[], Awaitable[Proved]],
    address: Address,
    wanted: Wanted | None = None,
    *,
    is_guess: bool = False,
) -> LoggedIn:
    gateway = request.state["gateway"]
    earlier, known_by = earlier_sessions(request), given_device_token(request, wanted)
    rate = await gateway.rate_limiter.take("second-factor", *rate_keys(address))
    with failures_told(request):
        login, user = await _look(request, pending)
        if login.purpose != "passkey" or wanted is None:
            wanted, most_seconds = Wanted(login.delivery, login.remember), login.most_seconds
        else:
            most_seconds = wanted.most_seconds(gateway.settings)
        async with gateway.store.confirmed_together():
            async with _guess(request, user if is_guess else None):
                proved = await prove()
                _tell_of(request, proved)
                opened = await _open(request, proved, address, most_seconds)
            user = proved.user
            if proved.pending.purpose == "enrolment":
                await note_change(request, user.user_id, proved.kind, opened.family_id)
            await finish_opening(request, user, opened, earlier, proved.kind)
    device_id = login.device_id
    if login.purpose == "passkey":
        device_id = gateway.guessing.device_of(user.user_id, user.password_version, known_by)
    device_token = gateway.guessing.remember_device(user.user_id, user.password_version, device_id)
    return LoggedIn(user, opened, wanted, device_token, rate, proved)


@asynccontextmanager
async def _guess(request: GatewayRequest, user: User | None) -> AsyncIterator[None]:
    """Count what is proved within as a guess at a code of this user; without one nobody can guess."""
    if user is None:
        yield
        return
    async with request.state["gateway"].guessing.second_factor(user.email) as attempt:
        try:
            yield
        except SecondFactorInvalid as error:
            attempt.was_right = error.cause != WRONG_GUESS
            raise


async def _look(request: GatewayRequest, pending: str) -> tuple[PendingLogin, User | None]:
    if not _logins(request).is_on:
        raise SecondFactorInvalid("off")
    login, user = await _logins(request).look(pending)
    if user is not None:
        request.scope["gateway.sub"] = user.user_id
    return login, user


def _tell_of(request: GatewayRequest, proved: Proved) -> None:
    request.scope["gateway.sub"] = proved.user.user_id
    if proved.pending.purpose == "enrolment":
        tell(FACTOR_ADDED, request, proved.kind)
    if proved.counter_went_back:
        tell(SECOND_FACTOR_FAILED, request, "counter-went-back")


async def _open(request: GatewayRequest, proved: Proved, address: Address, most_seconds: int | None) -> Opened:
    try:
        return await open_family(request, proved.user, address, most_seconds=most_seconds, proved=proved)
    except InvalidCredentials as error:
        raise SecondFactorInvalid("user-changed") from error


def _logins(request: GatewayRequest) -> FactorLogins:
    return request.state["gateway"].factors.logins
