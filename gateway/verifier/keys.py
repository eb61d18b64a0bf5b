"""
Public keys that may verify access tokens, and their JWKs.

RFC 7517 (JWK), RFC 7518 section 6 (members), RFC 7638 (thumbprint), RFC 8037 (Ed25519 as `EdDSA`), RFC 9864 (as
`Ed25519`). The two names sign alike and are two algorithms all the same: a key has the one it was published with.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

from .errors import UnusableKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MIN_RSA_EXPONENT: Final = 65_537
KID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a key may be called; for `fullmatch`."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

ALGORITHMS: Final[dict[str, tuple[type[PublicKey], Algorithm]]] = {
    "RS256": (rsa.RSAPublicKey, RSAAlgorithm(RSAAlgorithm.SHA256)),
    "PS256": (rsa.RSAPublicKey, RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256)),
    "ES256": (ec.EllipticCurvePublicKey, ECAlgorithm(ECAlgorithm.SHA256)),
    "Ed25519": (ed25519.Ed25519PublicKey, OKPAlgorithm()),
    "EdDSA": (ed25519.Ed25519PublicKey, OKPAlgorithm()),
}
"""The kind of key that each algorithm needs, and how to check its signatures."""

_MEMBERS: Final = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_URL_SAFE_TO_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/!!")


@dataclasses.dataclass(frozen=True, slots=True)
class VerificationKey:
    """
    A public key, the one algorithm it is used with, and its name.

    Args:
        kid: The key's name, 1 to 64 characters of base64url.
        algorithm: `RS256`, `PS256`, `ES256`, `Ed25519` or `EdDSA`.
        key: RSA of 2048 to 8192 bits with an exponent of at least 65537, P-256, or Ed25519.

    Raises:
        UnusableKey: One of these does not hold, or the algorithm is for another kind of key.
    """

    kid: str
    algorithm: str
    key: PublicKey

    def __post_init__(self) -> None:
        if not KID.fullmatch(self.kid):
            raise UnusableKey("a kid has 1 to 64 characters of base64url")
        if self.algorithm not in ALGORITHMS:
            raise UnusableKey(f"alg must be one of {', '.join(ALGORITHMS)}")
        if not isinstance(self.key, ALGORITHMS[self.algorithm][0]):
            raise UnusableKey(f"{self.algorithm} is for another kind of key")
        if isinstance(self.key, rsa.RSAPublicKey):
            numbers = self.key.public_numbers()
            if not MIN_RSA_BITS <= numbers.n.bit_length() <= MAX_RSA_BITS:
                raise UnusableKey(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
            if numbers.e < MIN_RSA_EXPONENT or numbers.e % 2 == 0 or numbers.n % 2 == 0:
                raise UnusableKey(f"an RSA key has an odd modulus and an odd exponent of at least {MIN_RSA_EXPONENT}")
        if isinstance(self.key, ec.EllipticCurvePublicKey) and not isinstance(self.key.curve, ec.SECP256R1):
            raise UnusableKey("ES256 is for P-256 alone")

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object]) -> Self:
        """
        Read one member of a JWKS (RFC 7517 section 4).

        The algorithm is the JWK's own `alg`; members that are not known are ignored.

        Raises:
            UnusableKey: No `kid` or `alg`, a `use` other than `sig`, `key_ops` without `verify`, a private member,
                a `kty` that does not fit `alg`, numbers that are no key, or a key that is too weak.
        """
        if not _PRIVATE_MEMBERS.isdisjoint(jwk):
            raise UnusableKey("a JWKS holds no private members")
        operations = jwk.get("key_ops", ["verify"])
        if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
            raise UnusableKey("the key is not for signatures")
        return cls(kid=_text(jwk, "kid"), algorithm=_text(jwk, "alg"), key=_public_key(jwk))

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Tell whether *signature*, spelt as JWS has it, is this key's over *message*."""
        return ALGORITHMS[self.algorithm][1].verify(message, self.key, signature)


def thumbprint(key: PublicKey | Mapping[str, object]) -> str:
    """
    Give the RFC 7638 thumbprint of a public key or a JWK: SHA-256, base64url, 43 characters.

    Raises:
        UnusableKey: The JWK lacks one of the members that count for its `kty`.
    """
    jwk = key if isinstance(key, Mapping) else _jwk_members(key)
    members = {name: _text(jwk, name) for name in _MEMBERS.get(_text(jwk, "kty"), ("unknown kty",))}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return encode_base64url(hashlib.sha256(canonical.encode()).digest())


def public_jwk(key: VerificationKey) -> dict[str, str]:
    """Give the JWK to publish: `kty`, `use`, `alg`, `kid` and the public members, nothing else."""
    members = _jwk_members(key.key)
    return {"kty": members["kty"], "use": "sig", "alg": key.algorithm, "kid": key.kid} | members


def encode_base64url(octets: bytes) -> str:
    """Give base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """
    Read base64url without padding.

    Raises:
        ValueError: Not the one spelling that `encode_base64url` gives: padding, another alphabet, stray bits.
    """
    standard = text.encode().translate(_URL_SAFE_TO_STANDARD)
    octets = binascii.a2b_base64(standard + b"==")
    if binascii.b2a_base64(octets, newline=False).rstrip(b"=") != standard:
        raise ValueError("not canonical base64url")
    return octets


def _text(jwk: Mapping[str, object], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise UnusableKey(f"the JWK has no {name}")
    return value


def _public_key(jwk: Mapping[str, object]) -> PublicKey:
    def octets(name: str) -> bytes:
        return decode_base64url(_text(jwk, name))

    try:
        match (_text(jwk, "kty"), jwk.get("crv")):
            case ("RSA", None):
                modulus, exponent = (int.from_bytes(octets(name), "big") for name in ("n", "e"))
                return rsa.RSAPublicNumbers(e=exponent, n=modulus).public_key()
            case ("EC", "P-256"):
                point = b"\x04" + octets("x") + octets("y")
                return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            case ("OKP", "Ed25519"):
                return ed25519.Ed25519PublicKey.from_public_bytes(octets("x"))
    except ValueError as error:
        raise UnusableKey(str(error)) from error
    raise UnusableKey("kty and crv must be RSA, EC with P-256 or OKP with Ed25519")


def _jwk_members(key: PublicKey) -> dict[str, str]:
    match key:
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            return {
                "kty": "RSA",
                "n": encode_base64url(_big_endian(numbers.n)),
                "e": encode_base64url(_big_endian(numbers.e)),
            }
        case ec.EllipticCurvePublicKey():
            point = key.public_numbers()
            x, y = (encode_base64url(coordinate.to_bytes(32, "big")) for coordinate in (point.x, point.y))
            return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        case _:
            return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(key.public_bytes_raw())}


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
