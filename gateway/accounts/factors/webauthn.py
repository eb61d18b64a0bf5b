"""
The words of WebAuthn (level 3): who passkeys are for, what is known of one, the options of the two ceremonies, and what
browsers answer. In JSON, as `PublicKeyCredential.parseCreationOptionsFromJSON` and `toJSON` have it (section 5.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gateway.verifier.keys import encode_base64url

TIMEOUT_MILLISECONDS = 300_000
ALGORITHMS = (-8, -7, -257)  # Ed25519, ES256, RS256


class AttestationAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`AuthenticatorAttestationResponseJSON`; other members are let through unread."""

    client_data: str = msgspec.field(name="clientDataJSON")
    attestation_object: str
    transports: tuple[str, ...] = ()


class NewCredential(msgspec.Struct, frozen=True, rename="camel"):
    """`RegistrationResponseJSON`: what `navigator.credentials.create` gives, as `toJSON` writes it."""

    id: str
    type: str
    response: AttestationAnswer


class AssertionAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`AuthenticatorAssertionResponseJSON`; other members are let through unread."""

    client_data: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str
    signature: str
    user_handle: str | None = None


class Assertion(msgspec.Struct, frozen=True, rename="camel"):
    """`AuthenticationResponseJSON`: what `navigator.credentials.get` gives, as `toJSON` writes it."""

    id: str
    type: str
    response: AssertionAnswer


@dataclass(frozen=True)
class RelyingParty:
    """
    Who passkeys are for.

    `rp_id` is a domain, and stays for ever: passkeys of another one are lost. `origin` is that of the pages on which
    they are made and used.
    """

    rp_id: str
    name: str
    origin: str


class Credential(msgspec.Struct, frozen=True, array_like=True):
    """The record of a credential (section 4): its key in COSE, and what its authenticator said of it."""

    name: str
    credential_id: bytes
    public_key: bytes
    is_backup_eligible: bool
    is_backed_up: bool
    aaguid: bytes
    transports: tuple[str, ...] = ()

    @property
    def descriptor(self) -> dict[str, object]:
        """Give its `PublicKeyCredentialDescriptorJSON`."""
        said = {"type": "public-key", "id": encode_base64url(self.credential_id)}
        return said | ({"transports": list(self.transports)} if self.transports else {})


def creation_options(
    party: RelyingParty, challenge: str, user_handle: bytes, email: str, full_name: str, known: Iterable[Credential]
) -> dict[str, object]:
    """Give `PublicKeyCredentialCreationOptionsJSON` for one more passkey of a user who has the *known* ones."""
    return {
        "rp": {"id": party.rp_id, "name": party.name},
        "user": {"id": encode_base64url(user_handle), "name": email, "displayName": full_name or email},
        "challenge": challenge,
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
        "timeout": TIMEOUT_MILLISECONDS,
        "excludeCredentials": [credential.descriptor for credential in known],
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def request_options(party: RelyingParty, challenge: str, allowed: Iterable[Credential] = ()) -> dict[str, object]:
    """Give `PublicKeyCredentialRequestOptionsJSON`; without *allowed* ones any passkey of this party is good."""
    return {
        "challenge": challenge,
        "timeout": TIMEOUT_MILLISECONDS,
        "rpId": party.rp_id,
        "allowCredentials": [credential.descriptor for credential in allowed],
        "userVerification": "required",
    }
