"""Which `Authorization` was good: who sends the same octets again need not be read again."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.verifier import AccessClaims, VerificationKey
from gateway.verifier.verify import MAX_TOKEN_CHARACTERS

MAX_REMEMBERED = 16_384
BEARER = b"Bearer "


class Known(NamedTuple):
    """Who sent it, by a token that was verified, and the identity headers as they stand in an answer."""

    claims: AccessClaims
    lines: bytes


class KnownCredentials:
    """
    A memory of whole values of `Authorization`, each with a good access token.

    `exp` is compared each time, and everything is forgotten when the keys change; whether the session has ended is
    asked by the caller, each time too. The one remembered longest makes room.
    """

    def __init__(self, max_known: int = MAX_REMEMBERED) -> None:
        self._max_known = max_known
        self._keys: Mapping[str, VerificationKey] = {}
        self._known: dict[bytes, Known] = {}

    def find(self, credentials: bytes, keys: Mapping[str, VerificationKey], now: int) -> Known | None:
        """
        Give what is known of it under these very keys; None where nothing is, or the token's time is over.

        Args:
            keys: By `kid`; changed keys come as another mapping.
            now: Seconds since the epoch.
        """
        if keys is not self._keys:
            if keys != self._keys:
                self._known = {}
            self._keys = keys
        known = self._known.get(credentials)
        return known if known is not None and now < known.claims.exp else None

    def remember(self, credentials: bytes, claims: AccessClaims, lines: bytes) -> None:
        """
        Remember it, under the keys that were last looked up with.

        Only as most write it: a token has one place here, however many spellings its holder tries.
        """
        if not credentials.startswith(BEARER) or len(credentials) > len(BEARER) + MAX_TOKEN_CHARACTERS:
            return
        if b" ".join(credentials.split()) != credentials:
            return
        self._known[credentials] = Known(claims, lines)
        if len(self._known) > self._max_known:
            del self._known[next(iter(self._known))]
