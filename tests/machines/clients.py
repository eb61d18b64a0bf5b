"""What tests of machine clients share: clients of each kind, and assertions good and bad."""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.machines import read_client_keys
from gateway.state import Gateway
from tests.harness import in_gateway

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT = {"grant_type": "client_credentials"}
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass
class Service:
    """A machine client with a secret."""

    client_id: str
    secret: str = field(repr=False)

    @property
    def auth(self) -> tuple[str, str]:
        """Give what it shows by Basic."""
        return self.client_id, self.secret

    @property
    def form(self) -> dict[str, str]:
        """Give what it shows in the form."""
        return {"client_id": self.client_id, "client_secret": self.secret}

    def token(self, client: httpx2.Client, **parameters: str) -> str:
        """Give an access token of it."""
        answer = client.post("/oauth/token", data=GRANT | parameters, auth=self.auth)
        assert answer.status_code == 200, answer.text
        text: str = answer.json()["access_token"]
        return text


@dataclass
class KeyedService:
    """A machine client with a key."""

    client_id: str
    key: PrivateKey = field(repr=False)
    algorithm: str = "Ed25519"

    def assertion(
        self,
        issuer: str,
        header: Mapping[str, Any] | None = None,
        key: PrivateKey | None = None,
        now: int | None = None,
        **claims: Any,
    ) -> str:
        """Give an assertion; *header* and *claims* on top of good ones, and without those that are None."""
        now = now or int(time.time())  # noqa: TID251 - the gateway under test has this clock
        members = {"alg": self.algorithm} | dict(header or {})
        said = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + 60,
        } | claims
        said = {name: value for name, value in said.items() if value is not None}
        return sign(key or self.key, members, said)

    def form(self, issuer: str, **claims: Any) -> dict[str, str]:
        """Give the form of a request for a token."""
        return GRANT | {"client_assertion_type": JWT_BEARER, "client_assertion": self.assertion(issuer, **claims)}


def sign(key: PrivateKey, header: Mapping[str, Any], claims: Any) -> str:
    """Give a compact JWS, by the algorithm that the header names; made here, since libraries refuse bad ones."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    said = f"{_base64url(json.dumps(header).encode())}.{_base64url(payload)}"
    return f"{said}.{_base64url(_signature(key, header.get('alg'), said.encode()))}"


def _signature(key: PrivateKey, algorithm: object, said: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(said)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(said, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if algorithm == "PS256":
        return key.sign(said, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return key.sign(said, padding.PKCS1v15(), hashes.SHA256())


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def new_key(kind: str = "Ed25519") -> PrivateKey:
    """Make a key for an algorithm."""
    if kind in ("RS256", "PS256"):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ES256" else ed25519.Ed25519PrivateKey.generate()


def public_pem(key: PrivateKey) -> bytes:
    """Give the public half in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def add_client(
    env: Mapping[str, str],
    *,
    name: str = "Service",
    roles: tuple[str, ...] = ("reader", "writer"),
    audiences: tuple[str, ...] = (),
) -> Service:
    """Add a client with a secret."""

    async def work(gateway: Gateway) -> Service:
        client, secret = await gateway.clients.add(name, roles, audiences or (gateway.settings.audience,))
        return Service(client.client_id, secret)

    return in_gateway(env, work)


def add_keyed_client(
    env: Mapping[str, str], algorithm: str = "Ed25519", jwk: Mapping[str, str] | None = None
) -> KeyedService:
    """Add a client with a key; *jwk* is put on top of the members of its JWK."""
    key = new_key(algorithm)
    (plain,) = msgspec.json.decode(read_client_keys(public_pem(key)))["keys"]
    kept = read_client_keys(msgspec.json.encode({**plain, **(jwk or {})}))

    async def work(gateway: Gateway) -> KeyedService:
        client, secret = await gateway.clients.add("Keyed", ("reader",), (gateway.settings.audience,), kept)
        assert not secret
        return KeyedService(client.client_id, key, algorithm)

    return in_gateway(env, work)
