"""Secrets of machine clients: what they look like, and that a MAC of them is enough."""

import re
import zlib
from base64 import urlsafe_b64decode

from hypothesis import given
from hypothesis import strategies as st

from gateway.derived_keys import KeyChain
from gateway.machines.client_secrets import match_secret, new_client_secret, stored_secret

OLD, NEW = "a former secret, 32 bytes and more of it", "the secret of now, 32 bytes and more of it"
CHAIN = KeyChain.of(NEW, (OLD,))
ID = "cli_" + "a" * 22


def is_client_secret(text: str) -> bool:
    """Tell what a scanner tells."""
    octets = urlsafe_b64decode(text[4:])
    return octets[32:] == zlib.crc32(b"gws_" + octets[:32]).to_bytes(4, "big")


def test_a_secret_is_what_scanners_are_told_it_is() -> None:
    """As docs/oauth.md has it."""
    secret = new_client_secret()
    assert re.fullmatch(r"gws_[A-Za-z0-9_-]{48}", secret)
    assert len(urlsafe_b64decode(secret[4:])) == 36
    assert is_client_secret(secret)


def test_each_secret_is_another_one() -> None:
    assert len({new_client_secret() for _ in range(1000)}) == 1000


@given(st.integers(4, 51), st.sampled_from("ABCXYZabcxyz0189-_"))
def test_the_checksum_finds_a_wrong_character(place: int, character: str) -> None:
    secret = new_client_secret()
    changed = secret[:place] + character + secret[place + 1 :]
    assert is_client_secret(changed) == (changed == secret)


def test_what_is_stored_does_not_hold_the_secret() -> None:
    secret = new_client_secret()
    stored = stored_secret(secret, ID, CHAIN.current)
    assert secret not in stored
    assert secret[4:20] not in stored


def test_a_secret_is_found_in_either_place_and_under_either_key() -> None:
    secret, other = new_client_secret(), new_client_secret()
    now = stored_secret(secret, ID, CHAIN.current)
    (former,) = CHAIN.previous
    for kept in (now, stored_secret(secret, ID, former)):
        for place, stored in enumerate(((kept, ""), (stored_secret(other, ID, CHAIN.current), kept))):
            match = match_secret(secret, ID, stored, CHAIN)
            assert match is not None
            assert (match.place, match.renewed) == (place, now)


def test_a_wrong_secret_and_one_of_another_client_are_found_nowhere() -> None:
    secret = new_client_secret()
    stored = stored_secret(secret, ID, CHAIN.current), ""
    assert match_secret(new_client_secret(), ID, stored, CHAIN) is None
    assert match_secret("", ID, stored, CHAIN) is None
    assert match_secret("\ud800é", ID, stored, CHAIN) is None
    assert match_secret(secret, "cli_" + "b" * 22, stored, CHAIN) is None
    assert match_secret(secret, ID, ("", ""), CHAIN) is None


def test_a_secret_under_a_key_that_is_gone_is_no_good() -> None:
    secret = new_client_secret()
    (former,) = CHAIN.previous
    assert match_secret(secret, ID, (stored_secret(secret, ID, former), ""), KeyChain.of(NEW)) is None
