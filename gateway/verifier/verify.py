"""
One access token, one set of keys, one verdict: no I/O, no clock of its own.

RFC 7515 (JWS), RFC 8725 (best practices), RFC 9068 (access tokens).
"""

import functools
import json
import re
import threading
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .claims import AccessClaims
from .errors import ClaimsRejected, ExpiredToken, MalformedToken, UnknownKey, UntrustedToken
from .keys import ALGORITHMS, KID, VerificationKey, decode_base64url, public_jwk, thumbprint

__all__ = ["VerificationKey", "VerifiedTokens", "public_jwk", "thumbprint", "verify_access_token"]

MAX_TOKEN_CHARACTERS: Final = 4096
CLOCK_LEEWAY_SECONDS: Final = 5

_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid"})
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_CLAIM_IN_MESSAGE: Final = re.compile(r"`(?:\$\.)?([a-z_]+)(?:[.\[][^`]*)?`\Z")


def verify_access_token(
    token: str, keys: Mapping[str, VerificationKey], *, issuer: str, audience: str, now: int
) -> AccessClaims:
    """
    Check one access token (RFC 9068 section 4, RFC 8725) and give its claims.

    No part has a second spelling: base64url must be canonical, and the header holds `alg`, `typ` and `kid` alone,
    each once. `typ` is compared exactly, since RFC 9068 names the two values. The signature is checked before
    any claim is read. `iss` and `aud` are one string each, compared byte for byte.

    Args:
        token: The compact serialisation, without `Bearer`.
        keys: By `kid`. Nothing but a lookup happens here, so a foreign `kid` costs no I/O.
        issuer: The only `iss` that is accepted.
        audience: The only `aud` that is accepted.
        now: Seconds since the epoch. A token is expired from the second of its `exp` on; `iat` and `nbf` may lie
            up to 5 seconds ahead.

    Raises:
        MalformedToken: Not a compact JWS of at most 4096 characters, or its header or payload is not strict JSON.
        UnknownKey: *keys* has no such `kid`.
        UntrustedToken: Wrong `typ`, an `alg` that is not the key's own, or a bad signature.
        ExpiredToken: Its time is over.
        ClaimsRejected: A claim is missing, of a wrong type, foreign, or lies in the future.

    Does not check: revocation, roles, the age of the login (`auth_time`), whether the user still exists, or that
    the one who sends the token is the one it was given to (it is a bearer token).
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise MalformedToken(f"longer than {MAX_TOKEN_CHARACTERS} characters")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise MalformedToken("not three parts of base64url")
    header, payload, signature = match.groups()
    algorithm, kid = _read_header(header)
    octets, signature_octets = _decode(payload), _decode(signature)
    key = keys.get(kid)
    if key is None:
        raise UnknownKey("no key has this kid")
    if key.algorithm != algorithm:
        raise UntrustedToken("alg is not the key's own")
    if not key.has_signed(token[: match.end(2)].encode(), signature_octets):
        raise UntrustedToken("bad signature")
    claims = _read_claims(octets)
    if not claims.sid and claims.sub != claims.client_id:
        raise ClaimsRejected("sid", "missing, and the token is not that of a machine client")
    if claims.iss != issuer:
        raise ClaimsRejected("iss", "another issuer", claims.iss)
    if claims.aud != audience:
        raise ClaimsRejected("aud", "another audience", claims.aud)
    if claims.exp <= now:
        raise ExpiredToken(f"expired {now - claims.exp} s ago", claims.sub)
    if claims.iat > now + CLOCK_LEEWAY_SECONDS:
        raise ClaimsRejected("iat", "lies in the future", claims.iat)
    if claims.nbf is not None and claims.nbf > now + CLOCK_LEEWAY_SECONDS:
        raise ClaimsRejected("nbf", "lies in the future", claims.nbf)
    return claims


class VerifiedTokens:
    """
    `verify_access_token` with a memory: a token that was good under these very keys is not computed again.

    Nothing is remembered but good signatures. A token is looked up by its whole text, its `exp` is compared each
    time, and everything is forgotten when the keys change. Safe to use from several threads.

    Args:
        issuer: The only `iss` that is accepted.
        audience: The only `aud` that is accepted.
        max_tokens: How many are remembered, at about 2 KiB each; the one remembered longest makes room. 0: none.
    """

    def __init__(self, *, issuer: str, audience: str, max_tokens: int = 4096) -> None:
        self._issuer = issuer
        self._audience = audience
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        # Keys and what was verified under them are replaced together, so that no thread mixes two generations.
        self._generation: tuple[Mapping[str, VerificationKey], dict[str, AccessClaims]] = ({}, {})

    def verify(self, token: str, keys: Mapping[str, VerificationKey], *, now: int) -> AccessClaims:
        """
        Give the claims of *token*, as `verify_access_token` does, or raise what it raises.

        Args:
            keys: By `kid`; changed keys come as another mapping, never by changing this one in place.
            now: Seconds since the epoch.
        """
        known_keys, good = self._generation
        if keys is not known_keys:
            if keys != known_keys:
                good = {}
            self._generation = keys, good
        claims = good.get(token)
        if claims is not None and now < claims.exp:
            return claims
        claims = verify_access_token(token, keys, issuer=self._issuer, audience=self._audience, now=now)
        with self._lock:
            good[token] = claims
            if len(good) > self._max_tokens:
                del good[next(iter(good))]
        return claims


# All tokens of one key have the same header, so that reading it once is enough; what is refused is not remembered.
@functools.lru_cache(maxsize=64)
def _read_header(part: str) -> tuple[str, str]:
    """Give `alg` and `kid`."""
    header = _json_object(_decode(part))
    if header.keys() != _HEADER_MEMBERS or not all(isinstance(value, str) for value in header.values()):
        raise MalformedToken("the header must hold alg, typ and kid, all text, and nothing else")
    if not KID.fullmatch(header["kid"]):
        raise MalformedToken("the kid is not 1 to 64 characters of base64url")
    if header["typ"] not in _TYPES:
        raise UntrustedToken("typ is not at+jwt")
    if header["alg"] not in ALGORITHMS:
        raise UntrustedToken("alg is not accepted")
    return header["alg"], header["kid"]


def _decode(part: str) -> bytes:
    try:
        return decode_base64url(part)
    except ValueError:
        raise MalformedToken("not canonical base64url") from None


def _read_claims(payload: bytes) -> AccessClaims:
    _json_object(payload)
    try:
        return _CLAIMS_DECODER.decode(payload)
    except msgspec.ValidationError as error:
        claim = _CLAIM_IN_MESSAGE.search(str(error))
        raise ClaimsRejected(claim[1] if claim else "?", "missing or of a wrong type") from None
    except (msgspec.DecodeError, RecursionError):
        raise MalformedToken("the payload is not strict JSON") from None


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = _STRICT_JSON.decode(text.decode())
    except (ValueError, RecursionError):
        # The cause would quote the text, which is a part of the token.
        raise MalformedToken("not strict JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise MalformedToken("not a JSON object")
    return value


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_STRICT_JSON: Final = json.JSONDecoder(object_pairs_hook=_members_once, parse_constant=_refuse_constant)
_CLAIMS_DECODER: Final = msgspec.json.Decoder(AccessClaims)
