"""
What is good once and for a few minutes: pending logins, challenges of passkeys, factors that are being set up.

Each is found by an unguessable text that somebody outside holds; Redis knows the SHA-256 of that alone, and the rest is
sealed for this very place.
"""

import hashlib
import secrets
from collections.abc import Callable

from gateway.accounts.factors.sealing import FactorSeals
from gateway.store import Script, Store

KNOWN_AGAIN_MILLISECONDS = 5000
TEXT_BYTES = 32


def new_text() -> str:
    """Give 256 random bits as 43 base64url characters."""
    return secrets.token_urlsafe(TEXT_BYTES)


class Once:
    """
    All that is good once.

    Args:
        new_nonce: Gives the random number, 1 to 2^32 - 1, by which a request knows its own command again.
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
        self._take = Script.load(__package__, "once_take")

    async def put(self, kind: str, text: str, body: bytes, ttl_seconds: int) -> None:
        """Keep a body under its text, for so long by Redis's clock."""
        name = _name(text)
        sealed = f"{kind} ".encode() + self._seals.seal(body, "once", kind, name)
        await self._store.execute("SET", self._store.key(f"once:{name}"), sealed, "EX", ttl_seconds)

    async def look(self, kind: str, text: str) -> bytes | None:
        """Give the body, and use nothing up; None when there is none of that kind, or it is used or over."""
        name = _name(text)
        return self._open(kind, name, await self._store.execute("GET", self._store.key(f"once:{name}")))

    async def take(self, kind: str, text: str, *, is_followed: bool = False) -> bytes | None:
        """
        Give the body, and use it up: of several at once one gets it, and all others None.

        It is confirmed before it is given, so that no failover brings it back; with *is_followed* by the durable write
        that follows, as `gateway.store.Store.run` has it.
        """
        name, nonce = _name(text), self._new_nonce()
        kept = await self._store.run(
            self._take, [self._store.key(f"once:{name}")], nonce, KNOWN_AGAIN_MILLISECONDS,
            durable=True, is_followed=is_followed,
        )  # fmt: skip
        return self._open(kind, name, kept)

    def _open(self, kind: str, name: str, kept: bytes | None) -> bytes | None:
        mark = f"{kind} ".encode()
        if kept is None or not kept.startswith(mark):
            return None
        return self._seals.open(kept.removeprefix(mark), "once", kind, name)


def _name(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
