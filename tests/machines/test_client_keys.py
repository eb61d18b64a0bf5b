"""Public keys of machine clients: what a file may hold, and what is said of one that may not."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.errors import CommandError
from gateway.machines.client_keys import client_keys_of, read_client_keys
from tests.machines.clients import PrivateKey, new_key, public_pem


def jwk_of(key: PrivateKey) -> dict[str, str]:
    (jwk,) = msgspec.json.decode(read_client_keys(public_pem(key)))["keys"]
    assert isinstance(jwk, dict)
    return jwk


def encoded(document: Any) -> bytes:
    return msgspec.json.encode(document)


@pytest.mark.parametrize(
    ("algorithm", "may"),
    [("RS256", {"RS256", "PS256"}), ("ES256", {"ES256"}), ("Ed25519", {"Ed25519", "EdDSA"})],
)
def test_a_key_signs_with_what_its_kind_can(algorithm: str, may: set[str]) -> None:
    key = new_key(algorithm)
    for octets in (public_pem(key), encoded(jwk_of(key)), encoded({"keys": [jwk_of(key)]})):
        (read,) = client_keys_of(read_client_keys(octets))
        assert read.by_algorithm.keys() == may
        assert read.kid == read.thumbprint


def test_the_alg_of_a_jwk_is_the_only_one_and_its_kid_is_kept() -> None:
    jwk = jwk_of(new_key("RS256")) | {"alg": "PS256", "kid": "billing 2026", "use": "sig", "x5t": "ignored"}
    (read,) = client_keys_of(read_client_keys(encoded(jwk)))
    assert read.by_algorithm.keys() == {"PS256"}
    assert read.kid == "billing 2026"
    assert read.is_named("billing 2026")
    assert read.is_named(read.thumbprint)
    assert not read.is_named("another")


def test_a_file_may_have_several_keys_and_the_same_twice() -> None:
    keys = [new_key(kind) for kind in ("Ed25519", "ES256", "RS256")]
    assert len(client_keys_of(read_client_keys(b"\n".join(public_pem(key) for key in [*keys, keys[0]])))) == 3
    assert len(client_keys_of(read_client_keys(encoded({"keys": [jwk_of(key) for key in keys]})))) == 3


def test_ten_keys_are_taken_and_eleven_are_not() -> None:
    jwks = [jwk_of(new_key()) for _ in range(11)]
    assert len(client_keys_of(read_client_keys(encoded({"keys": jwks[:10]})))) == 10
    with pytest.raises(CommandError, match="1 to 10 public keys, and these are 11"):
        read_client_keys(encoded({"keys": jwks}))


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    sealing = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing))


def spki(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def bad_files() -> list[tuple[str, bytes, str]]:
    key = new_key()
    jwk, ec_jwk = jwk_of(key), jwk_of(new_key("ES256"))
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    low = rsa.generate_private_key(public_exponent=3, key_size=2048)
    return [
        ("private", private_pem(key), "openssl pkey -in FILE -pubout"),
        ("private and public", public_pem(key) + private_pem(key), "openssl pkey -in FILE -pubout"),
        ("encrypted", private_pem(key, b"password"), "openssl pkey -in FILE -pubout"),
        ("private JWK", encoded(jwk | {"d": "AAAA"}), "the public members"),
        ("private in JWKS", encoded({"keys": [jwk, ec_jwk | {"d": "AAAA"}]}), "the public members"),
        ("symmetric", encoded({"kty": "oct", "k": "AAAA"}), "symmetric"),
        ("certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
        ("RSA of 1024 bits", spki(weak), "2048 to 8192 bits"),
        ("exponent 3", spki(low), "exponent"),
        ("P-384", spki(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        ("DSA", spki(dsa.generate_private_key(2048)), "none of these"),
        ("X25519", spki(x25519.X25519PrivateKey.generate()), "none of these"),
        ("X25519 JWK", encoded(jwk | {"crv": "X25519"}), "not fit"),
        ("broken PEM", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "can be read"),
        ("half a PEM", b"-----BEGIN PUBLIC KEY-----\nAAAA\n", "no whole PEM block"),
        ("none", encoded({"keys": []}), "these are 0"),
        ("empty", b"", "neither PEM nor JSON"),
        ("text", b"ssh-ed25519 AAAA", "neither PEM nor JSON"),
        ("list", b"[]", "neither a JWK nor a JWKS"),
        ("keys are no list", b'{"keys": 1}', "neither a JWK nor a JWKS"),
        ("keys are numbers", b'{"keys": [1]}', "neither a JWK nor a JWKS"),
        ("kty is a number", b'{"kty": 1}', "none of these"),
        ("encryption", encoded(jwk | {"use": "enc"}), "not for signatures"),
        ("HS256", encoded(jwk | {"alg": "HS256"}), "alg is one of"),
        ("alg of another kind", encoded(jwk | {"alg": "RS256"}), "another kind of key"),
        ("alg is a number", encoded(jwk | {"alg": 1}), "alg is one of"),
        ("kid is a number", encoded(jwk | {"kid": 1}), "printable"),
        ("kid with a line break", encoded(jwk | {"kid": "a\nb"}), "printable"),
        ("kid too long", encoded(jwk | {"kid": "a" * 256}), "255"),
        ("one kid twice", encoded({"keys": [jwk | {"kid": "a"}, ec_jwk | {"kid": "a"}]}), "one kid"),
        ("deep", b"[" * 60_000, "neither PEM nor JSON"),
        ("large", b" " * 65_537, "more than 65536 bytes"),
    ]


@pytest.mark.parametrize(
    ("name", "octets", "told"), bad_files(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_another_file_is_refused_with_what_to_give_instead(name: str, octets: bytes, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        read_client_keys(octets)
