"""
One signed text: its three parts, the one key that may have signed it, and its payload, which nobody has judged yet.

RFC 7515 (JWS), RFC 8725 (best practices). What kind of text it is says `typ`, which each caller names: so none is
ever taken for another.
"""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from .errors import MalformedToken, UnknownKey, UntrustedToken
from .keys import ALGORITHMS, KID, VerificationKey, decode_base64url

_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid"})
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


def signed_payload(
    compact: str, keys: Mapping[str, VerificationKey], *, types: frozenset[str], max_characters: int
) -> bytes:
    """
    Give what was signed: strict JSON, an object.

    No part has a second spelling: base64url must be canonical, and the header holds `alg`, `typ` and `kid` alone,
    each once.

    Args:
        compact: The compact serialisation (RFC 7515 section 7.1).
        keys: By `kid`. Nothing but a lookup happens here, so a foreign `kid` costs no I/O.
        types: What `typ` may be, compared exactly.
        max_characters: How long *compact* may be.

    Raises:
        MalformedToken: Not a compact JWS of so many characters, or its header or payload is not strict JSON.
        UnknownKey: *keys* has no such `kid`.
        UntrustedToken: Wrong `typ`, an `alg` that is not the key's own, or a bad signature.
    """
    if len(compact) > max_characters:
        raise MalformedToken(f"longer than {max_characters} characters")
    match = _COMPACT.fullmatch(compact)
    if match is None:
        raise MalformedToken("not three parts of base64url")
    header, payload, signature = match.groups()
    algorithm, kid = _read_header(header, types)
    octets, signature_octets = _decode(payload), _decode(signature)
    key = keys.get(kid)
    if key is None:
        raise UnknownKey("no key has this kid")
    if key.algorithm != algorithm:
        raise UntrustedToken("alg is not the key's own")
    if not key.has_signed(compact[: match.end(2)].encode(), signature_octets):
        raise UntrustedToken("bad signature")
    _json_object(octets)
    return octets


# All tokens of one key have the same header, so that reading it once is enough; what is refused is not remembered.
@functools.lru_cache(maxsize=64)
def _read_header(part: str, types: frozenset[str]) -> tuple[str, str]:
    """Give `alg` and `kid`."""
    header = _json_object(_decode(part))
    if header.keys() != _HEADER_MEMBERS or not all(isinstance(value, str) for value in header.values()):
        raise MalformedToken("the header must hold alg, typ and kid, all text, and nothing else")
    if not KID.fullmatch(header["kid"]):
        raise MalformedToken("the kid is not 1 to 64 characters of base64url")
    if header["typ"] not in types:
        raise UntrustedToken(f"typ is not {min(types, key=len)}")
    if header["alg"] not in ALGORITHMS:
        raise UntrustedToken("alg is not accepted")
    return header["alg"], header["kid"]


def _decode(part: str) -> bytes:
    try:
        return decode_base64url(part)
    except ValueError:
        raise MalformedToken("not canonical base64url") from None


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
