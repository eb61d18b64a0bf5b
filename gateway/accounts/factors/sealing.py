"""
Seals of what Redis keeps of second factors: AES-256-GCM under a key derived from `secret`.

What a seal is for is sealed with it as associated data, the user and the factor: moved to another place, nothing opens.
So who can write to Redis cannot give a user a passkey of his own, and who can read it has nothing to use.
"""

import hmac
import secrets

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.derived_keys import KeyChain

KEY_ID_BYTES = 8
NONCE_BYTES = 12


class FactorSeals:
    """Seals under the current secret, and opens what was sealed under it or an earlier one."""

    def __init__(self, keychain: KeyChain) -> None:
        self._keychain = keychain

    def seal(self, plain: bytes, *place: str) -> bytes:
        """Give *plain* sealed for one place: the name of its secret (8 bytes), a nonce (12) and what AES-GCM gives."""
        keys, nonce = self._keychain.current, secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(keys.factor_sealing).encrypt(nonce, plain, _associated_data(place))
        return keys.key_id.encode() + nonce + sealed

    def open(self, sealed: bytes, *place: str) -> bytes | None:
        """Give what was sealed for this place; None where it was another place, is altered, or the secret is gone."""
        keys = self._keychain.find(self.secret_of(sealed))
        nonce, rest = sealed[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES], sealed[KEY_ID_BYTES + NONCE_BYTES :]
        if keys is None or len(nonce) < NONCE_BYTES:
            return None
        try:
            return AESGCM(keys.factor_sealing).decrypt(nonce, rest, _associated_data(place))
        except InvalidTag:
            return None

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether it is sealed under the current secret."""
        return self.secret_of(sealed) == self._keychain.current.key_id

    @staticmethod
    def secret_of(sealed: bytes) -> str:
        """Give the name of the secret that it is sealed under (`DerivedKeys.key_id`)."""
        return sealed[:KEY_ID_BYTES].decode("ascii", "replace")

    def mac_of_code(self, code: str, key_id: str, *place: str) -> bytes | None:
        """Give the MAC of a recovery code under a secret by its name, the current one by ""; None without it."""
        keys = self._keychain.find(key_id or self._keychain.current.key_id)
        if keys is None:
            return None
        return hmac.digest(keys.recovery_code_mac, _associated_data(place) + code.encode(), "sha256")

    @property
    def current_secret(self) -> str:
        """Give the name of the current secret."""
        return self._keychain.current.key_id


def _associated_data(place: tuple[str, ...]) -> bytes:
    return msgspec.json.encode(("token-gateway/factors/v1", *place))
