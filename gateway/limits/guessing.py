"""
The guessing throttle: wrong passwords for one account make the next attempts wait, without locking its owner out.

Attempts from devices that nobody knows share one lane for each e-mail address, existing or not. A device on which
the owner has logged in before brings a token, MAC'd for that account and its present password alone, and has a lane of
its own: strangers who fail against the account do not slow it down (OWASP, "Slow Down Online Guessing Attacks with
Device Cookies"; NIST SP 800-63B-4 section 3.2.2 for the waits and for the stop at 100). Changes of password have a
lane too, so that a stolen access token neither gives free guesses nor locks the owner's logins; and so have the codes
of second factors, which only who has the password gets to guess.

Only a wrong password counts, and only when the caller was told so. An attempt is first heard, which counts against
those beside it and lapses within a minute; that it failed is written before it is answered, and can be taken back.

Failures are remembered for `MEMORY_SECONDS_PER_FAILURE` each, from the last on: six hours for one, 25 days for 99. Who
waits for a lane of n failures to be forgotten has guessed n times in n * 6 hours, whatever n he chooses: at most four
times a day, 1461 times a year, and who does not wait is stopped at 100, after less than four days. What addresses of
nobody leave in Redis is bounded by the hashes of six hours, since each failure costs one: 10 a second, 216,000 keys.

One file: lanes, devices and waits are one answer to one question.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from gateway.clock import Clock
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import InvalidCredentials, Overloaded, RateLimited, SecondFactorInvalid, StoreUnavailable
from gateway.store import Script, Store
from gateway.tasks import end_tasks

FREE_FAILURES = 5
FIRST_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 3600
CLOSING_FAILURES = 100
MEMORY_SECONDS_PER_FAILURE = 6 * 3600
CLOSED_MEMORY_SECONDS = 365 * 86_400
KNOWN_DEVICE_SECONDS = 365 * 86_400
UNKNOWN_DEVICES = "unknown"
CHANGES_OF_PASSWORD = "change-password"  # noqa: S105 - the name of a lane
CODES = "otp"
LANES_OF_NO_DEVICE = (UNKNOWN_DEVICES, CHANGES_OF_PASSWORD, CODES)
ASKING_AGAIN_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 0.8)
OWED_INTERVAL_SECONDS = 0.25
OWED_FOR_SECONDS = 60.0
MAX_OWED = 1000
FORMAT_VERSION = 1
_FIELDS = struct.Struct(">B17sI")
_TOKEN = re.compile(r"\A[A-Za-z0-9_-]{72}\Z")


@dataclass(eq=False)
class Attempt:
    """
    One attempt that is being heard: the account by its hash, and the lane that it is in.

    `was_right` is for the caller to set as soon as the password was compared and is right: what goes wrong from then
    on is no wrong password.
    """

    account: str
    lane: str
    attempt_id: str
    was_right: bool = False
    is_counted: bool = False

    @property
    def device_id(self) -> str | None:
        """Give the id of the known device that it comes from; None from any other, or one that failed too often."""
        return None if self.lane in LANES_OF_NO_DEVICE else self.lane


class GuessingThrottle:
    """
    Counts failures in a row, in Redis on Redis's clock.

    Args:
        is_on: Off, every attempt is heard and no device is known.
        clock: Seconds since the epoch, for the age of a device token.
        new_device_id: Gives 17 random bytes.
    """

    def __init__(
        self,
        store: Store,
        keychain: KeyChain,
        clock: Clock,
        *,
        is_on: bool,
        new_device_id: Callable[[], bytes] = lambda: secrets.token_bytes(17),
    ) -> None:
        self._store = store
        self._keychain = keychain
        self._clock = clock
        self.is_on = is_on
        self._new_device_id = new_device_id
        self._take = Script.load(__package__, "guess_take")
        self._settle = Script.load(__package__, "guess_settle")
        self._owed: dict[Attempt, tuple[str, float]] = {}
        self._paying: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def login(self, email: str, device_id: str | None) -> AbstractAsyncContextManager[Attempt]:
        """
        Let an attempt to log in be heard; what the block raises, or does not, says what became of it.

        `InvalidCredentials` is a failure, unless the attempt `was_right`; no error is a success, which ends the count
        of the lane; any other way out, a cancellation too, leaves everything as it was before.

        Args:
            email: Normalised; whether there is such a user makes no difference.
            device_id: From `device_of`.

        Raises:
            RateLimited: It has to wait; the password must not be looked at.
            Overloaded: So many attempts for the account are being heard that it could not be told in good time
                whether this one has to wait.
            StoreUnavailable: Redis is away; or a failure could not be written, so it must not be told.
        """
        return self._heard(email, device_id or UNKNOWN_DEVICES)

    def change_of_password(self, email: str) -> AbstractAsyncContextManager[Attempt]:
        """Let an attempt to prove the current password be heard, in a lane of its own, as `login` does."""
        return self._heard(email, CHANGES_OF_PASSWORD)

    def second_factor(self, email: str) -> AbstractAsyncContextManager[Attempt]:
        """
        Let an attempt to show a code be heard, in a lane of its own, as `login` does; `SecondFactorInvalid` is a
        failure. It is counted before the code is looked at: who has the password guesses at most 100 times, and an app
        has three codes of a million that are good.
        """
        return self._heard(email, CODES)

    async def unlock(self, email: str, *, durable: bool = True) -> bool:
        """Forget all failures of an account; tell whether there were any."""
        return bool(await self._store.execute("DEL", self._key(_account(email)), durable=durable))

    def remember_device(self, user_id: str, password_version: int, device_id: str | None) -> str | None:
        """
        Give the token by which a device is known from now on, for this user until the password changes.

        Args:
            device_id: By which the device has been known so far; None for a new one.

        Returns:
            72 characters; None when the throttle is off.
        """
        if not self.is_on:
            return None
        octets = base64.urlsafe_b64decode(device_id + "=") if device_id else self._new_device_id()
        fields = _FIELDS.pack(FORMAT_VERSION, octets, self._clock())
        mac = _mac(self._keychain.current, user_id, password_version, fields)
        return base64.urlsafe_b64encode(fields + mac).decode()

    def device_of(self, user_id: str, password_version: int, device_token: str | None) -> str | None:
        """
        Give the id of a known device; None when its token is none of ours, of another user, of an earlier password, or
        too old. No I/O, and the same work for any user.
        """
        if device_token is None or not _TOKEN.match(device_token):
            return None
        octets = base64.urlsafe_b64decode(device_token)
        fields, mac = octets[: _FIELDS.size], octets[_FIELDS.size :]
        genuine = [hmac.compare_digest(mac, _mac(keys, user_id, password_version, fields)) for keys in self._keychain]
        version, device_id, known_since = _FIELDS.unpack(fields)
        if not any(genuine) or version != FORMAT_VERSION or known_since + KNOWN_DEVICE_SECONDS <= self._clock():
            return None
        return base64.urlsafe_b64encode(device_id).decode().rstrip("=")

    async def close(self) -> None:
        """End what is still to be told to Redis; it lapses there by itself."""
        await end_tasks(self._tasks)

    @contextlib.asynccontextmanager
    async def _heard(self, email: str, lane: str) -> AsyncIterator[Attempt]:
        attempt, outcome = Attempt(_account(email), lane, secrets.token_hex(8)), "unheard"
        try:
            if self.is_on:
                await self._hear(attempt)
            yield attempt
            outcome = "success"
        except (InvalidCredentials, SecondFactorInvalid):
            outcome = "unheard" if attempt.was_right else "failure"
            raise
        finally:
            if attempt.is_counted:
                # In a task of its own, which goes on when this one is cancelled, or cancelled once more.
                await asyncio.shield(self._in_task(self._say(attempt, outcome)))

    async def _hear(self, attempt: Attempt) -> None:
        """Wait until an attempt is heard; from the moment in which Redis is asked, it may be counted there."""
        for owed in [owed for owed in self._owed if owed.account == attempt.account]:
            await self._tell(owed, self._owed[owed][0])
            self._owed.pop(owed, None)
        for pause_seconds in (*ASKING_AGAIN_SECONDS, None):
            verdict, number = await self._ask(attempt)
            if verdict == b"closed" and attempt.device_id:
                # So many failures from a known device: its token is no better than none any more.
                attempt.lane = UNKNOWN_DEVICES
                verdict, number = await self._ask(attempt)
            if verdict == b"heard":
                return
            if verdict != b"beside":
                raise _rate_limited(LONGEST_WAIT_SECONDS if verdict == b"closed" else number)
            if pause_seconds is not None:
                await asyncio.sleep(pause_seconds)
        raise Overloaded(1, "account")

    async def _ask(self, attempt: Attempt) -> tuple[bytes, int]:
        attempt.is_counted = True
        verdict, number = await self._store.run(
            self._take,
            [self._key(attempt.account)],
            attempt.lane,
            attempt.attempt_id,
            CLOSING_FAILURES,
            MEMORY_SECONDS_PER_FAILURE,
            CLOSED_MEMORY_SECONDS,
            FREE_FAILURES,
            FIRST_WAIT_SECONDS,
            LONGEST_WAIT_SECONDS,
        )
        attempt.is_counted = verdict == b"heard"
        return verdict, number

    async def _say(self, attempt: Attempt, outcome: str) -> None:
        """Tell Redis what became of an attempt, now or, but for a failure, as soon as it can be told."""
        try:
            await self._tell(attempt, outcome)
        except StoreUnavailable:
            # A failure that is not told to the caller is none, and may have been written all the same.
            self._owe(attempt, "unheard" if outcome == "failure" else outcome)
            if outcome == "failure":
                raise

    async def _tell(self, attempt: Attempt, outcome: str) -> None:
        await self._store.run(
            self._settle,
            [self._key(attempt.account)],
            attempt.lane,
            attempt.attempt_id,
            CLOSING_FAILURES,
            MEMORY_SECONDS_PER_FAILURE,
            CLOSED_MEMORY_SECONDS,
            outcome,
        )

    def _owe(self, attempt: Attempt, outcome: str) -> None:
        if len(self._owed) >= MAX_OWED:
            return  # it lapses by itself
        self._owed[attempt] = outcome, asyncio.get_running_loop().time() + OWED_FOR_SECONDS
        if self._paying is None or self._paying.done():
            # Without the context of the request: its budget has nothing to do with what is told after its end.
            self._paying = self._in_task(self._pay(), Context())

    async def _pay(self) -> None:
        """Tell what is owed, over and over until it is told or has lapsed."""
        while self._owed:
            await asyncio.sleep(OWED_INTERVAL_SECONDS)
            for attempt, (outcome, until) in list(self._owed.items()):
                with contextlib.suppress(StoreUnavailable):
                    await self._tell(attempt, outcome)
                    until = 0.0
                if until <= asyncio.get_running_loop().time():
                    self._owed.pop(attempt, None)

    def _in_task(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # heard, also when who waited for it was cancelled

    def _key(self, account: str) -> str:
        return self._store.key(f"guess:{{{account}}}")


def _rate_limited(wait_seconds: int) -> RateLimited:
    return RateLimited(
        wait_seconds,
        f'"account";q={FREE_FAILURES};w={LONGEST_WAIT_SECONDS}',
        f'"account";r=0;t={wait_seconds}',
    )


def _account(email: str) -> str:
    return hashlib.sha256(email.encode("utf-8", "surrogatepass")).hexdigest()


def _mac(keys: DerivedKeys, user_id: str, password_version: int, fields: bytes) -> bytes:
    return hmac.digest(keys.known_device_mac, f"{user_id}:{password_version}:".encode() + fields, "sha256")
