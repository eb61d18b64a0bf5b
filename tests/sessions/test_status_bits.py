"""The bits of status lists follow what is learned and forgotten of revocations."""

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.derived_keys import KeyChain
from gateway.sessions.families import new_family_id
from gateway.sessions.revocations import FORGOTTEN_AT_ONCE, Revocations
from gateway.sessions.status_bits import StatusBits
from gateway.sessions.status_indexes import LIST_POSITIONS, StatusIndex, StatusIndexes, find_index
from gateway.store.store import Store
from tests.clocks import FakeClock
from tests.harness import SECRET, until

KEYCHAIN = KeyChain.of(SECRET)
FORGOTTEN_AFTER_SECONDS = 3660


def bits_for(indexes: dict[str, StatusIndex]) -> StatusBits:
    return StatusBits(indexes.get)


def positions(bits: StatusBits, number: int) -> set[int]:
    octets = bits.copy(number)
    return {8 * place + bit for place, octet in enumerate(octets) if octet for bit in range(8) if octet >> bit & 1}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 40) | st.just(LIST_POSITIONS - 1))))
def test_the_bits_are_those_that_were_learned_and_not_forgotten(steps: list[tuple[bool, int, int]]) -> None:
    bits = StatusBits(lambda text: StatusIndex(*map(int, text.split())))
    there: set[tuple[int, int]] = set()
    for is_learned, number, position in steps:
        versions = {one: bits.version(one) for one in (1, 2, 3)}
        before = set(there)
        (bits.learned if is_learned else bits.forgotten)(f"{number} {position}")
        (there.add if is_learned else there.discard)((number, position))
        changed = {one for one, version in versions.items() if bits.version(one) != version}
        assert changed == ({number} if there != before else set())
    for number in (1, 2, 3):
        assert positions(bits, number) == {position for one, position in there if one == number}
    assert set(bits.lists) == {number for number, _ in there}


def test_what_has_no_index_changes_nothing() -> None:
    bits = bits_for({})
    for text in (new_family_id(), "usr_1 5 ", ""):
        bits.learned(text)
        bits.forgotten(text)
    assert bits.lists == ()


def test_a_list_takes_no_more_than_its_highest_bit_needs() -> None:
    bits = bits_for({"low": StatusIndex(1, 9), "high": StatusIndex(2, LIST_POSITIONS - 1)})
    bits.learned("low")
    bits.learned("high")
    assert (len(bits.copy(1)), len(bits.copy(2)), len(bits.copy(3))) == (2, LIST_POSITIONS // 8, 0)


@pytest.mark.redis
async def test_they_follow_the_view_of_a_gateway(store: Store) -> None:
    """What another gateway announced, too, and for as long as the view has it; cut-offs name no session."""
    clock = FakeClock()
    bits = StatusBits(lambda text: find_index(text, KEYCHAIN))
    view, other = Revocations(store, clock, listener=bits), Revocations(store, FakeClock())
    indexes = StatusIndexes(store, KEYCHAIN, clock)
    here, elsewhere, living = [await indexes.new_session_id() for _ in range(3)]
    follower = asyncio.create_task(view.follow())
    await view.announce((here, "usr_x 1790000000 "))
    await other.announce((elsewhere, new_family_id()))
    await until(lambda: elsewhere in view)
    found = [find_index(session_id, KEYCHAIN) for session_id in (here, elsewhere, living)]
    assert positions(bits, indexes.latest) == {index.position for index in found[:2] if index}
    clock.now += FORGOTTEN_AFTER_SECONDS
    await until(lambda: not view.known)
    assert bits.lists == ()
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


@pytest.mark.redis
async def test_nobody_waits_for_a_hundred_thousand_that_are_forgotten_at_once(store: Store) -> None:
    """As after an hour in which a campaign ended them all: they go some at a time."""
    clock = FakeClock()
    bits = StatusBits(lambda text: find_index(text, KEYCHAIN))
    view = Revocations(store, clock, listener=bits)
    indexes = StatusIndexes(store, KEYCHAIN, clock)
    await indexes.new_session_id()
    number = indexes.latest
    for position in random.sample(range(LIST_POSITIONS), 100_000):
        view._remember(StatusIndex(number, position).session_id(KEYCHAIN.current))
    assert len(positions(bits, number)) == 100_000
    clock.now += FORGOTTEN_AFTER_SECONDS
    longest_seconds, steps = 0.0, 0
    while view.known:
        begun = time.thread_time()
        view._prune()
        longest_seconds, steps = max(longest_seconds, time.thread_time() - begun), steps + 1
    assert longest_seconds < 0.1
    print(f"100,000 forgotten in {steps} steps, the longest {1000 * longest_seconds:.1f} ms")
    assert steps <= 1 + 100_000 / FORGOTTEN_AT_ONCE
    assert bits.lists == ()
