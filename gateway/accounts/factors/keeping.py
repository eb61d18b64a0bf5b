"""
How second factors are kept: a hash for each user, a packed record for each factor, and one script for each decision.

What a script has to decide on lies open in the record (`factor_record.lua`), all else sealed. A factor whose seal does
not open (its secret is gone, or somebody has written to Redis) is still one: it cannot be used, and its user does not
get in without one.
"""

import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from gateway.accounts.factors.sealing import FactorSeals
from gateway.errors import MalformedRequest, NotFound, SecondFactorInvalid
from gateway.store import Script, Store

_HEAD = struct.Struct(">B6s6s6sI")


class Kind(IntEnum):
    """The kinds of factors, by their numbers in the record."""

    TOTP = 1
    PASSKEY = 2
    RECOVERY = 3

    @property
    def word(self) -> str:
        """Give its name in answers."""
        return self.name.lower()


MOST = {Kind.TOTP: 3, Kind.PASSKEY: 10, Kind.RECOVERY: 1}


@dataclass(frozen=True, repr=False)
class Kept:
    """
    One factor as it lies in Redis. Times in whole seconds since the epoch; `used_at` is 0 for never.

    `number` is what `factor_record.lua` says of it; `body` None where the seal does not open.
    """

    factor_id: str
    kind: Kind
    created_at: int
    used_at: int
    number: int
    sealed: bytes
    body: bytes | None


def new_factor_id() -> str:
    """Give `fac_` and 128 random bits as 22 base64url characters."""
    return "fac_" + secrets.token_urlsafe(16)


class KeptFactors:
    """
    All factors of all users.

    Args:
        new_nonce: Gives the random number, 1 to 2^32 - 1, by which a use knows its own command again.
    """

    def __init__(
        self,
        store: Store,
        seals: FactorSeals,
        new_nonce: Callable[[], int] = lambda: 1 + secrets.randbelow(2**32 - 1),
    ) -> None:
        self._store = store
        self._seals = seals
        self._new_nonce = new_nonce
        self._add = Script.load(__package__, "factor_add")
        self._use = Script.load(__package__, "factor_use")
        self._change = Script.load(__package__, "factor_change")
        self._remove = Script.load(__package__, "factor_remove")

    async def all(self, user_id: str, kind: Kind | None = None) -> tuple[Kept, ...]:
        """Give the factors of a user, or those of one kind, the oldest first."""
        fields = await self._store.fields(self._key(user_id))
        kept = [self._unpack(user_id, factor_id.decode(), packed) for factor_id, packed in fields.items()]
        wanted = [one for one in kept if kind is None or one.kind == kind]
        return tuple(sorted(wanted, key=lambda one: (one.created_at, one.kind, one.factor_id)))

    async def add(
        self,
        user_id: str,
        kind: Kind,
        factor_id: str,
        body: bytes,
        now: int,
        *,
        number: int = 0,
        only_first: bool,
        is_followed: bool = False,
    ) -> Kept:
        """
        Add a factor; recovery codes take the place of those before.

        Args:
            only_first: Refuse it when the user has a factor already.
            is_followed: By a durable write, before anybody is told that there is this factor.

        Raises:
            MalformedRequest: The user has as many of the kind as anybody may have; or recovery codes without a factor.
            SecondFactorInvalid: *only_first*, and it is not.
            NotFound: There is no such user any more.
        """
        sealed = self._seals.seal(body, user_id, factor_id, kind.word)
        packed = _HEAD.pack(kind, _six(now), _six(0), _six(number), 0) + sealed
        outcome: bytes = await self._store.run(
            self._add,
            [self._key(user_id), self._store.key(f"user:{{{user_id}}}")],
            factor_id,
            packed,
            MOST[kind],
            "first" if only_first else "",
            durable=True,
            is_followed=is_followed,
        )
        match outcome:
            case b"full":
                raise MalformedRequest(f"There are {MOST[kind]} of this kind already: remove one first")
            case b"none-yet":
                raise MalformedRequest("Recovery codes are for who has another second factor: set that up first")
            case b"not-first":
                raise SecondFactorInvalid("not-first")
            case b"gone":
                raise NotFound
        return Kept(factor_id, kind, now, 0, number, sealed, body)

    async def use(self, user_id: str, kept: Kept, number: int, now: int) -> int | None:
        """
        Let a factor that was shown to be right count, once, and give the number that was there before.

        None when this very request was sent to Redis twice, and nobody knows any more. A durable write that is followed
        by another one.

        Raises:
            SecondFactorInvalid: It was used before, or is gone.
        """
        outcome, *before = await self._store.run(
            self._use, [self._key(user_id)], kept.factor_id, int(kept.kind), number, now, self._new_nonce(),
            durable=True, is_followed=True,
        )  # fmt: skip
        if outcome in (b"spent", b"gone"):
            raise SecondFactorInvalid(outcome.decode())
        return before[0] if before else None

    async def change(self, user_id: str, kept: Kept, body: bytes, *, durable: bool = True) -> bool:
        """Replace the body of a factor, sealed under the current secret; False when it is not as it was read."""
        sealed = self._seals.seal(body, user_id, kept.factor_id, kept.kind.word)
        keys = [self._key(user_id)]
        return bool(await self._store.run(self._change, keys, kept.factor_id, kept.sealed, sealed, durable=durable))

    async def renew(self, user_id: str, kept: Kept, body: bytes | None = None) -> None:
        """Seal a factor that was just used under the current secret, if it is not, or another body was given."""
        new = kept.body if body is None else body
        if new is not None and (new != kept.body or not self._seals.is_current(kept.sealed)):
            await self.change(user_id, kept, new, durable=False)

    async def remove(self, user_id: str, factor_id: str) -> bool:
        """Take a factor away, with the last one the recovery codes too; tell whether it was there."""
        return bool(await self._store.run(self._remove, [self._key(user_id)], factor_id, durable=True))

    async def clear(self, user_id: str) -> None:
        """Take all factors of a user away."""
        await self._store.execute("DEL", self._key(user_id), durable=True)

    def _unpack(self, user_id: str, factor_id: str, packed: bytes) -> Kept:
        number, *times, _ = _HEAD.unpack(packed[: _HEAD.size])
        created_at, used_at, counted = (int.from_bytes(time, "big") for time in times)
        kind, sealed = Kind(number), packed[_HEAD.size :]
        body = self._seals.open(sealed, user_id, factor_id, kind.word)
        return Kept(factor_id, kind, created_at, used_at, counted, sealed, body)

    def _key(self, user_id: str) -> str:
        return self._store.key(f"factors:{{{user_id}}}")


def _six(number: int) -> bytes:
    return number.to_bytes(6, "big")
