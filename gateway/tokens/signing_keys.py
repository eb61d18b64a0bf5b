"""A signing key and its life, and a set of them with all that is served from it."""

import hashlib
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.errors import CommandError
from gateway.verifier.keys import VerificationKey, public_jwk

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class SigningKey:
    """
    A key and its life. Times are Redis's, in whole seconds since the epoch; 0 means not yet.

    `published_at`: since when it is in the JWKS; `signs_since`: since when it is current; `leaves_at`: when a
    retiring key leaves the JWKS.
    """

    kid: str
    algorithm: str
    private_key: PrivateKey = field(repr=False)
    published_at: int
    signs_since: int = 0
    leaves_at: int = 0

    @property
    def state(self) -> str:
        """Give `next`, `current` or `retiring`."""
        return "retiring" if self.leaves_at else "current" if self.signs_since else "next"

    @property
    def signature_bytes(self) -> int:
        """Give how long its signatures are."""
        return self.private_key.key_size // 8 if isinstance(self.private_key, rsa.RSAPrivateKey) else 64

    @property
    def verification_key(self) -> VerificationKey:
        """Give the public half."""
        return VerificationKey(self.kid, self.algorithm, self.private_key.public_key())


@dataclass(frozen=True)
class Keys:
    """One version of the keyring, opened, with all that is served from it ready made."""

    version: int
    keys: tuple[SigningKey, ...]
    sealed_with: frozenset[str] = frozenset()
    verification: dict[str, VerificationKey] = field(init=False)
    jwks: bytes = field(init=False)
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the JWKS, current key first, for clients that take the first."""
        order = {"current": 0, "next": 1, "retiring": 2}
        public = [key.verification_key for key in sorted(self.keys, key=lambda key: order[key.state])]
        jwks = msgspec.json.encode({"keys": [public_jwk(key) for key in public]})
        object.__setattr__(self, "verification", {key.kid: key for key in public})
        object.__setattr__(self, "jwks", jwks)
        object.__setattr__(self, "etag", f'"{hashlib.sha256(jwks).hexdigest()[:32]}"')

    @property
    def current(self) -> SigningKey:
        """Give the key that signs."""
        return next(key for key in self.keys if key.state == "current")

    @property
    def next(self) -> SigningKey | None:
        """Give the key that will sign after the next rotation."""
        return next((key for key in self.keys if key.state == "next"), None)


def load_private_key(pem: bytes) -> PrivateKey:
    """
    Read a private key from PEM.

    Raises:
        CommandError: Not PEM, public only, encrypted, or of a kind that never signs here.
    """
    try:
        private_key = serialization.load_pem_private_key(pem, None)
    except TypeError as error:
        raise CommandError("the key is encrypted: take the passphrase off first (openssl pkey -in FILE)") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CommandError("this is no private key in PEM") from error
    if not isinstance(private_key, PrivateKey):
        raise CommandError("only RSA, EC P-256 and Ed25519 keys sign here")
    return private_key


def generate_private_key(algorithm: str, rsa_key_bits: int) -> PrivateKey:
    """Make a key that signs with *algorithm*."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm in ("Ed25519", "EdDSA"):
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=rsa_key_bits)


def can_sign_with(private_key: PrivateKey, algorithm: str) -> bool:
    """Tell whether a key is of the kind and size that *algorithm* takes (RFC 7518 section 3)."""
    match private_key:
        case rsa.RSAPrivateKey():
            return algorithm in ("RS256", "PS256") and private_key.key_size >= 2048
        case ec.EllipticCurvePrivateKey():
            return algorithm == "ES256" and isinstance(private_key.curve, ec.SECP256R1)
        case _:
            return algorithm in ("Ed25519", "EdDSA")
