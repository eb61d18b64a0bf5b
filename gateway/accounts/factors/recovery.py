"""
Recovery codes: ten, for who has lost the other factors; each good once, and shown once, when they are made.

50 random bits each. Redis has their MACs, under a key derived from `secret`, with the user and the set: from a dump
nobody can tell a code, nor use one user's for another. They stay under the secret they were made with: a new one has to
be accompanied by that one (`previous_secrets`) for as long as they are to be good.
"""

import hmac
import secrets
from collections.abc import Callable

import msgspec

from gateway.accounts.factors.keeping import Kept, KeptFactors, Kind, new_factor_id
from gateway.accounts.factors.sealing import FactorSeals
from gateway.clock import Clock
from gateway.errors import SecondFactorInvalid

CODES = 10
CODE_CHARACTERS = 10
GROUP_CHARACTERS = 5
MAX_SPELLING_CHARACTERS = 40
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without I, L, O, which look like digits, and without U."""
_MISREAD = str.maketrans("ILO", "110", " -")


def new_code() -> str:
    """Give 50 random bits as ten characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARACTERS))


def show_code(code: str) -> str:
    """Give a code in groups, as people copy it."""
    groups = (code[start : start + GROUP_CHARACTERS] for start in range(0, len(code), GROUP_CHARACTERS))
    return "-".join(groups)


def read_code(text: str) -> str | None:
    """Give the code that somebody has typed, in any case, with blanks or hyphens, I and L for 1, O for 0; or None."""
    if len(text) > MAX_SPELLING_CHARACTERS or not text.isascii():
        return None
    code = text.upper().translate(_MISREAD)
    return code if len(code) == CODE_CHARACTERS and set(ALPHABET).issuperset(code) else None


class RecoveryBody(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed of a set: the name of the secret of its MACs, and these."""

    key_id: str
    macs: tuple[bytes, ...]


def codes_left(kept: Kept) -> int:
    """Give how many codes of a set have not been used."""
    return CODES - kept.number.bit_count()


def secret_of_codes(kept: Kept) -> str:
    """Give the name of the secret that a set of codes was made under; "" for anything else, or where it is not told."""
    if kept.kind != Kind.RECOVERY or kept.body is None:
        return ""
    return msgspec.msgpack.decode(kept.body, type=RecoveryBody).key_id


class RecoveryCodes:
    """The recovery codes of all users."""

    def __init__(
        self, kept: KeptFactors, seals: FactorSeals, clock: Clock, new_code: Callable[[], str] = new_code
    ) -> None:
        self._kept = kept
        self._seals = seals
        self._clock = clock
        self._new_code = new_code

    async def make(self, user_id: str) -> tuple[str, ...]:
        """
        Give ten new codes, in groups; those from before are void.

        Raises:
            MalformedRequest: The user has no factor that could be lost.
        """
        factor_id, codes = new_factor_id(), [self._new_code() for _ in range(CODES)]
        key_id = self._seals.current_secret
        macs = [self._seals.mac_of_code(code, key_id, user_id, factor_id) for code in codes]
        body = msgspec.msgpack.encode(RecoveryBody(key_id, tuple(mac for mac in macs if mac)))
        await self._kept.add(user_id, Kind.RECOVERY, factor_id, body, self._clock(), only_first=False)
        return tuple(show_code(code) for code in codes)

    async def use(self, user_id: str, text: str) -> tuple[Kept, int]:
        """
        Let a code count, once; give the set that it is of, and how many of it are left.

        Raises:
            SecondFactorInvalid: It is none of the user's, or was used before.
        """
        code = read_code(text)
        for kept in await self._kept.all(user_id, Kind.RECOVERY):
            if kept.body is None or code is None:
                continue
            body = msgspec.msgpack.decode(kept.body, type=RecoveryBody)
            mac = self._seals.mac_of_code(code, body.key_id, user_id, kept.factor_id) or b""
            matching = [number for number, other in enumerate(body.macs) if hmac.compare_digest(mac, other)]
            if matching:
                before = await self._kept.use(user_id, kept, matching[0], self._clock())
                await self._kept.renew(user_id, kept)
                used = (kept.number if before is None else before) | 1 << matching[0]
                return kept, CODES - used.bit_count()
        raise SecondFactorInvalid("wrong-code")
