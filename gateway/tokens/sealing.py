"""
Seals: what Redis keeps of the keyring, encrypted with AES-256-GCM under a key derived from `secret`.

The seal of a key also covers everything that the document says of it, so that nobody who can write to Redis can add a
key, or make one sign early.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.derived_keys import KeyChain
from gateway.errors import StartupError
from gateway.tokens.signing_keys import Keys, SigningKey
from gateway.verifier.keys import decode_base64url, encode_base64url

NONCE_BYTES = 12

DROPPED_ASSOCIATED_DATA = b"token-gateway/dropped-keys/v1"


class _SealedKey(msgspec.Struct, frozen=True):
    kid: str
    algorithm: str
    published_at: int
    signs_since: int
    leaves_at: int
    sealed_with: str
    sealed: str


class _Document(msgspec.Struct, frozen=True):
    version: int
    keys: tuple[_SealedKey, ...]


class _SealedDropped(msgspec.Struct, frozen=True):
    sealed_with: str
    sealed: str


class Seals:
    """Seals under the current secret, and opens what was sealed under it or an earlier one."""

    def __init__(self, keychain: KeyChain) -> None:
        self._keychain = keychain

    def seal_keys(self, version: int, keys: tuple[SigningKey, ...]) -> bytes:
        """Give the document of a keyring."""
        current = self._keychain.current
        sealed_keys = []
        for key in keys:
            der = key.private_key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            nonce = secrets.token_bytes(NONCE_BYTES)
            facts = (key.kid, key.algorithm, key.published_at, key.signs_since, key.leaves_at)
            sealed = nonce + AESGCM(current.key_sealing).encrypt(nonce, der, _associated_data(version, *facts))
            sealed_keys.append(_SealedKey(*facts, current.key_id, encode_base64url(sealed)))
        return msgspec.json.encode(_Document(version, tuple(sealed_keys)))

    def unseal_keys(self, text: bytes) -> Keys:
        """
        Give the keyring of a document.

        Raises:
            StartupError: It was sealed under another secret, was tampered with, or has no current key.
        """
        try:
            document = msgspec.json.decode(text, type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StartupError("the keyring in Redis is not readable: restore it from a backup") from error
        keys = []
        for sealed_key in document.keys:
            owner = self._keychain.find(sealed_key.sealed_with)
            if owner is None:
                raise StartupError(
                    "the signing keys in Redis are sealed under another secret: give that one as secret, "
                    "or add it to previous_secrets"
                )
            facts = (
                sealed_key.kid,
                sealed_key.algorithm,
                sealed_key.published_at,
                sealed_key.signs_since,
                sealed_key.leaves_at,
            )
            try:
                sealed = decode_base64url(sealed_key.sealed)
                der = AESGCM(owner.key_sealing).decrypt(
                    sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _associated_data(document.version, *facts)
                )
            except (InvalidTag, ValueError) as error:
                raise StartupError(
                    f"the sealed key {sealed_key.kid!r} in Redis was altered: restore the keyring from a backup"
                ) from error
            private_key: Any = serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
            keys.append(SigningKey(facts[0], facts[1], private_key, *facts[2:]))
        if not any(key.state == "current" for key in keys):
            raise StartupError("the keyring in Redis has no current key: restore it from a backup")
        return Keys(document.version, tuple(keys), frozenset(key.sealed_with for key in document.keys))

    def seal_names(self, dropped: Mapping[str, int]) -> bytes:
        """Give the document of the names of dropped keys; none is no document."""
        if not dropped:
            return b""
        current, nonce = self._keychain.current, secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(current.key_sealing).encrypt(nonce, msgspec.json.encode(dropped), DROPPED_ASSOCIATED_DATA)
        return msgspec.json.encode(_SealedDropped(current.key_id, encode_base64url(nonce + sealed)))

    def unseal_names(self, text: bytes, where: str) -> tuple[dict[str, int], str]:
        """
        Give the names with the time of each, and the name of the secret that they are sealed under.

        Raises:
            StartupError: They were sealed under another secret, or were altered; *where* they lie is told.
        """
        try:
            document = msgspec.json.decode(text, type=_SealedDropped)
            owner = self._keychain.find(document.sealed_with)
            if owner is None:
                raise StartupError(
                    "the names of compromised keys in Redis are sealed under another secret: give that one as secret, "
                    "or add it to previous_secrets"
                )
            sealed = decode_base64url(document.sealed)
            names = AESGCM(owner.key_sealing).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], DROPPED_ASSOCIATED_DATA
            )
        except (msgspec.DecodeError, InvalidTag, ValueError, RecursionError) as error:
            raise StartupError(
                f"the names of compromised keys in Redis ({where}) were altered: remove them there, and "
                "run `gateway keys rotate --compromised` if any key ever was"
            ) from error
        return msgspec.json.decode(names, type=dict[str, int]), document.sealed_with


def _associated_data(version: int, *facts: str | int) -> bytes:
    return "|".join(["token-gateway/keyring/v1", str(version), *map(str, facts)]).encode()
