"""Keys, claims and tokens for the tests of the verifier, the good ones and the bad ones."""

import functools
import json
import zlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import OKPAlgorithm, get_default_algorithms

from gateway.verifier import AccessClaims, VerificationKey, thumbprint, verify_access_token
from gateway.verifier.keys import encode_base64url

NOW = 1_790_000_000
ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"
SIGNERS = get_default_algorithms() | {"Ed25519": OKPAlgorithm()}
ALGORITHMS = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def private_key(algorithm: str) -> PrivateKey:
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "Ed25519" | "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@functools.cache
def verification_key(algorithm: str = "RS256") -> VerificationKey:
    public = private_key(algorithm).public_key()
    return VerificationKey(thumbprint(public), algorithm, public)


@functools.cache
def keys() -> Mapping[str, VerificationKey]:
    """One key of each algorithm, as in the middle of a change of `signing_algorithm`."""
    return {key.kid: key for key in map(verification_key, ALGORITHMS)}


def header(algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    return {"alg": algorithm, "typ": "at+jwt", "kid": verification_key(algorithm).kid} | changes


def claims(**changes: Any) -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "sub": "usr_" + "a" * 22,
        "aud": AUDIENCE,
        "client_id": "first-party",
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "j" * 22,
        "sid": "s" * 22,
        "auth_time": NOW - 30,
        "amr": ["pwd"],
        "roles": ["staff"],
        "email": "ada@example.com",
        "name": "Ada Lovelace",
    } | changes


def claims_without(name: str) -> dict[str, Any]:
    return {claim: value for claim, value in claims().items() if claim != name}


def part(content: Mapping[str, Any] | str | bytes) -> str:
    """Give one part of a compact JWS: octets as they are, text as UTF-8, a mapping as JSON."""
    if isinstance(content, Mapping):
        content = json.dumps(content, separators=(",", ":"))
    return encode_base64url(content.encode() if isinstance(content, str) else content)


def signature(message: str, *, signer: str, algorithm: str | None = None) -> str:
    """Sign with the private key of *signer*, by another *algorithm* of the same kind of key when one is given."""
    return encode_base64url(SIGNERS[algorithm or signer].sign(message.encode(), private_key(signer)))


def compact(
    header_part: Mapping[str, Any] | str | bytes,
    payload_part: Mapping[str, Any] | str | bytes,
    *,
    signer: str = "RS256",
    algorithm: str | None = None,
) -> str:
    """Give a compact JWS of whatever it is given, truly signed."""
    message = f"{part(header_part)}.{part(payload_part)}"
    return f"{message}.{signature(message, signer=signer, algorithm=algorithm)}"


def token(signing: str = "RS256", /, **changes: Any) -> str:
    """Give an access token as the gateway makes it, but for *changes* of its claims."""
    return compact(header(signing), claims(**changes), signer=signing)


def list_claims(uri: str, octets: bytes, *, bits: int = 1, **changes: Any) -> dict[str, Any]:
    """Give the claims of a status list as the gateway makes it, but for *changes*."""
    status_list = {"bits": bits, "lst": encode_base64url(zlib.compress(octets, 9))}
    exp = changes.get("iat", NOW) + 60
    return {"sub": uri, "iat": NOW, "exp": exp, "ttl": 10, "status_list": status_list} | changes


def list_token(uri: str, octets: bytes, *, signer: str = "RS256", bits: int = 1, **changes: Any) -> str:
    typed = header(signer, typ="statuslist+jwt")
    return compact(typed, list_claims(uri, octets, bits=bits, **changes), signer=signer)


def verify(access_token: str, *, now: int = NOW) -> AccessClaims:
    return verify_access_token(access_token, keys(), issuer=ISSUER, audience=AUDIENCE, now=now)
