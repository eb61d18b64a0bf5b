"""
Time-based one-time passwords (RFC 6238): SHA-1, 6 digits, 30 seconds, as all authenticator apps have them.

One step of skew is let through in each direction. A step counts once, and with it all before it: `factor_use.lua`
decides, so that of several requests that bring one code, to several gateways, one is let in (RFC 6238 section 5.2).
"""

import base64
import hmac
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from gateway.accounts.factors.keeping import Kept, KeptFactors, Kind, new_factor_id
from gateway.accounts.factors.once import Once
from gateway.clock import Clock
from gateway.errors import SecondFactorInvalid

SECRET_BYTES = 20
STEP_SECONDS = 30
DIGITS = 6
SKEW_STEPS = 1
ENROLMENT_SECONDS = 900
ENROLMENT = "totp-enrolment"
MAX_SPELLING_CHARACTERS = 20
DIGITS_OF_ASCII = frozenset("0123456789")


def hotp(secret: bytes, counter: int, digits: int = DIGITS) -> str:
    """Give the code for a counter (RFC 4226 section 5.3)."""
    digest = hmac.digest(secret, struct.pack(">Q", counter), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def step_at(seconds: int) -> int:
    """Give the time step of a moment, in seconds since the epoch (RFC 6238 section 4.2)."""
    return seconds // STEP_SECONDS


def read_code(text: str) -> str | None:
    """Give the six digits that somebody has typed, with blanks or without; None for anything else."""
    code = text.replace(" ", "")
    is_code = len(text) <= MAX_SPELLING_CHARACTERS and len(code) == DIGITS and DIGITS_OF_ASCII.issuperset(code)
    return code if is_code else None


def matching_step(secret: bytes, code: str, now: int) -> int | None:
    """Give the latest of the time steps around *now* whose code it is, or None; always the same work."""
    steps = range(max(0, step_at(now) - SKEW_STEPS), step_at(now) + SKEW_STEPS + 1)
    matching = [step for step in steps if hmac.compare_digest(hotp(secret, step), code)]
    return matching[-1] if matching else None


def otpauth_uri(secret: bytes, issuer: str, email: str) -> str:
    """Give the URI of a QR code for authenticator apps (Google's Key Uri Format). The issuer goes without colons."""
    plain = issuer.replace(":", " ").strip()
    label = f"{quote(plain, safe='')}:{quote(email, safe='')}"
    return (
        f"otpauth://totp/{label}?secret={spell_secret(secret)}&issuer={quote(plain, safe='')}"
        f"&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )


def spell_secret(secret: bytes) -> str:
    """Give a secret as apps take it: base32 (RFC 4648 section 6) without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


class TotpBody(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed of one."""

    name: str
    secret: bytes

    def __repr__(self) -> str:
        """Show nothing."""
        return "TotpBody(...)"


class _Enrolment(msgspec.Struct, frozen=True, array_like=True):
    user_id: str
    secret: bytes


@dataclass(frozen=True, repr=False)
class NewTotp:
    """What an app has to be given once: the secret in base32, and the same as a URI for a QR code."""

    factor_id: str
    secret: str
    otpauth_uri: str


class Totp:
    """
    The time-based codes of all users.

    Args:
        clock: Seconds since the epoch; apps and gateways have to agree within a step.
        issuer_name: Under which an app shows the code.
    """

    def __init__(
        self,
        kept: KeptFactors,
        once: Once,
        clock: Clock,
        issuer_name: str,
        new_secret: Callable[[], bytes] = lambda: secrets.token_bytes(SECRET_BYTES),
    ) -> None:
        self._kept = kept
        self._once = once
        self._clock = clock
        self._issuer_name = issuer_name
        self._new_secret = new_secret

    async def begin(self, user_id: str, email: str) -> NewTotp:
        """Give a secret that becomes a factor when `confirm` is given a code of it, within `ENROLMENT_SECONDS`."""
        factor_id, secret = new_factor_id(), self._new_secret()
        enrolment = msgspec.msgpack.encode(_Enrolment(user_id, secret))
        await self._once.put(ENROLMENT, factor_id, enrolment, ENROLMENT_SECONDS)
        return NewTotp(factor_id, spell_secret(secret), otpauth_uri(secret, self._issuer_name, email))

    async def look(self, user_id: str, email: str, factor_id: str) -> NewTotp:
        """
        Give once more what `begin` has given, for who has typed a wrong code.

        Raises:
            SecondFactorInvalid: There is nothing to confirm, or not for this user.
        """
        found = await self._once.look(ENROLMENT, factor_id)
        enrolment = msgspec.msgpack.decode(found, type=_Enrolment) if found else None
        if enrolment is None or enrolment.user_id != user_id:
            raise SecondFactorInvalid("enrolment-over")
        secret = enrolment.secret
        return NewTotp(factor_id, spell_secret(secret), otpauth_uri(secret, self._issuer_name, email))

    async def confirm(
        self, user_id: str, factor_id: str, code: str, name: str, *, only_first: bool, is_followed: bool = False
    ) -> Kept:
        """
        Add the factor, now that its owner has shown that his app has the secret. This code does not log in any more.

        Args:
            only_first: Refuse it when the user has a factor already.
            is_followed: By a durable write, before anybody is told.

        Raises:
            SecondFactorInvalid: The code is wrong, which uses nothing up; or there is nothing to confirm, or not for
                this user; or *only_first*, and the user has a factor.
            MalformedRequest: The user has as many as anybody may have.
        """
        found, said, now = await self._once.look(ENROLMENT, factor_id), read_code(code), self._clock()
        enrolment = msgspec.msgpack.decode(found, type=_Enrolment) if found else None
        if enrolment is None or enrolment.user_id != user_id:
            raise SecondFactorInvalid("enrolment-over")
        step = matching_step(enrolment.secret, said, now) if said else None
        if step is None:
            raise SecondFactorInvalid("wrong-code")
        if await self._once.take(ENROLMENT, factor_id, is_followed=True) is None:
            raise SecondFactorInvalid("enrolment-over")
        body = msgspec.msgpack.encode(TotpBody(name, enrolment.secret))
        return await self._kept.add(
            user_id, Kind.TOTP, factor_id, body, now, number=step, only_first=only_first, is_followed=is_followed
        )

    async def use(self, user_id: str, code: str) -> Kept:
        """
        Let a code count, once; give the factor that it is of.

        Raises:
            SecondFactorInvalid: It is none, not of now, or was used before, in this step or a later one.
        """
        said, now = read_code(code), self._clock()
        matching = []
        for kept in await self._kept.all(user_id, Kind.TOTP):
            body = msgspec.msgpack.decode(kept.body, type=TotpBody) if kept.body is not None else None
            step = matching_step(body.secret, said, now) if body and said else None
            if step is not None:
                matching.append((kept, step))
        if not matching:
            raise SecondFactorInvalid("wrong-code")
        kept, step = matching[0]
        await self._kept.use(user_id, kept, step, now)
        await self._kept.renew(user_id, kept)
        return kept
