"""
Status List Tokens (draft-ietf-oauth-status-list): signed lists that tell offline verifiers which sessions were ended.

A list is signed when somebody asks for it, for all who ask meanwhile, and handed out again while it says what is known,
`SIGNED_AGAIN_AFTER_SECONDS` at most. One that says less than is known is handed out for as long as the caches in front
might have kept the one before, which have to drop it by then: so neither adds to the other, and a verifier that asks
again when `ttl` is over knows of an end 16 seconds after it at the latest (docs/status-lists.md).
"""

import asyncio
import hashlib
import math
import time
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from gateway.clock import Clock
from gateway.tokens.access_tokens import AccessTokenMinter, sign
from gateway.tokens.keyring import Keyring
from gateway.tokens.signing_keys import SigningKey
from gateway.tokens.status_claims import StatusClaims

TTL_SECONDS = 10
LIFE_SECONDS = 60
CACHED_SECONDS = 5
SIGNED_AGAIN_AFTER_SECONDS = 10
STALE_IF_ERROR_SECONDS = LIFE_SECONDS - SIGNED_AGAIN_AFTER_SECONDS - CACHED_SECONDS
LIST_BYTES = 2**20 // 8
MAX_SIGNED = 64
MAX_LISTED = 256
TYPE = "statuslist+jwt"

# Runs of zeros are what there is to find: level 9 otherwise takes a hundred times as long for a longer result.
_DEFLATE = partial(zlib.compressobj, level=9, memLevel=9, strategy=zlib.Z_RLE)


class Bits(Protocol):
    """What is known of the sessions that have indexes."""

    @property
    def lists(self) -> tuple[int, ...]:
        """Give the numbers of the lists that have bits set."""

    def version(self, list_number: int) -> int:
        """Give what is another number after each change of a list."""

    def copy(self, list_number: int) -> bytes:
        """Give the bits as the draft has them (section 4.1), without the zeros at the end."""


class SignedList(NamedTuple):
    """A Status List Token, when it was made, by a clock that never goes back, and of what."""

    token: bytes
    etag: str
    made_at: float
    version: int
    kid: str


class StatusLists:
    """
    Signs lists and remembers those that were asked for last, at 256 KiB at most each.

    Args:
        minter: On whose thread they are signed.
        clock: Seconds since the epoch, for `iat` and `exp`.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        minter: AccessTokenMinter,
        keyring: Keyring,
        claims: StatusClaims,
        bits: Bits,
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._minter = minter
        self._keyring = keyring
        self._bits = bits
        self._claims = claims
        self._clock = clock
        self._monotonic = monotonic
        self._signed: dict[int, SignedList] = {}
        self._signings: dict[int, asyncio.Task[SignedList]] = {}

    def known(self, number: int) -> tuple[SignedList, int] | None:
        """Give a list and for how many seconds it may be cached; None where it has to be signed (again)."""
        signed = self._signed.get(number)
        if signed is None or signed.kid not in self._keyring.keys.verification:
            return None
        age_seconds = self._monotonic() - signed.made_at
        if signed.version == self._bits.version(number):
            return (signed, CACHED_SECONDS) if age_seconds < SIGNED_AGAIN_AFTER_SECONDS else None
        left_seconds = CACHED_SECONDS - math.ceil(age_seconds)
        return (signed, left_seconds) if left_seconds > 0 else None

    async def give(self, number: int) -> tuple[SignedList, int]:
        """
        Give a list and for how many seconds it may be cached; all who ask while it is signed wait for that.

        Raises:
            StoreUnavailable: This process has never seen the keyring.
        """
        if (known := self.known(number)) is not None:
            return known
        signing = self._signings.get(number)
        if signing is None:
            signing = asyncio.create_task(self._sign(number), context=Context())
            self._signings[number] = signing
            signing.add_done_callback(lambda _: self._signings.pop(number, None))
        signed = await asyncio.shield(signing)
        return self.known(number) or (signed, 0)  # something may have been learned meanwhile

    async def _sign(self, number: int) -> SignedList:
        # What is learned from here on is in the next one.
        version, bits, made_at = self._bits.version(number), self._bits.copy(number), self._monotonic()
        key = self._keyring.signing_key
        make = partial(_make, self._claims.uri_of(number), self._clock(), bits, key)
        token, etag = await self._minter.on_thread(make)
        self._signed.pop(number, None)
        self._signed[number] = signed = SignedList(token, etag, made_at, version, key.kid)
        if len(self._signed) > MAX_SIGNED:
            del self._signed[next(iter(self._signed))]
        return signed

    @property
    def listed(self) -> list[str]:
        """Give the addresses of the lists that are known here, oldest first (section 9.3)."""
        numbers = {*self._claims.mentioned, *self._bits.lists, *self._signed}
        return [self._claims.uri_of(number) for number in sorted(numbers)[-MAX_LISTED:]]


def deflated(bits: bytes) -> bytes:
    """Give the bits of a whole list as ZLIB (RFC 1950) has them."""
    deflating = _DEFLATE()
    return deflating.compress(bits.ljust(LIST_BYTES, b"\0")) + deflating.flush()


def _make(uri: str, now: int, bits: bytes, key: SigningKey) -> tuple[bytes, str]:
    """Give a Status List Token (section 5.1), and a strong validator of it."""
    lst = urlsafe_b64encode(deflated(bits)).rstrip(b"=").decode()
    claims = {
        "sub": uri,
        "iat": now,
        "exp": now + LIFE_SECONDS,
        "ttl": TTL_SECONDS,
        "status_list": {"bits": 1, "lst": lst},
    }
    token = sign(msgspec.json.encode(claims), key, TYPE).encode()
    return token, f'"{hashlib.sha256(token).hexdigest()[:32]}"'
