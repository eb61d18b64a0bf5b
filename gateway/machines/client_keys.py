"""
The public keys of machine clients: read from PEM, a JWK or a JWKS, kept as a JWKS, and asked whether they have signed.

A key signs with the algorithm that its JWK names, else with any that its kind has (RFC 7518 section 3, RFC 9864).
"""

import functools
import re
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import CommandError
from gateway.verifier import UnusableKey, VerificationKey, public_jwk, thumbprint
from gateway.verifier.keys import ALGORITHMS, PublicKey

MAX_KEYS = 10
MAX_FILE_BYTES = 65_536
MAX_KID_CHARACTERS = 255
ASSERTION_ALGORITHMS = tuple(ALGORITHMS)
_KINDS: dict[str, tuple[type[PublicKey], ...]] = {
    "RSA": (rsa.RSAPublicKey,),
    "EC": (ec.EllipticCurvePublicKey,),
    "OKP": (ed25519.Ed25519PublicKey,),
}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_PUBLIC_HALF = "give the public half: openssl pkey -in FILE -pubout"


@dataclass(frozen=True)
class ClientKey:
    """
    A public key of a client.

    `kid` is what its JWK calls it, else its thumbprint (RFC 7638); `by_algorithm` has it once for each algorithm that
    it may sign with.
    """

    kid: str
    thumbprint: str
    by_algorithm: dict[str, VerificationKey]

    def is_named(self, kid: str) -> bool:
        """Tell whether a `kid` may be this key's."""
        return kid in (self.kid, self.thumbprint)


def read_client_keys(octets: bytes) -> str:
    """
    Give the JWKS that is kept of a file: PEM with one or more public keys, a JWK, or a JWKS.

    Raises:
        CommandError: Anything else, a private key, one that is too weak or of another kind, none or more than 10; says
            what to give instead.
    """
    if len(octets) > MAX_FILE_BYTES:
        raise CommandError(f"the file of public keys has more than {MAX_FILE_BYTES} bytes")
    jwks = _from_pem(octets) if b"-----BEGIN" in octets else _from_json(octets)
    unique = list({thumbprint(jwk): jwk for jwk in jwks}.values())
    if not 1 <= len(unique) <= MAX_KEYS:
        raise CommandError(f"a client has 1 to {MAX_KEYS} public keys, and these are {len(unique)}")
    if len({jwk["kid"] for jwk in unique}) < len(unique):
        raise CommandError("two of the keys have one kid: give each its own")
    return msgspec.json.encode({"keys": unique}).decode()


@functools.lru_cache(maxsize=256)
def client_keys_of(jwks: str) -> tuple[ClientKey, ...]:
    """Give the keys of a JWKS as `read_client_keys` gave it; none of an empty text."""
    return tuple(_key_of(jwk) for jwk in msgspec.json.decode(jwks)["keys"]) if jwks else ()


def _key_of(jwk: dict[str, str]) -> ClientKey:
    name = thumbprint(jwk)
    algorithms = [jwk["alg"]] if "alg" in jwk else _algorithms_of(jwk["kty"])
    return ClientKey(
        kid=jwk["kid"],
        thumbprint=name,
        by_algorithm={one: VerificationKey.from_jwk({**jwk, "kid": name, "alg": one}) for one in algorithms},
    )


def _algorithms_of(kty: str) -> list[str]:
    return [name for name, (kind, _) in ALGORITHMS.items() if kind in _KINDS.get(kty, ())]


def _from_pem(octets: bytes) -> list[dict[str, str]]:
    jwks = []
    for block in _PEM.finditer(octets):
        label = block[1].decode()
        if "PRIVATE KEY" in label:
            raise CommandError(f"the file holds a private key, which stays with the client: {_PUBLIC_HALF}")
        if "CERTIFICATE" in label:
            raise CommandError("the file holds a certificate: give its key: openssl x509 -in FILE -noout -pubkey")
        try:
            key = load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CommandError("the file holds no public key in PEM that can be read") from error
        jwks.append(_checked_key(key))
    if not jwks:
        raise CommandError("the file holds no whole PEM block")
    return jwks


def _checked_key(key: object) -> dict[str, str]:
    algorithms = [name for name, (kind, _) in ALGORITHMS.items() if isinstance(key, kind)]
    if not algorithms:
        raise CommandError("a public key is RSA, EC P-256 or Ed25519, and this one is none of these")
    try:
        checked = VerificationKey("unnamed", algorithms[0], key)  # type: ignore[arg-type]  # one of these kinds
        jwk = public_jwk(checked) | {"kid": thumbprint(checked.key)}
    except UnusableKey as error:
        raise CommandError(f"a public key is not fit: {error}") from error
    return {member: value for member, value in jwk.items() if member not in ("use", "alg")}


def _from_json(octets: bytes) -> list[dict[str, str]]:
    try:
        document = msgspec.json.decode(octets)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CommandError("the file holds neither PEM nor JSON: give PEM, a JWK or a JWKS") from error
    found = document.get("keys", [document]) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(jwk, dict) for jwk in found):
        raise CommandError("the file holds neither a JWK nor a JWKS")
    return [_checked_jwk(jwk) for jwk in found]


def _checked_jwk(jwk: dict[str, object]) -> dict[str, str]:
    kty, kid, algorithm = (jwk.get(member, "") for member in ("kty", "kid", "alg"))
    if kty == "oct":
        raise CommandError("the file holds a symmetric key, which is a secret: take an RSA, EC P-256 or Ed25519 key")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise CommandError(
            "the file holds a private key, which stays with the client: give the public members of the JWK alone"
        )
    if not isinstance(kid, str) or not kid.isprintable() or len(kid) > MAX_KID_CHARACTERS:
        raise CommandError(f"a kid has at most {MAX_KID_CHARACTERS} printable characters")
    if algorithm and algorithm not in ALGORITHMS:
        raise CommandError(f"alg is one of {', '.join(ALGORITHMS)}, or left out")
    algorithms = _algorithms_of(kty) if isinstance(kty, str) else []
    if not algorithms:
        raise CommandError("a public key is RSA, EC P-256 or Ed25519 (kty RSA, EC, OKP), and this one is none of these")
    try:
        key = VerificationKey.from_jwk({**jwk, "kid": "unnamed", "alg": algorithm or algorithms[0]})
        members = public_jwk(key)
        name = thumbprint(key.key)
    except UnusableKey as error:
        raise CommandError(f"a public key is not fit: {error}") from error
    kept = {member: value for member, value in members.items() if member not in ("use", "alg", "kid")}
    return kept | {"kid": kid or name} | ({"alg": str(algorithm)} if algorithm else {})
