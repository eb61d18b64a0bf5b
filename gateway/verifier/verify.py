"""
One access token, one set of keys, one verdict: no I/O, no clock of its own.

RFC 7515 (JWS), RFC 8725 (best practices), RFC 9068 (access tokens).
"""

import threading
from collections.abc import Mapping
from typing import Final

import msgspec

from .claims import AccessClaims, claim_in
from .errors import ClaimsRejected, ExpiredToken, MalformedToken
from .jws import signed_payload
from .keys import VerificationKey, public_jwk, thumbprint

__all__ = ["VerificationKey", "VerifiedTokens", "public_jwk", "thumbprint", "verify_access_token"]

MAX_TOKEN_CHARACTERS: Final = 4096
CLOCK_LEEWAY_SECONDS: Final = 5

_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})


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
    claims = _read_claims(signed_payload(token, keys, types=_TYPES, max_characters=MAX_TOKEN_CHARACTERS))
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

    def verify(self, token: str, keys: Mapping[str, VerificationKey], *, now: float) -> AccessClaims:
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
        claims = verify_access_token(token, keys, issuer=self._issuer, audience=self._audience, now=int(now))
        with self._lock:
            good[token] = claims
            if len(good) > self._max_tokens:
                del good[next(iter(good))]
        return claims


def _read_claims(payload: bytes) -> AccessClaims:
    try:
        return _CLAIMS_DECODER.decode(payload)
    except msgspec.ValidationError as error:
        raise ClaimsRejected(claim_in(error), "missing or of a wrong type") from None
    except (msgspec.DecodeError, RecursionError):
        raise MalformedToken("the payload is not strict JSON") from None


_CLAIMS_DECODER: Final = msgspec.json.Decoder(AccessClaims)
