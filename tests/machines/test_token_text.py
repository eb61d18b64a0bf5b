"""The text of a personal token: one spelling, known to scanners without a key, refused unless we made it."""

import base64
import re
import string
import zlib

import pytest

from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import PersonalTokenInvalid
from gateway.machines.token_text import PersonalToken
from gateway.opaque import format_opaque
from tests.harness import SECRET

KEYCHAIN = KeyChain.of(SECRET)
TOKEN = PersonalToken("usr_" + "u" * 21 + "A", "pat_" + "t" * 21 + "A")
TEXT = TOKEN.format(KEYCHAIN.current)
LETTERS = string.ascii_letters + string.digits + "-_"


def cause_of(text: str, keychain: KeyChain = KEYCHAIN) -> str:
    with pytest.raises(PersonalTokenInvalid) as refused:
        PersonalToken.parse(text, keychain)
    return refused.value.cause.removeprefix("personal-token-")


def with_checksum(octets: bytes) -> str:
    """Spell 65 octets as anybody can who has read the docs."""
    return "gwp_" + base64.urlsafe_b64encode(octets + zlib.crc32(b"gwp_" + octets).to_bytes(4, "big")).decode()


def test_what_was_made_is_read() -> None:
    assert PersonalToken.parse(TEXT, KEYCHAIN) == TOKEN


def test_it_is_what_the_docs_tell_scanners() -> None:
    assert re.fullmatch(r"gwp_[A-Za-z0-9_-]{92}", TEXT)
    octets = base64.urlsafe_b64decode(TEXT.removeprefix("gwp_"))
    assert len(octets) == 69
    assert zlib.crc32(b"gwp_" + octets[:65]).to_bytes(4, "big") == octets[65:]


@pytest.mark.parametrize("place", range(96))
def test_one_wrong_letter_is_seen_without_a_key(place: int) -> None:
    for letter in LETTERS:
        if letter != TEXT[place]:
            assert cause_of(TEXT[:place] + letter + TEXT[place + 1 :]) == "misspelt"


@pytest.mark.parametrize("text", ["", "gwp_", TEXT[:-1], TEXT + "A", TEXT + "\n", TEXT + "=", " " + TEXT, TEXT.upper()])
def test_what_is_longer_or_shorter_is_none(text: str) -> None:
    assert cause_of(text) == "misspelt"


@pytest.mark.parametrize("place", range(65))
def test_a_right_checksum_makes_no_token(place: int) -> None:
    octets = bytearray(base64.urlsafe_b64decode(TEXT.removeprefix("gwp_"))[:65])
    octets[place] ^= 1
    assert cause_of(with_checksum(bytes(octets))) == "forged"


def test_those_of_a_previous_secret_are_good_and_those_of_another_one_are_not() -> None:
    earlier = TOKEN.format(DerivedKeys.of("an earlier secret, of 32 bytes and more"))
    assert cause_of(earlier) == "forged"
    both = KeyChain.of(SECRET, ("an earlier secret, of 32 bytes and more",))
    assert PersonalToken.parse(earlier, both) == PersonalToken.parse(TEXT, both) == TOKEN
    assert cause_of(TEXT, KeyChain.of("an earlier secret, of 32 bytes and more")) == "forged"


@pytest.mark.parametrize("key", ["refresh_token_mac", "browser_session_mac", "known_device_mac"])
def test_no_other_text_of_ours_becomes_one(key: str) -> None:
    other = format_opaque(TOKEN.user_id, "t" * 21 + "A", 1, getattr(KEYCHAIN.current, key))
    assert cause_of("gwp_" + other) == "misspelt"
    octets = base64.urlsafe_b64decode(other)
    assert cause_of(with_checksum(octets[:33] + octets[37:])) == "forged"
