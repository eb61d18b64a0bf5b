"""A passkey in software: makes credentials and assertions as browsers hand them on, right ones and wrong ones."""

import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA

from gateway.verifier.keys import encode_base64url

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40
T = TypeVar("T")
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def new_key(algorithm: int) -> PrivateKey:
    """Give a private key for a COSE algorithm."""
    match algorithm:
        case -7:
            return ec.generate_private_key(ec.SECP256R1())
        case -8:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, 2048)


@dataclass
class Authenticator:
    """
    One passkey. What it says can be bent before each ceremony: another party, origin, flags, count.

    Args:
        counts_up: Whether its counter goes up; those that are kept in sync stay at 0.
    """

    rp_id: str = "auth.example.com"
    origin: str = "https://auth.example.com"
    algorithm: int = -7
    flags: int = UP | UV
    counter: int = 0
    counts_up: bool = True
    cross_origin: bool = False
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    user_handle: str = ""

    def __post_init__(self) -> None:
        """Make its key."""
        self.key = new_key(self.algorithm)

    def create(self, options: dict[str, Any], **bent: Any) -> dict[str, Any]:
        """Answer `PublicKeyCredentialCreationOptionsJSON` with `RegistrationResponseJSON`."""
        self.user_handle = options["user"]["id"]
        attested = bytes(16) + struct.pack(">H", len(self.credential_id)) + self.credential_id
        data = self._authenticator_data(AT, bent) + attested + bent.get("public_key", cbor.encode(self._public_key()))
        return {
            "id": encode_base64url(self.credential_id),
            "rawId": encode_base64url(self.credential_id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": {
                "clientDataJSON": encode_base64url(self._client_data("webauthn.create", options, bent)),
                "attestationObject": encode_base64url(cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})),
                "transports": ["internal", "hybrid", "telepathy"],
                "publicKeyAlgorithm": self.algorithm,
            },
        }

    def get(self, options: dict[str, Any], **bent: Any) -> dict[str, Any]:
        """Answer `PublicKeyCredentialRequestOptionsJSON` with `AuthenticationResponseJSON`."""
        data = self._authenticator_data(0, bent)
        client_data = self._client_data("webauthn.get", options, bent)
        signature = self._sign(data + hashlib.sha256(client_data).digest(), bent.get("key", self.key))
        return {
            "id": encode_base64url(self.credential_id),
            "rawId": encode_base64url(self.credential_id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode_base64url(client_data),
                "authenticatorData": encode_base64url(data),
                "signature": encode_base64url(signature),
                "userHandle": bent.get("user_handle", self.user_handle),
            },
        }

    def _authenticator_data(self, more_flags: int, bent: dict[str, Any]) -> bytes:
        self.counter += self.counts_up
        rp_id_hash = hashlib.sha256(bent.get("rp_id", self.rp_id).encode()).digest()
        return rp_id_hash + struct.pack(">BI", bent.get("flags", self.flags) | more_flags, self.counter)

    def _client_data(self, ceremony: str, options: dict[str, Any], bent: dict[str, Any]) -> bytes:
        return json.dumps(
            {
                "type": bent.get("ceremony", ceremony),
                "challenge": bent.get("challenge", options["challenge"]),
                "origin": bent.get("origin", self.origin),
                "crossOrigin": bent.get("cross_origin", self.cross_origin),
                "other_keys_can_be_added_here": "do not compare clientDataJSON against a template",
            }
        ).encode()

    def _public_key(self) -> CoseKey:
        kinds: dict[int, type[CoseKey]] = {-7: ES256, -8: EdDSA, -257: RS256}
        return kinds[self.algorithm].from_cryptography_key(self.key.public_key())

    @staticmethod
    def _sign(message: bytes, key: PrivateKey) -> bytes:
        match key:
            case ec.EllipticCurvePrivateKey():
                return key.sign(message, ec.ECDSA(SHA256()))
            case ed25519.Ed25519PrivateKey():
                return key.sign(message)
            case _:
                return key.sign(message, padding.PKCS1v15(), SHA256())


def read(answer: dict[str, Any], kind: type[T]) -> T:
    """Read an answer as a request body is read."""
    return msgspec.convert(answer, kind)
