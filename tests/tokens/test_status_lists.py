"""Status List Tokens: what the draft says they are, signed as seldom as may be, and never older than promised."""

import asyncio
import base64
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from gateway.derived_keys import KeyChain
from gateway.sessions.status_bits import StatusBits
from gateway.sessions.status_indexes import LIST_POSITIONS, StatusIndex
from gateway.store.store import Store
from gateway.tokens.access_tokens import AccessTokenMinter
from gateway.tokens.keyring import Keyring
from gateway.tokens.status_claims import MAX_MENTIONED, StatusClaims
from gateway.tokens.status_lists import (
    CACHED_SECONDS,
    MAX_LISTED,
    MAX_SIGNED,
    SIGNED_AGAIN_AFTER_SECONDS,
    StatusLists,
    deflated,
)
from tests.clocks import FakeClock
from tests.harness import SECRET

ORIGIN = "https://auth.example.test"
# Appendix C.1 of the draft: one bit each, 2^20 entries, of which these are set.
VECTOR = (
    "eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogEAAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAAAAAAAAAA7KpLAAAAAAAAAAAAAAAAAAAA"
    "AJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAAACAZC8L2AEb"
)
VECTOR_SET = (0, 1993, 25460, 159495, 495669, 554353, 645645, 723232, 854545, 934534, 1000345)


def octets_of(lst: str) -> bytes:
    return zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))


def bits_of(*positions: int, number: int = 1) -> StatusBits:
    bits = StatusBits(lambda text: StatusIndex(*map(int, text.split())))
    for position in positions:
        bits.learned(f"{number} {position}")
    return bits


class Monotonic:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lists:
    """The lists of a gateway, with a keyring of its own, a clock that stands still, and bits to set."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.bits = bits_of()
        self.monotonic = Monotonic()
        self.claims = StatusClaims(ORIGIN, lambda _: (7, 11))
        self.minter = AccessTokenMinter(
            keyring, issuer=ORIGIN, audience=ORIGIN, client_id="c", ttl_seconds=600, personal_claims=()
        )
        self.lists = StatusLists(
            self.minter, keyring, self.claims, self.bits, clock=FakeClock(), monotonic=self.monotonic
        )

    async def claims_of(self, number: int = 1) -> dict[str, Any]:
        signed, _ = await self.lists.give(number)
        claims: dict[str, Any] = jwt.decode(signed.token, options={"verify_signature": False})
        return claims


@pytest.fixture
async def lists(store: Store) -> AsyncIterator[Lists]:
    keyring = Keyring(
        store,
        KeyChain.of(SECRET),
        algorithm="ES256",
        rsa_key_bits=2048,
        access_token_ttl_seconds=600,
        rotation_days=0,
    )
    await keyring.open()
    made = Lists(keyring)
    yield made
    made.minter.close()


def test_the_small_example_of_the_draft_is_what_ours_would_be() -> None:
    """Section 4.1: bytes B9 A3."""
    bits = bits_of(0, 3, 4, 5, 7, 8, 9, 13, 15)
    assert bits.copy(1) == bytes.fromhex("b9a3") == octets_of("eNrbuRgAAhcBXQ")


def test_the_large_vector_of_the_draft_is_what_ours_would_be() -> None:
    assert zlib.decompress(deflated(bits_of(*VECTOR_SET).copy(1))) == octets_of(VECTOR)
    assert len(octets_of(VECTOR)) == LIST_POSITIONS // 8


def test_a_list_is_no_longer_than_the_one_of_the_draft() -> None:
    """Though it is made a hundred times as quick."""
    assert len(deflated(bits_of(*VECTOR_SET).copy(1))) <= len(VECTOR) * 3 // 4


@pytest.mark.redis
async def test_all_who_ask_at_once_get_one_signature(lists: Lists) -> None:
    given_out = await asyncio.gather(*(lists.lists.give(1) for _ in range(100)))
    assert len({signed.token for signed, _ in given_out}) == 1


@pytest.mark.redis
async def test_what_is_known_is_signed_again_after_ten_seconds(lists: Lists) -> None:
    signed, cached_seconds = await lists.lists.give(1)
    lists.monotonic.now += SIGNED_AGAIN_AFTER_SECONDS - 0.01
    assert lists.lists.known(1) == (signed, cached_seconds) == (signed, CACHED_SECONDS)
    lists.monotonic.now += 0.01
    assert lists.lists.known(1) is None
    again, _ = await lists.lists.give(1)
    assert again.token != signed.token
    assert again.etag != signed.etag


@pytest.mark.redis
async def test_a_change_is_out_when_the_caches_have_dropped_what_was_before(lists: Lists) -> None:
    await lists.lists.give(1)
    lists.bits.learned("1 4711")
    for seconds in range(1, CACHED_SECONDS):
        lists.monotonic.now += 1
        known = lists.lists.known(1)
        assert (
            known is None if seconds == CACHED_SECONDS else known is not None and known[1] == CACHED_SECONDS - seconds
        )
    lists.monotonic.now += 0.01
    assert lists.lists.known(1) is None
    assert octets_of((await lists.claims_of())["status_list"]["lst"])[4711 >> 3] == 1 << (4711 & 7)


@pytest.mark.redis
async def test_whatever_happens_when_nothing_that_is_given_out_is_stale_for_longer_than_promised(lists: Lists) -> None:
    """What a list does not say was learned so lately that caches drop the list five seconds after that."""
    chance, learned, longest = random.Random(4711), dict[int, float](), 0.0
    for _ in range(400):
        lists.monotonic.now += chance.choice((0.0, 0.3, 0.7, 1.0, 2.5, 6.0))
        for _ in range(chance.choice((0, 0, 1, 2))):
            position = chance.randrange(LIST_POSITIONS)
            if position not in learned:
                lists.bits.learned(f"1 {position}")
                learned[position] = lists.monotonic.now
        if chance.random() < 0.5:
            signed, cached_seconds = await lists.lists.give(1)
            claims = jwt.decode(signed.token, options={"verify_signature": False})
            octets = octets_of(claims["status_list"]["lst"])
            unsaid = [at for place, at in learned.items() if not octets[place >> 3] >> (place & 7) & 1]
            if unsaid:
                longest = max(longest, lists.monotonic.now - min(unsaid) + cached_seconds)
    assert 0 < longest <= CACHED_SECONDS


@pytest.mark.redis
async def test_another_list_is_not_signed_for_a_change(lists: Lists) -> None:
    await lists.lists.give(1)
    lists.bits.learned("2 0")
    assert lists.lists.known(1) is not None


@pytest.mark.redis
async def test_nothing_is_given_that_a_dropped_key_signed(lists: Lists) -> None:
    signed, _ = await lists.lists.give(1)
    await lists.keyring.rotate(compromised=True)
    assert lists.lists.known(1) is None
    assert (await lists.lists.give(1))[0].kid != signed.kid


@pytest.mark.redis
async def test_those_asked_for_last_are_remembered_and_no_more(lists: Lists) -> None:
    for number in range(MAX_SIGNED + 1):
        await lists.lists.give(number)
    assert [number for number in range(MAX_SIGNED + 1) if lists.lists.known(number) is None] == [0]


@pytest.mark.redis
async def test_the_lists_that_are_told_are_those_known_here_and_not_too_many(lists: Lists) -> None:
    lists.claims.of("a session")
    lists.bits.learned("3 5")
    await lists.lists.give(9)
    assert lists.lists.listed == [f"{ORIGIN}/status/{number}" for number in (3, 7, 9)]
    for number in range(MAX_LISTED + 10):
        lists.bits.learned(f"{number} 0")
    assert len(lists.lists.listed) == MAX_LISTED


def test_a_claim_is_what_the_draft_wants_and_the_lists_that_were_mentioned_are_bounded() -> None:
    numbers = iter(range(MAX_MENTIONED + 1))
    claims = StatusClaims(ORIGIN, lambda sid: None if sid == "old" else (next(numbers), 5))
    assert claims.of("old") is None
    assert claims.of("new") == {"status_list": {"idx": 5, "uri": f"{ORIGIN}/status/0"}}
    for _ in range(MAX_MENTIONED):
        claims.of("new")
    assert claims.mentioned == tuple(range(1, MAX_MENTIONED + 1))
