"""
The keys that are derived from the one `secret`, each for a single purpose (HKDF-SHA-256, RFC 5869).

Nothing derived here is ever stored. `key_id` names a secret without telling anything of it, so that a stored
hash or a sealed key says which secret it belongs to.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


@dataclass(frozen=True, repr=False)
class DerivedKeys:
    """All keys of one secret; 32 bytes each."""

    key_id: str
    refresh_token_mac: bytes
    key_sealing: bytes
    password_pepper: bytes
    browser_session_mac: bytes
    known_device_mac: bytes
    account_mac: bytes
    request_id_sealing: bytes
    factor_sealing: bytes
    recovery_code_mac: bytes
    personal_token_mac: bytes
    client_secret_mac: bytes
    status_index_mac: bytes

    @classmethod
    def of(cls, secret: str) -> "DerivedKeys":
        """Derive every key from *secret*."""

        def derive(purpose: str) -> bytes:
            info = f"token-gateway/{purpose}/v1".encode()
            return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret.encode())

        return cls(
            key_id=base64.urlsafe_b64encode(derive("key-id")[:6]).decode(),
            refresh_token_mac=derive("refresh-token-mac"),
            key_sealing=derive("key-sealing"),
            password_pepper=derive("password-pepper"),
            browser_session_mac=derive("browser-session-mac"),
            known_device_mac=derive("known-device-mac"),
            account_mac=derive("account-mac"),
            request_id_sealing=derive("request-id-sealing"),
            factor_sealing=derive("factor-sealing"),
            recovery_code_mac=derive("recovery-code-mac"),
            personal_token_mac=derive("personal-token-mac"),
            client_secret_mac=derive("client-secret-mac"),
            status_index_mac=derive("status-index-mac"),
        )


@dataclass(frozen=True, repr=False)
class KeyChain:
    """The keys in use, and those of earlier secrets, which are still accepted but never used for anything new."""

    current: DerivedKeys
    previous: tuple[DerivedKeys, ...] = ()

    @classmethod
    def of(cls, secret: str, previous_secrets: tuple[str, ...] = ()) -> "KeyChain":
        """Derive the keys of *secret* and of *previous_secrets*."""
        return cls(DerivedKeys.of(secret), tuple(DerivedKeys.of(previous) for previous in previous_secrets))

    def __iter__(self) -> Iterator[DerivedKeys]:
        """Give the current keys first, then the previous ones in their order."""
        yield self.current
        yield from self.previous

    def find(self, key_id: str) -> DerivedKeys | None:
        """Give the keys named *key_id*, or None when no secret at hand has that name."""
        return next((keys for keys in self if keys.key_id == key_id), None)
