"""
Client assertions: JWTs by which a client shows that it has a private key (RFC 7523 section 3, as RFC 10070 has it).

`aud` is the issuer alone, as one string, so that an assertion that was meant for another server is worth nothing here.
"""

import json
import re
from typing import Annotated, Any, NamedTuple

import msgspec

from gateway.errors import InvalidClient
from gateway.machines.client_keys import ASSERTION_ALGORITHMS, ClientKey
from gateway.verifier.keys import decode_base64url

MAX_ASSERTION_CHARACTERS = 8192
# Authlib makes them for so long, and has no setting for it.
MAX_LIFE_SECONDS = 3600
LEEWAY_SECONDS = 5
TYPES = ("client-authentication+jwt", "jwt")
"""What `typ` may be; it may be left out, too (RFC 10070 section 4)."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2**53)]


class _Claims(msgspec.Struct, frozen=True):
    iss: Annotated[str, msgspec.Meta(max_length=255)]
    sub: Annotated[str, msgspec.Meta(max_length=255)]
    aud: str
    exp: _Seconds
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    nbf: _Seconds = 0
    iat: _Seconds = 0


class ClientAssertion(NamedTuple):
    """An assertion that was read, and not judged yet; `client_id` is whose it claims to be."""

    client_id: str
    jti: str
    exp: float
    algorithm: str
    kid: str | None
    claims: _Claims
    signed: bytes
    signature: bytes


def read_assertion(text: str) -> ClientAssertion:
    """
    Read an assertion, without a look at its signature, its times and its audience.

    Raises:
        InvalidClient: Not a compact JWS in strict JSON, no `iss`, `sub`, `aud`, `exp` or `jti`, another `typ` or `alg`.
    """
    match = _COMPACT.fullmatch(text) if len(text) <= MAX_ASSERTION_CHARACTERS else None
    if match is None:
        raise InvalidClient("assertion-malformed", "client_assertion is not a compact JWS")
    try:
        header, payload, signature = (decode_base64url(part) for part in match.groups())
        members = _json_object(header)
        _json_object(payload)
        claims = msgspec.json.decode(payload, type=_Claims)
    except (ValueError, RecursionError):
        # The cause would quote what was signed.
        raise InvalidClient(
            "assertion-malformed",
            "client_assertion needs strict JSON, each member once, with iss, sub, aud (one string), exp and jti",
        ) from None
    algorithm, kid, kind = members.get("alg"), members.get("kid"), members.get("typ", TYPES[0])
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise InvalidClient("assertion-malformed", f"client_assertion has another typ than {TYPES[0]}")
    if algorithm not in ASSERTION_ALGORITHMS or "crit" in members or not isinstance(kid, str | None):
        raise InvalidClient("assertion-malformed", f"client_assertion: alg is one of {', '.join(ASSERTION_ALGORITHMS)}")
    if claims.iss != claims.sub:
        raise InvalidClient("assertion-malformed", "client_assertion: iss and sub are both the client_id")
    signed = text[: match.end(2)].encode()
    return ClientAssertion(claims.sub, claims.jti, claims.exp, algorithm, kid, claims, signed, signature)


def judge_assertion(assertion: ClientAssertion, keys: tuple[ClientKey, ...], *, issuer: str, now: int) -> None:
    """
    Check the signature by the keys of the client, then audience and times, by our clock.

    Does not check that the assertion was not used before.

    Raises:
        InvalidClient: One of these does not hold.
    """
    algorithm, kid = assertion.algorithm, assertion.kid
    fitting = [key for key in keys if algorithm in key.by_algorithm and (kid is None or key.is_named(kid))]
    if not fitting:
        raise InvalidClient("assertion-key-unknown", "the client has no key of this kid and alg")
    if not any(key.by_algorithm[algorithm].has_signed(assertion.signed, assertion.signature) for key in fitting):
        raise InvalidClient("assertion-signature", "the signature of client_assertion is not the client's")
    if assertion.claims.aud != issuer:
        raise InvalidClient("assertion-audience", "client_assertion: aud is the issuer alone (RFC 10070)")
    if assertion.exp <= now:
        raise InvalidClient("assertion-time", "client_assertion is expired")
    if assertion.exp > now + MAX_LIFE_SECONDS + LEEWAY_SECONDS:
        raise InvalidClient("assertion-time", f"client_assertion: exp is at most {MAX_LIFE_SECONDS} s ahead")
    if max(assertion.claims.nbf, assertion.claims.iat) > now + LEEWAY_SECONDS:
        raise InvalidClient("assertion-time", "client_assertion: nbf or iat lies in the future")


def _json_object(octets: bytes) -> dict[str, Any]:
    members = _EACH_ONCE.decode(octets.decode())
    if not isinstance(members, dict):
        raise ValueError("not an object")
    return members


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


_EACH_ONCE = json.JSONDecoder(object_pairs_hook=_once)
