"""Access tokens as they are minted, read by our verifier and by PyJWT."""

import asyncio
import json
import re
import threading
import time
from typing import Any

import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from jwt.algorithms import OKPAlgorithm

from gateway.accounts.users import check_email, check_name, check_roles
from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.store.store import Store
from gateway.tokens.access_tokens import AccessTokenMinter, new_token_id, sign, token_characters
from gateway.tokens.keyring import Keyring
from gateway.tokens.signing_keys import SigningKey, generate_private_key
from gateway.verifier import AccessClaims, ExpiredToken, UnknownKey
from gateway.verifier.keys import ALGORITHMS
from gateway.verifier.verify import verify_access_token
from tests.harness import SECRET

pytestmark = pytest.mark.redis

ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"
NOW = 1_790_000_000
TTL_SECONDS = 600
SUBJECT = "usr_" + "A" * 22
FAMILY_ID = "B" * 21 + "A"


async def keyring_of(store: Store, algorithm: str = "Ed25519") -> Keyring:
    keyring = Keyring(
        store,
        KeyChain.of(SECRET),
        algorithm=algorithm,
        rsa_key_bits=2048,
        access_token_ttl_seconds=TTL_SECONDS,
        rotation_days=30,
    )
    await keyring.open()
    return keyring


def minter(keyring: Keyring, **changes: Any) -> AccessTokenMinter:
    options: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "client_id": "first-party",
        "ttl_seconds": TTL_SECONDS,
        "personal_claims": ("email", "name"),
    }
    return AccessTokenMinter(keyring, **options | changes)


async def mint(tokens: AccessTokenMinter, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "subject": SUBJECT,
        "family_id": FAMILY_ID,
        "auth_time": NOW - 3600,
        "roles": ("staff", "ops"),
        "email": "zoë@example.com",
        "name": "Zoë 漢字",
        "now": NOW,
        "session_seconds_left": TTL_SECONDS,
    }
    return await tokens.mint(**facts | changes)


def verify(access_token: str, keyring: Keyring, now: int = NOW) -> AccessClaims:
    return verify_access_token(access_token, keyring.keys.verification, issuer=ISSUER, audience=AUDIENCE, now=now)


async def test_the_event_loop_goes_on_while_a_token_is_signed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no subrequest waits for a signature."""
    tokens, loop_went_on, heard = minter(await keyring_of(store)), threading.Event(), []
    signer = ALGORITHMS["Ed25519"][1]
    sign_at_once = signer.sign

    def wait_and_sign(*arguments: Any) -> bytes:
        heard.append(loop_went_on.wait(2.0))
        return sign_at_once(*arguments)

    monkeypatch.setattr(signer, "sign", wait_and_sign)
    signing = asyncio.create_task(mint(tokens))
    while not heard and not signing.done():
        await asyncio.sleep(0)
        loop_went_on.set()
    assert await signing
    assert heard == [True]


async def test_a_token_says_what_the_contract_says_and_nothing_more(store: Store) -> None:
    """Shows RFC 9068 2.1a, RFC 9068 2.2, RFC 9068 2.2.3, RFC 9068 3, RFC 9068 6."""
    keyring = await keyring_of(store)
    access_token = await mint(minter(keyring, new_id=lambda: "a-token-id"))
    assert jwt.get_unverified_header(access_token) == {
        "alg": "Ed25519",
        "typ": "at+jwt",
        "kid": keyring.keys.current.kid,
    }
    assert jwt.decode(access_token, options={"verify_signature": False}) == {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": AUDIENCE,
        "client_id": "first-party",
        "iat": NOW,
        "exp": NOW + TTL_SECONDS,
        "jti": "a-token-id",
        "sid": FAMILY_ID,
        "auth_time": NOW - 3600,
        "amr": ["pwd"],
        "roles": ["staff", "ops"],
        "email": "zoë@example.com",
        "name": "Zoë 漢字",
    }


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"])
async def test_a_token_is_good_for_our_verifier_and_for_others(store: Store, algorithm: str) -> None:
    """Shows ASVS 11.2.2, RFC 8725 3.2, RFC 9068 2.1b."""
    keyring = await keyring_of(store, algorithm)
    now = int(time.monotonic()) + 2_000_000_000
    access_token = await mint(minter(keyring), now=now)
    claims = verify(access_token, keyring, now)
    assert (claims.sub, claims.sid, claims.roles, claims.name) == (SUBJECT, FAMILY_ID, ("staff", "ops"), "Zoë 漢字")
    assert jwt.get_unverified_header(access_token)["alg"] == algorithm
    [jwk] = [jwk for jwk in json.loads(keyring.keys.jwks)["keys"] if jwk["kid"] == claims_kid(access_token)]
    if algorithm == "Ed25519":  # which PyJWT does not know yet
        decoded = joserfc_jwt.decode(access_token, joserfc_jwk.import_key(jwk), algorithms=[algorithm]).claims
    else:
        decoded = jwt.decode(
            access_token,
            jwt.PyJWK(jwk),
            algorithms=[algorithm],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"verify_iat": False, "require": ["exp", "iat", "sub", "client_id", "jti", "sid"]},
        )
    assert decoded["sid"] == FAMILY_ID


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"])
def test_a_token_is_what_pyjwt_makes_of_its_payload_and_as_long_as_it_is_said_to_be(algorithm: str) -> None:
    signer = jwt.PyJWS()
    if "Ed25519" not in signer.get_algorithms():
        signer.register_algorithm("Ed25519", OKPAlgorithm())
    private_key = generate_private_key(algorithm, 2048)
    for size in range(1, 5):
        payload, key = b"{%s}" % (b" " * size), SigningKey("k" * 42 + str(size), algorithm, private_key, NOW)
        ours = sign(payload, key, "at+jwt")
        theirs = signer.encode(payload, private_key, algorithm, headers={"typ": "at+jwt", "kid": key.kid})
        if algorithm in ("PS256", "ES256"):  # whose signatures differ each time
            ours_signed, theirs_signed = (token.rpartition(".")[0] for token in (ours, theirs))
            assert ours_signed == theirs_signed
            assert signer.decode_complete(ours, private_key.public_key(), [algorithm])["payload"] == payload
        else:
            assert ours == theirs
        assert len(ours) == token_characters(len(payload), algorithm, key.kid, key.signature_bytes)


def claims_kid(access_token: str) -> str:
    kid: str = jwt.get_unverified_header(access_token)["kid"]
    return kid


async def test_a_token_is_good_until_the_second_of_its_end(store: Store) -> None:
    keyring = await keyring_of(store)
    access_token = await mint(minter(keyring, ttl_seconds=60))
    assert verify(access_token, keyring, NOW + 59).exp == NOW + 60
    with pytest.raises(ExpiredToken):
        verify(access_token, keyring, NOW + 60)


@pytest.mark.parametrize("personal_claims", [(), ("email",), ("name",), ("email", "name")])
async def test_personal_claims_are_those_that_were_asked_for(store: Store, personal_claims: tuple[str, ...]) -> None:
    """Shows RFC 9068 6."""
    access_token = await mint(minter(await keyring_of(store), personal_claims=personal_claims))
    claims = jwt.decode(access_token, options={"verify_signature": False})
    assert {"email", "name"} & set(claims) == set(personal_claims)


async def test_every_token_has_an_id_of_its_own(store: Store) -> None:
    """Shows ASVS 7.2.2, RFC 9068 5."""
    tokens = minter(await keyring_of(store))
    ids = {jwt.decode(await mint(tokens), options={"verify_signature": False})["jti"] for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", token_id) for token_id in ids)
    assert new_token_id() not in ids


async def test_a_user_with_the_most_roles_still_has_a_token_that_is_accepted(store: Store) -> None:
    """
    The verifier refuses tokens over 4096 characters; the largest RSA keys make signatures of 341 more.

    Shows ASVS 4.2.5.
    """
    keyring = await keyring_of(store, "RS256")
    roles = check_roles(tuple(f"{number:02}-a-role-of-a-user" for number in range(50)))
    assert len(",".join(roles)) > 900
    access_token = await mint(
        minter(keyring), roles=roles, name=check_name("漢" * 200), email=check_email("a" * 248 + "@xy.zq")
    )
    assert verify(access_token, keyring).roles == roles
    assert len(access_token) + 341 <= 4096


async def test_tokens_go_on_through_a_rotation_and_end_with_a_compromised_key(store: Store) -> None:
    keyring = await keyring_of(store)
    tokens = minter(keyring)
    first = await mint(tokens)
    await keyring.rotate(force=True)
    second = await mint(tokens)
    for access_token in (first, second):
        verify(access_token, keyring)
    await keyring.rotate(compromised=True)
    third = await mint(tokens)
    verify(third, keyring)
    dropped = [access_token for access_token in (first, second) if claims_kid(access_token) not in kids(keyring)]
    for access_token in dropped:
        with pytest.raises(UnknownKey):
            verify(access_token, keyring)
    assert claims_kid(third) in kids(keyring)


def kids(keyring: Keyring) -> set[str]:
    return {jwk["kid"] for jwk in json.loads(keyring.keys.jwks)["keys"]}


async def test_a_process_that_has_never_seen_the_keyring_mints_nothing(store: Store) -> None:
    keyring = Keyring(
        store, KeyChain.of(SECRET), algorithm="EdDSA", rsa_key_bits=2048, access_token_ttl_seconds=600, rotation_days=30
    )
    with pytest.raises(StoreUnavailable):
        await mint(minter(keyring))
