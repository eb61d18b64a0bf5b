"""
One Token Status List, one set of keys, one verdict: no I/O, no clock of its own.

draft-ietf-oauth-status-list: section 4.1 (what is compressed), 5.1 (the signed list), 7.1 (the values), 8.3 (how it
is judged).
"""

import zlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from .claims import LARGEST_EXACT_INTEGER, claim_in
from .errors import ClaimsRejected, ExpiredToken, MalformedToken
from .jws import signed_payload
from .keys import VerificationKey, decode_base64url

MEDIA_TYPE: Final = "application/statuslist+jwt"
MAX_LIST_BYTES: Final = 2 * 1024 * 1024
MAX_POSITIONS: Final = 2**20
DEFAULT_TTL_SECONDS: Final = 10
MAX_TTL_SECONDS: Final = 3600
MAX_LIFE_SECONDS: Final = 86_400
CLOCK_LEEWAY_SECONDS: Final = 5

_TYPES: Final = frozenset({"statuslist+jwt", MEDIA_TYPE})


class StatusList:
    """
    A verified list: what it says of each position, and for how long it says it.

    Attributes:
        issued_at: Its `iat`, in seconds since the epoch: what was revoked later is not in it.
        ttl_seconds: So long after `issued_at` a newer one is worth asking for; 1 to 3600, 10 where it does not say.
        expires_at: From this second on it tells nothing: its `exp`, at most a day after `issued_at`.
        bits: How many each position has: 1, 2, 4 or 8.
        octets: All of them, the first position in the lowest bits of the first octet.
    """

    __slots__ = ("bits", "expires_at", "issued_at", "octets", "ttl_seconds")

    def __init__(self, octets: bytes, *, bits: int, issued_at: int, ttl_seconds: int, expires_at: int) -> None:
        self.octets = octets
        self.bits = bits
        self.issued_at = issued_at
        self.ttl_seconds = ttl_seconds
        self.expires_at = expires_at

    def __len__(self) -> int:
        """Give how many positions it has."""
        return len(self.octets) * 8 // self.bits

    def value_at(self, idx: int) -> int:
        """
        Give the status at a position, from 0 (section 4.1): 0 is VALID, 1 INVALID, 2 SUSPENDED, all others not VALID.

        Raises:
            IndexError: The list has no such position.
        """
        at = idx * self.bits
        return self.octets[at >> 3] >> (at & 7) & ((1 << self.bits) - 1)


def verify_status_list(token: str, keys: Mapping[str, VerificationKey], *, uri: str, now: float) -> StatusList:
    """
    Check one status list token (section 8.3) and give the list.

    It is read as strictly as an access token, and is never one: `typ` is exactly `statuslist+jwt`, or the media type
    in full. `sub` is *uri*, byte for byte. `lst` is one ZLIB stream of at most 2^20 positions, and is inflated no
    further than that. `exp`, which the draft recommends, is needed.

    Args:
        token: The compact serialisation, of at most 2 MiB.
        keys: The issuer's, by `kid`.
        uri: Where the list was read, as the access token names it.
        now: Seconds since the epoch. A list is over from the second of its `exp` on; `iat` may lie up to 5 seconds
            ahead.

    Raises:
        MalformedToken: Not a compact JWS of strict JSON.
        UnknownKey: *keys* has no such `kid`.
        UntrustedToken: Wrong `typ`, an `alg` that is not the key's own, or a bad signature.
        ExpiredToken: Its time is over.
        ClaimsRejected: A claim is missing, of a wrong type, or out of bounds, is of another list, or lies in the
            future.
    """
    payload = signed_payload(token, keys, types=_TYPES, max_characters=MAX_LIST_BYTES)
    try:
        claims = _CLAIMS_DECODER.decode(payload)
    except msgspec.ValidationError as error:
        raise ClaimsRejected(claim_in(error), "missing, of a wrong type or out of bounds") from None
    except (msgspec.DecodeError, RecursionError):
        raise MalformedToken("the payload is not strict JSON") from None
    if claims.sub != uri:
        raise ClaimsRejected("sub", "another list")
    if claims.iat > now + CLOCK_LEEWAY_SECONDS:
        raise ClaimsRejected("iat", "lies in the future", claims.iat)
    if claims.exp <= claims.iat:
        raise ClaimsRejected("exp", "not after iat", claims.exp)
    expires_at = min(claims.exp, claims.iat + MAX_LIFE_SECONDS)
    if expires_at <= now:
        raise ExpiredToken(f"expired {now - expires_at:.0f} s ago")
    return StatusList(
        _inflated(claims.status_list.lst, MAX_POSITIONS * claims.status_list.bits // 8),
        bits=claims.status_list.bits,
        issued_at=claims.iat,
        ttl_seconds=claims.ttl,
        expires_at=expires_at,
    )


def _inflated(lst: str, max_octets: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        # One octet more than there may be tells a list that is too large from one that just fits.
        octets = stream.decompress(decode_base64url(lst), max_octets + 1)
    except ValueError:
        raise ClaimsRejected("status_list", "lst is not canonical base64url") from None
    except zlib.error:
        raise ClaimsRejected("status_list", "lst is not a ZLIB stream") from None
    if len(octets) > max_octets:
        raise ClaimsRejected("status_list", f"more than {MAX_POSITIONS} positions")
    if not stream.eof or stream.unused_data:
        raise ClaimsRejected("status_list", "lst is not one whole ZLIB stream")
    if not octets:
        raise ClaimsRejected("status_list", "without a position")
    return octets


_Seconds = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_EXACT_INTEGER)]


class _Compressed(msgspec.Struct):
    bits: Literal[1, 2, 4, 8]
    lst: str


class _ListClaims(msgspec.Struct):
    sub: str
    iat: _Seconds
    exp: _Seconds
    status_list: _Compressed
    ttl: Annotated[int, msgspec.Meta(ge=1, le=MAX_TTL_SECONDS)] = DEFAULT_TTL_SECONDS


_CLAIMS_DECODER: Final = msgspec.json.Decoder(_ListClaims)
