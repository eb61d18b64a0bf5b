"""Hashes of other programs: read as they spell them, compared as they compare, and bounded in their work."""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import msgspec
import pytest

from gateway.accounts.foreign_hashes import (
    BcryptHash,
    KeycloakCredential,
    Pbkdf2Hash,
    ScryptHash,
    UnusableHash,
    read_foreign_hash,
    spelling_of_keycloak,
)
from gateway.accounts.passwords import Passwords
from gateway.derived_keys import KeyChain
from gateway.errors import InvalidCredentials
from tests.harness import PASSWORD, SECRET
from tests.vectors.foreign_passwords import USERS, users_of

SALT, DIGEST = "c29kaXVtY2hsb3JpZGU", "A" * 43
COST = 4


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(KeyChain.of(SECRET), COST, 2, time.monotonic)
    yield made
    made.close()


async def is_right(passwords: Passwords, password: str, stored: str) -> bool:
    try:
        await passwords.verify(password, stored)
    except InvalidCredentials:
        return False
    return True


def test_pbkdf2_is_that_of_rfc_7914() -> None:
    """RFC 7914 section 11."""
    digest = bytes.fromhex(
        "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
    )
    assert Pbkdf2Hash("sha256", 80_000, b"NaCl", digest).matches(b"Password")
    assert not Pbkdf2Hash("sha256", 80_000, b"NaCl", digest).matches(b"password")


def test_scrypt_is_that_of_rfc_7914() -> None:
    """RFC 7914 section 12."""
    digest = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    assert ScryptHash(16384, 8, 1, b"SodiumChloride", digest).matches(b"pleaseletmein")
    assert not ScryptHash(16384, 8, 1, b"SodiumChloride", digest).matches(b"pleaseletmeout")


@pytest.mark.parametrize("email", USERS)
async def test_a_hash_made_by_django_keycloak_or_authelia_knows_its_password(passwords: Passwords, email: str) -> None:
    stored, password = USERS[email]
    assert await is_right(passwords, password, stored)
    assert not await is_right(passwords, password + "x", stored)
    assert passwords.needs_renewal(stored)
    renewed = await passwords.hash(password)
    assert not passwords.needs_renewal(renewed)
    assert await is_right(passwords, password, renewed)


async def test_the_cut_at_72_bytes_is_bcrypts_own_and_ends_with_the_first_login(passwords: Passwords) -> None:
    """T25: a plain hash of elsewhere knows 72 bytes; what we make of it knows all."""
    long = "é" * 36
    theirs = bcrypt.hashpw(long.encode(), bcrypt.gensalt(COST)).decode()
    assert await is_right(passwords, long + "one", theirs)
    ours = await passwords.hash(long + "one")
    assert not await is_right(passwords, long + "two", ours)
    django, password = USERS["bcrypt-sha256@django.example.com"]
    assert len(password) > 72
    assert not await is_right(passwords, password[:-1] + "!", django)


@pytest.mark.parametrize(
    ("stored", "word"),
    [
        ("", "no kind"),
        ("!zJnNaPLIBxOJqGM729ruyYkIaRccoVEGnqdXyIFl", "no kind"),
        ("md5$salt$5f4dcc3b5aa765d61d8327deb882cf99", "no kind"),
        (
            "$6$rounds=50000$BpLnfgDsc2WD8F2q$Zis.ixdg9s/UOJYrs56b5QEZFiZECu0qZVNsIYxBaNJ7ucIL.nlxVCT5tqh8KHG8X4tlwCFm5",
            "no",
        ),
        ("correct horse battery staple", "no kind"),
        ("p1$AAAAAAAA$$2b$12$" + "." * 53, "no kind"),
        ("$2b$12$" + "." * 53 + "\n", "no kind"),
        ("$2x$12$" + "." * 53, "no kind"),
        ("$2b$12$" + "/" * 53, "no kind"),
        ("$2b$17$" + "." * 53, "cost of bcrypt is 17"),
        ("$2b$03$" + "." * 53, "cost of bcrypt is 3"),
        ("bcrypt_sha256$$2b$31$" + "." * 53, "cost of bcrypt is 31"),
        (f"$argon2id$v=19$m=2097152,t=1,p=4${SALT}${DIGEST}", "memory in KiB is 2097152"),
        (f"$argon2id$v=19$m=262144,t=5,p=4${SALT}${DIGEST}", "over all passes"),
        (f"$argon2id$v=19$m=65536,t=999999999,p=4${SALT}${DIGEST}", "over all passes"),
        (f"$argon2id$v=19$m=65536,t=3,p=0${SALT}${DIGEST}", "parallelism is 0"),
        (f"$argon2id$v=19$m=64,t=3,p=9${SALT}${DIGEST}", "parallelism is 9"),
        (f"$argon2id$v=19$m=65536,t=3,p=4$c2FsdA${DIGEST}", "argon2's salt is 4"),
        (f"$argon2id$v=19$m=65536,t=3,p=4${SALT}$AAAA", "bytes of the hash is 3"),
        (f"$argon2id$v=19$m=65536,t=3,p=4${SALT}$AAAAA", "base64"),
        (f"$argon2d$v=19$m=65536,t=3,p=4${SALT}${DIGEST}", "no kind"),
        (f"$argon2id$m=65536,t=3,p=4${SALT}${DIGEST}", "no kind"),
        (f"pbkdf2_sha256$0$salt${DIGEST}=", "iterations is 0"),
        (f"pbkdf2_sha256$4000001$salt${DIGEST}=", "iterations is 4000001"),
        ("pbkdf2_sha256$600000$salt$AAAA", "bytes of the hash is 3"),
        ("$pbkdf2-sha512$310000$c2FsdA$" + "A" * 1000, "bytes of the hash is 750"),
        (f"$pbkdf2-md5$310000${SALT}${DIGEST}", "no kind"),
        (f"$pbkdf2-sha256$310000$c2FsdB${DIGEST}", "base64"),
        (f"scrypt$16383$salt$8$1${DIGEST}", "power of 2"),
        (f"scrypt$16384$salt$8$99999${DIGEST}", "over all passes"),
        (f"$scrypt$ln=99,r=8,p=1${SALT}${DIGEST}", "scrypt's memory"),
        (f"$scrypt$ln=16,r=0,p=1${SALT}${DIGEST}", "scrypt's memory"),
        (f"$scrypt$ln=16,r=8,p=0${SALT}${DIGEST}", "over all passes"),
    ],
)
def test_what_cannot_be_compared_or_is_too_much_work_is_refused(stored: str, word: str) -> None:
    with pytest.raises(UnusableHash) as refused:
        read_foreign_hash(stored)
    assert word in str(refused.value)
    assert not stored or stored.strip() not in str(refused.value)


async def test_what_cannot_be_compared_is_a_wrong_password_at_login(passwords: Passwords) -> None:
    for stored in ("", "!", "$2b$12$" + "/" * 53, f"$argon2id$v=19$m=9999999,t=1,p=4${SALT}${DIGEST}"):
        assert not await is_right(passwords, PASSWORD, stored)


def credential(**changes: Any) -> KeycloakCredential:
    secret = {"value": DIGEST + "=", "salt": SALT + "=", "additionalParameters": {}} | changes.pop("secret", {})
    parameters: dict[str, Any] = {"hashIterations": 27_500, "algorithm": "pbkdf2-sha256", "additionalParameters": {}}
    parameters |= changes.pop("parameters", {})
    members = {"secretData": json.dumps(secret), "credentialData": json.dumps(parameters)} | changes
    return msgspec.convert(members, KeycloakCredential)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (credential(type="otp"), "no password"),
        (credential(parameters={"algorithm": "pbkdf2"}), "'pbkdf2'"),
        (credential(parameters={"algorithm": "argon2"}), "as Keycloak exports them"),
        (credential(parameters={"hashIterations": "27500"}), "as Keycloak exports them"),
        (credential(secretData="{}"), "as Keycloak exports them"),
        (credential(secretData="["), "as Keycloak exports them"),
        (credential(parameters={"hashIterations": -1}), "no kind"),
        (credential(parameters={"hashIterations": 1}), "iterations is 1"),
        (credential(secret={"salt": "a$b"}), "no kind"),
    ],
)
def test_a_keycloak_credential_that_is_none_of_a_password_is_refused(given: KeycloakCredential, word: str) -> None:
    with pytest.raises(UnusableHash) as refused:
        read_foreign_hash(spelling_of_keycloak(given))
    assert word in str(refused.value)


def test_without_the_extra_argon2_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    with pytest.raises(UnusableHash) as refused:
        read_foreign_hash(f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}")
    assert "pip install 'token-gateway[imports]'" in str(refused.value)
    assert isinstance(read_foreign_hash("$2b$12$" + "." * 53), BcryptHash)


async def test_a_cheap_foreign_hash_takes_as_long_as_ours() -> None:
    """T26: who has not logged in since the import is not known by it."""
    passwords = Passwords(KeyChain.of(SECRET), 8, 1, time.monotonic)
    kinds = {
        "nobody's": None,
        "foreign": f"pbkdf2_sha256$1000$salt${DIGEST}=",
        "older": bcrypt.hashpw(b"x", bcrypt.gensalt(5)).decode(),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(18):
        for kind, stored in kinds.items():
            begun = time.perf_counter()
            assert not await is_right(passwords, PASSWORD, stored or "")
            if number >= 6:
                taken[kind].append(time.perf_counter() - begun)
    passwords.close()
    medians = {kind: statistics.median(seconds) for kind, seconds in taken.items()}
    print("; ".join(f"{kind} {seconds * 1000:.1f} ms" for kind, seconds in medians.items()))
    assert 0.5 < medians["foreign"] / medians["nobody's"] < 2
    assert 0.5 < medians["older"] / medians["nobody's"] < 2


def test_the_vectors_are_of_all_three_programs() -> None:
    folder = Path(__file__).parents[1] / "vectors"
    assert {path.name.removesuffix("_users.jsonl") for path in folder.glob("*_users.jsonl")} == {
        "django", "keycloak", "authelia",
    }  # fmt: skip
    assert sum(len(users_of(name)) for name in ("django", "keycloak", "authelia")) == len(USERS)
