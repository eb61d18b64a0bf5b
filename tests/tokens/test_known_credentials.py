"""Known credentials: only what was verified, in one spelling, under the same keys, and not beyond `exp`."""

from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.tokens.known_credentials import Known, KnownCredentials
from gateway.verifier import AccessClaims, VerificationKey
from gateway.verifier.verify import MAX_TOKEN_CHARACTERS

NOW = 1_800_000_000
TOKEN = "header.payload.signature"
CREDENTIALS = f"Bearer {TOKEN}".encode()
LINES = b"remote-user: one\r\n\r\n"
CLAIMS = AccessClaims(
    iss="https://auth.example.com",
    sub="usr_one",
    aud="https://api.example.com",
    client_id="gateway",
    iat=NOW,
    exp=NOW + 600,
    jti="jti",
    sid="sid",
    auth_time=NOW,
    roles=(),
)


def some_keys() -> Mapping[str, VerificationKey]:
    return {"kid": VerificationKey("kid", "Ed25519", Ed25519PrivateKey.generate().public_key())}


def knowing(keys: Mapping[str, VerificationKey], credentials: bytes = CREDENTIALS) -> KnownCredentials:
    known = KnownCredentials()
    assert known.find(credentials, keys, NOW) is None
    known.remember(credentials, CLAIMS, LINES)
    return known


def test_what_was_remembered_is_known_until_its_exp() -> None:
    keys = some_keys()
    known = knowing(keys)
    assert known.find(CREDENTIALS, keys, NOW) == Known(CLAIMS, LINES)
    assert known.find(CREDENTIALS, keys, CLAIMS.exp - 1) == Known(CLAIMS, LINES)
    assert known.find(CREDENTIALS, keys, CLAIMS.exp) is None


def test_other_octets_are_not_known() -> None:
    keys = some_keys()
    known = knowing(keys)
    for other in (CREDENTIALS + b"A", CREDENTIALS[:-1], CREDENTIALS.lower(), b""):
        assert known.find(other, keys, NOW) is None


def test_everything_is_forgotten_when_the_keys_change_and_nothing_when_they_are_read_again() -> None:
    keys = some_keys()
    known = knowing(keys)
    assert known.find(CREDENTIALS, dict(keys), NOW) is not None
    assert known.find(CREDENTIALS, some_keys(), NOW) is None
    assert known.find(CREDENTIALS, keys, NOW) is None


@pytest.mark.parametrize(
    "credentials",
    [
        f"bearer {TOKEN}".encode(),
        f"BEARER {TOKEN}".encode(),
        f"Bearer  {TOKEN}".encode(),
        f"Bearer {TOKEN} ".encode(),
        f"Bearer {TOKEN}\t".encode(),
        f" Bearer {TOKEN}".encode(),
        b"Bearer " + b"A" * (MAX_TOKEN_CHARACTERS + 1),
    ],
)
def test_a_spelling_that_few_use_is_not_remembered(credentials: bytes) -> None:
    keys = some_keys()
    assert knowing(keys, credentials).find(credentials, keys, NOW) is None


def test_the_one_remembered_longest_makes_room() -> None:
    keys, known = some_keys(), KnownCredentials(max_known=2)
    known.find(b"", keys, NOW)
    spelt = [b"Bearer %d" % number for number in range(3)]
    for credentials in spelt:
        known.remember(credentials, CLAIMS, LINES)
    assert [known.find(credentials, keys, NOW) is not None for credentials in spelt] == [False, True, True]
