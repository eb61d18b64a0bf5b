"""
What WebAuthn (level 3) asks of a relying party: the options of its two ceremonies, and the checks of what comes back.

Pure: challenges, users and keys come in, what was found goes out. Numbers in the comments are the steps of sections 7.1
(registration) and 7.2 (assertion). Attestation is neither asked for nor looked at (7.1, steps 21 to 24): which make of
authenticator somebody has is his own affair.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.webauthn import AttestationObject, AuthenticatorData

from gateway.accounts.factors.webauthn import ALGORITHMS, Assertion, Credential, NewCredential, RelyingParty
from gateway.errors import SecondFactorInvalid
from gateway.verifier.keys import decode_base64url, encode_base64url

MAX_CREDENTIAL_ID_BYTES = 1023
MAX_KEY_BYTES = 1200
TRANSPORTS = frozenset({"ble", "cable", "hybrid", "internal", "nfc", "smart-card", "usb"})

# What fido2 and cryptography raise at what is no CBOR, no COSE key or no signature.
_NOT_UNDERSTOOD = (
    ArithmeticError, AttributeError, InvalidSignature, LookupError, NotImplementedError, RecursionError, TypeError,
    UnsupportedAlgorithm, ValueError, struct.error,
)  # fmt: skip


class _ClientData(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    challenge: str
    origin: str
    cross_origin: bool = False
    top_origin: str | None = None


def challenge_of(client_data_json: str) -> str:
    """
    Give the challenge that an answer says it is for. Nothing of the answer has been checked then.

    Raises:
        SecondFactorInvalid: It is not WebAuthn.
    """
    return _client_data(client_data_json)[0].challenge


def check_registration(party: RelyingParty, answer: NewCredential, challenge: str, name: str) -> tuple[Credential, int]:
    """
    Check what came of `creation_options`, and give the credential and its signature counter.

    Raises:
        SecondFactorInvalid: It is for another party, origin or challenge, nobody was verified, or it is not WebAuthn.
    """
    _check_client_data(party, answer.response.client_data, "webauthn.create", challenge)
    try:
        data = AttestationObject(decode_base64url(answer.response.attestation_object)).auth_data
        attested = data.credential_data
        if attested is None:
            raise ValueError("no credential")
        key = cbor.encode(attested.public_key)
    except _NOT_UNDERSTOOD as error:
        raise SecondFactorInvalid("malformed") from error
    _check_authenticator_data(party, data)
    if attested.public_key.get(3) not in ALGORITHMS or len(key) > MAX_KEY_BYTES:  # 7.1, step 20
        raise SecondFactorInvalid("algorithm")
    _check_key(attested.public_key)
    if not 1 <= len(attested.credential_id) <= MAX_CREDENTIAL_ID_BYTES:  # step 25
        raise SecondFactorInvalid("credential-id")
    if answer.type != "public-key" or answer.id != encode_base64url(attested.credential_id):
        raise SecondFactorInvalid("credential-id")
    transports = tuple(sorted(TRANSPORTS.intersection(answer.response.transports)))
    credential = Credential(
        name, attested.credential_id, key, data.is_backup_eligible(), data.is_backed_up(),
        bytes(attested.aaguid), transports,
    )  # fmt: skip
    return credential, data.counter


def check_assertion(
    party: RelyingParty, answer: Assertion, challenge: str, credential: Credential
) -> tuple[Credential, int]:
    """
    Check what came of `request_options` against the credential that it names, and give this as it is now, and its
    signature counter: that one is for the caller to judge.

    Raises:
        SecondFactorInvalid: It is for another party, origin or challenge, nobody was verified, it was not made with
            this credential, or it is not WebAuthn.
    """
    client_data_hash = _check_client_data(party, answer.response.client_data, "webauthn.get", challenge)
    try:
        data = AuthenticatorData(decode_base64url(answer.response.authenticator_data))
        signature = decode_base64url(answer.response.signature)
    except _NOT_UNDERSTOOD as error:
        raise SecondFactorInvalid("malformed") from error
    _check_authenticator_data(party, data)
    if data.is_backup_eligible() != credential.is_backup_eligible:  # 7.2, step 19
        raise SecondFactorInvalid("backup-eligibility")
    try:
        _key_of(credential).verify(bytes(data) + client_data_hash, signature)  # step 21
    except _NOT_UNDERSTOOD as error:
        raise SecondFactorInvalid("signature") from error
    return msgspec.structs.replace(credential, is_backed_up=data.is_backed_up()), data.counter


def _check_client_data(party: RelyingParty, client_data_json: str, ceremony: str, challenge: str) -> bytes:
    """Check steps 7 to 11 of 7.1, 10 to 14 of 7.2, which are the same, and give the hash that is signed over."""
    said, octets = _client_data(client_data_json)
    if said.type != ceremony:
        raise SecondFactorInvalid("ceremony")
    if not hmac.compare_digest(said.challenge.encode(), challenge.encode()):
        raise SecondFactorInvalid("challenge")
    if said.origin != party.origin:
        raise SecondFactorInvalid("origin")
    if said.cross_origin or said.top_origin is not None:  # our pages are in no frame of others
        raise SecondFactorInvalid("cross-origin")
    return hashlib.sha256(octets).digest()


def _client_data(client_data_json: str) -> tuple[_ClientData, bytes]:
    try:
        octets = decode_base64url(client_data_json)
        return msgspec.json.decode(octets, type=_ClientData), octets
    except (ValueError, RecursionError) as error:
        raise SecondFactorInvalid("malformed") from error


def _check_authenticator_data(party: RelyingParty, data: AuthenticatorData) -> None:
    """Check steps 14 to 18 of 7.1, 15 to 18 of 7.2, which are the same."""
    if not hmac.compare_digest(data.rp_id_hash, hashlib.sha256(party.rp_id.encode()).digest()):
        raise SecondFactorInvalid("rp-id")
    if not data.is_user_present():
        raise SecondFactorInvalid("user-presence")
    if not data.is_user_verified():
        raise SecondFactorInvalid("user-verification")
    if data.is_backed_up() and not data.is_backup_eligible():
        raise SecondFactorInvalid("backup-state")


def _key_of(credential: Credential) -> CoseKey:
    key = cbor.decode(credential.public_key)
    if not isinstance(key, Mapping):
        raise ValueError("no key")
    return CoseKey.parse(key)


def _check_key(key: CoseKey) -> None:
    """Refuse a key with which nothing could ever be verified now, and not at the next login."""
    try:
        key.verify(b"", b"")
    except InvalidSignature:
        return
    except _NOT_UNDERSTOOD as error:
        raise SecondFactorInvalid("malformed") from error
