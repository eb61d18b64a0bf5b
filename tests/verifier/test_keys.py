import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from gateway.verifier import UnusableKey, VerificationKey, public_jwk, thumbprint
from gateway.verifier.keys import decode_base64url, encode_base64url
from tests.verifier.mint import ALGORITHMS, verification_key

VECTORS = Path(__file__).parent.parent / "vectors"
THUMBPRINTS = json.loads((VECTORS / "rfc7638_thumbprints.json").read_text())
SIGNATURES = json.loads((VECTORS / "rfc7515_signatures.json").read_text())


def integer(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def jwk(algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    return public_jwk(verification_key(algorithm)) | changes


@pytest.mark.parametrize("vector", THUMBPRINTS, ids=lambda vector: vector["source"])
def test_the_thumbprint_is_that_of_the_rfc(vector: dict[str, Any]) -> None:
    """RFC 7638: of the JWK, whatever else it holds, and of the key itself."""
    assert thumbprint(vector["jwk"]) == vector["thumbprint"]
    assert thumbprint(VerificationKey.from_jwk(vector["jwk"]).key) == vector["thumbprint"]


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["source"])
def test_the_signatures_of_the_rfc_are_good(vector: dict[str, Any]) -> None:
    """RFC 7515 appendix A: the JWK there has signed the token there, and nothing else."""
    key = VerificationKey.from_jwk(vector["jwk"])
    message, _, signature = vector["token"].rpartition(".")
    assert key.has_signed(message.encode(), decode_base64url(signature))
    assert not key.has_signed(message.encode() + b"A", decode_base64url(signature))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_published_key_is_read_as_the_same_key(algorithm: str) -> None:
    key = verification_key(algorithm)
    assert VerificationKey.from_jwk(json.loads(json.dumps(public_jwk(key)))) == key


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_published_key_has_the_members_of_the_contract_and_no_private_one(algorithm: str) -> None:
    public_members = {"ES256": ["crv", "x", "y"], "Ed25519": ["crv", "x"], "EdDSA": ["crv", "x"]}.get(
        algorithm, ["n", "e"]
    )
    assert list(jwk(algorithm)) == ["kty", "use", "alg", "kid", *public_members]
    assert len(jwk(algorithm)["kid"]) == 43


def test_coordinates_with_leading_zeros_are_published_in_full() -> None:
    """RFC 7518 section 6.2.1.2: a coordinate of P-256 has 32 octets, leading zeros included."""
    keys = (ec.derive_private_key(secret, ec.SECP256R1()).public_key() for secret in range(1, 2000))
    key = next(key for key in keys if key.public_numbers().x < 2**248)
    published = public_jwk(VerificationKey("k", "ES256", key))
    assert len(decode_base64url(published["x"])) == 32
    assert VerificationKey.from_jwk(published).key == key


def test_use_and_key_ops_may_be_absent_or_fit() -> None:
    useless = {name: value for name, value in jwk().items() if name != "use"}
    assert VerificationKey.from_jwk(useless) == verification_key()
    assert VerificationKey.from_jwk(jwk(key_ops=["verify"], x5t="ignored")) == verification_key()


WEAK = rsa.generate_private_key(65_537, 1024)  # noqa: S505 - it is there to be refused
MODULUS = int.from_bytes(decode_base64url(jwk()["n"]), "big")
UNUSABLE: dict[str, dict[str, Any]] = {
    "RSA of 1024 bits": jwk(n=integer(WEAK.public_key().public_numbers().n)),
    "RSA of 2047 bits": jwk(n=integer(2**2047 - 1)),
    "RSA of 16384 bits": jwk(n=integer(2**16_384 - 1)),
    "RSA with an even modulus": jwk(n=integer(MODULUS - 1)),
    "RSA with n = 0": jwk(n="AA"),
    "RSA with e = 0": jwk(e="AA"),
    "RSA with e = 1": jwk(e=integer(1)),
    "RSA with e = 3": jwk(e=integer(3)),
    "RSA with e = 65535": jwk(e=integer(65_535)),
    "RSA with an even e": jwk(e=integer(65_538)),
    "RSA with e > n": jwk(e=integer(MODULUS + 2)),
    "no n": {name: value for name, value in jwk().items() if name != "n"},
    "n as a number": jwk(n=MODULUS),
    "n with padding": jwk(n=jwk()["n"] + "=="),
    "n in base64": jwk(n="+/" + jwk()["n"]),
    "n with a newline": jwk(n=jwk()["n"] + "\n"),
    "n beyond ASCII": jwk(n="é" + jwk()["n"]),
    "n with a lone surrogate": jwk(n="\ud800"),
    "n empty": jwk(n=""),
    "use enc": jwk(use="enc"),
    "use null": jwk(use=None),
    "key_ops sign": jwk(key_ops=["sign"]),
    "key_ops as text": jwk(key_ops="verify"),
    **{f"private member {name}": jwk(**{name: "AQAB"}) for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")},
    "RSA key for ES256": jwk(alg="ES256"),
    "RSA key for EdDSA": jwk(alg="EdDSA"),
    "RSA key for Ed25519": jwk(alg="Ed25519"),
    "EC key for RS256": jwk("ES256", alg="RS256"),
    "Ed25519 key for PS256": jwk("EdDSA", alg="PS256"),
    "no alg": {name: value for name, value in jwk().items() if name != "alg"},
    "alg HS256": {"kty": "oct", "alg": "HS256", "kid": "k"},
    "alg none": jwk(alg="none"),
    "alg Ed448": jwk("Ed25519", alg="Ed448"),
    "alg RS384": jwk(alg="RS384"),
    "alg RSA-OAEP": jwk(alg="RSA-OAEP"),
    "kty unknown": jwk(kty="AKP"),
    "kty absent": {name: value for name, value in jwk().items() if name != "kty"},
    "RSA with a curve": jwk(crv="P-256"),
    "P-384": jwk("ES256", crv="P-384"),
    "P-256 with a point off the curve": jwk("ES256", y=jwk("ES256")["x"]),
    "P-256 with a short coordinate": jwk("ES256", x="AQAB"),
    "Ed448 for Ed25519": jwk("Ed25519", crv="Ed448", x=encode_base64url(b"\1" * 57)),
    "Ed448": jwk("EdDSA", crv="Ed448", x=encode_base64url(b"\1" * 57)),
    "X25519": jwk("EdDSA", crv="X25519"),
    "Ed25519 with 31 octets": jwk("EdDSA", x=encode_base64url(b"\1" * 31)),
    "no kid": {name: value for name, value in jwk().items() if name != "kid"},
    "kid empty": jwk(kid=""),
    "kid of 65 characters": jwk(kid="k" * 65),
    "kid with a newline": jwk(kid="k\n"),
    "kid a path": jwk(kid="../../dev/null"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_jwk_that_must_not_verify_access_tokens_is_refused(name: str) -> None:
    """Shows RFC 8725 3.4."""
    with pytest.raises(UnusableKey):
        VerificationKey.from_jwk(UNUSABLE[name])


def test_a_weak_or_foreign_key_is_refused_when_it_does_not_come_as_a_jwk_either() -> None:
    """Shows RFC 8725 3.4, RFC 8725 3.5."""
    with pytest.raises(UnusableKey):
        VerificationKey("k", "RS256", WEAK.public_key())
    with pytest.raises(UnusableKey):
        VerificationKey("k", "RS256", rsa.generate_private_key(3, 2048).public_key())
    with pytest.raises(UnusableKey):
        VerificationKey("k", "ES256", ec.generate_private_key(ec.SECP384R1()).public_key())
    with pytest.raises(UnusableKey):
        VerificationKey("k", "EdDSA", ed448.Ed448PrivateKey.generate().public_key())  # type: ignore[arg-type]
    with pytest.raises(UnusableKey):
        VerificationKey("k", "EdDSA", ed25519.Ed25519PrivateKey.generate())  # type: ignore[arg-type]


def test_a_thumbprint_needs_the_members_that_count() -> None:
    with pytest.raises(UnusableKey):
        thumbprint({"kty": "RSA", "n": "AQAB"})
    with pytest.raises(UnusableKey):
        thumbprint({"kty": "oct", "k": "AQAB"})
