"""
The guessing throttle: failed logins for one account make the next ones wait, without locking its owner out.

Attempts from devices that nobody knows share one lane for each e-mail address, existing or not. A device on which
the owner has logged in before brings a cookie, MAC'd for that account alone, and has a lane of its own: strangers
who fail against the account do not slow it down (OWASP, "Slow Down Online Guessing Attacks with Device Cookies";
NIST SP 800-63B-4 section 3.2.2 for the waits and for the stop at 100).
"""

import base64
import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import RateLimited
from gateway.store import Script, Store

FREE_FAILURES = 5
FIRST_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 3600
CLOSING_FAILURES = 100
MEMORY_SECONDS = 30 * 86_400
CLOSED_MEMORY_SECONDS = 365 * 86_400
KNOWN_DEVICE_SECONDS = 365 * 86_400
UNKNOWN_DEVICES = "unknown"
FORMAT_VERSION = 1
_FIELDS = struct.Struct(">B17sI")
_COOKIE = re.compile(r"\A[A-Za-z0-9_-]{72}\Z")


@dataclass(frozen=True)
class Attempt:
    """One attempt that is being heard: the account by its hash, and the lane it was counted in."""

    account: str
    lane: str


class GuessingThrottle:
    """
    Counts failures in a row, in Redis on Redis's clock.

    Args:
        is_on: Off, every attempt is heard and no device is known.
        clock: Seconds since the epoch, for the age of a device cookie.
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
        self._take = Script.load("guess_take")
        self._settle = Script.load("guess_settle")

    async def take(self, email: str, device_cookie: str | None) -> Attempt | None:
        """
        Let an attempt be heard, counting it as a failure until `succeed` or `take_back` says otherwise.

        Args:
            email: Normalised; whether there is such a user makes no difference.
            device_cookie: What the browser sent, unchecked.

        Returns:
            The attempt to settle; None when the throttle is off.

        Raises:
            RateLimited: It has to wait; the password must not be looked at.
        """
        if not self.is_on:
            return None
        account = _account(email)
        attempt = Attempt(account, self._device_of(account, device_cookie) or UNKNOWN_DEVICES)
        verdict, number = await self._count(attempt)
        if verdict < 0 and attempt.lane != UNKNOWN_DEVICES:
            # So many failures from a known device: its cookie is no better than none any more.
            attempt = Attempt(account, UNKNOWN_DEVICES)
            verdict, number = await self._count(attempt)
        if verdict > 0:
            return attempt
        wait_seconds = LONGEST_WAIT_SECONDS if verdict < 0 else max(1, number)
        raise RateLimited(
            wait_seconds,
            f'"account";q={FREE_FAILURES};w={LONGEST_WAIT_SECONDS}',
            f'"account";r=0;t={wait_seconds}',
        )

    async def succeed(self, attempt: Attempt | None) -> None:
        """End the count of the attempt's lane: the password was right."""
        await self._say(attempt, "success")

    async def take_back(self, attempt: Attempt | None) -> None:
        """Do not count the attempt: the password was not looked at, by no fault of the caller."""
        await self._say(attempt, "unheard")

    async def unlock(self, email: str) -> bool:
        """Forget all failures of an account; tell whether there were any."""
        return bool(await self._store.execute("DEL", self._key(_account(email)), durable=True))

    def remember_device(self, email: str) -> str | None:
        """Give the cookie by which this device is known from now on for this account; None when the throttle is off."""
        if not self.is_on:
            return None
        fields = _FIELDS.pack(FORMAT_VERSION, self._new_device_id(), self._clock())
        mac = _mac(self._keychain.current, _account(email), fields)
        return base64.urlsafe_b64encode(fields + mac).decode()

    def _device_of(self, account: str, cookie: str | None) -> str | None:
        """Give the id of a known device, or None when the cookie is none of ours, of another account, or too old."""
        if cookie is None or not _COOKIE.match(cookie):
            return None
        octets = base64.urlsafe_b64decode(cookie)
        fields, mac = octets[: _FIELDS.size], octets[_FIELDS.size :]
        genuine = [hmac.compare_digest(mac, _mac(keys, account, fields)) for keys in self._keychain]
        version, device_id, known_since = _FIELDS.unpack(fields)
        if not any(genuine) or version != FORMAT_VERSION or known_since + KNOWN_DEVICE_SECONDS <= self._clock():
            return None
        return base64.urlsafe_b64encode(device_id).decode().rstrip("=")

    async def _count(self, attempt: Attempt) -> tuple[int, int]:
        verdict, number = await self._store.run(
            self._take,
            [self._key(attempt.account)],
            attempt.lane,
            FREE_FAILURES,
            FIRST_WAIT_SECONDS,
            LONGEST_WAIT_SECONDS,
            CLOSING_FAILURES,
            MEMORY_SECONDS,
            CLOSED_MEMORY_SECONDS,
        )
        return verdict, number

    async def _say(self, attempt: Attempt | None, outcome: str) -> None:
        if attempt is not None:
            await self._store.run(self._settle, [self._key(attempt.account)], attempt.lane, outcome)

    def _key(self, account: str) -> str:
        return self._store.key(f"guess:{{{account}}}")


def _account(email: str) -> str:
    return hashlib.sha256(email.encode("utf-8", "surrogatepass")).hexdigest()


def _mac(keys: DerivedKeys, account: str, fields: bytes) -> bytes:
    return hmac.digest(keys.known_device_mac, account.encode() + fields, "sha256")
