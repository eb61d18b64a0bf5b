"""Presences: one look for all who wait, memory in between, and a cut-off that makes what was seen worth nothing."""

import asyncio
from dataclasses import dataclass

import pytest

from gateway.errors import PersonalTokenInvalid, StoreUnavailable
from gateway.sessions.presence import BY_PERSONAL_TOKEN, Presence, Presences, Sighting
from gateway.sessions.revocations import Revocations
from gateway.store import Store
from tests.harness import until

OWNER = "usr_" + "o" * 22


@dataclass(frozen=True)
class Claimed:
    """What a token says."""

    sid: str
    user_id: str = OWNER


class Redis:
    """Stands where a look asks; a test says what it sees, and when."""

    is_told_of_cut_offs = True

    def __init__(self, revocations: Revocations) -> None:
        self.revocations = revocations
        self.asked = 0
        self.sees = "alive"
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def parse(self, text: str) -> Claimed | None:
        return Claimed(text) if text.startswith("pat_") else None

    def refuse_ended(self, claim: Claimed) -> None:
        if claim.sid in self.revocations:
            raise PersonalTokenInvalid("revoked")

    async def look(self, claim: Claimed) -> Sighting:
        self.asked += 1
        seen = self.sees
        await self.may_answer.wait()
        if seen == "away":
            raise StoreUnavailable("AWAY")
        if seen != "alive":
            raise PersonalTokenInvalid(seen)
        return Sighting(Presence(claim.user_id, claim.sid, 0, (), "", "", BY_PERSONAL_TOKEN), 10_000.0)


class Clock:
    """Seconds that a test lets pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


TOKEN = Claimed("pat_1")


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands."""
    return Clock()


@pytest.fixture
async def heard(store: Store, clock: Clock) -> Revocations:
    """Give revocations that were read once; a test tells them what is announced."""
    revocations = Revocations(store, lambda: int(clock()), clock)
    revocations._hear()
    return revocations


@pytest.fixture
def redis(heard: Revocations) -> Redis:
    """Give what is looked at."""
    return Redis(heard)


@pytest.fixture
def presences(heard: Revocations, redis: Redis, clock: Clock) -> Presences[Claimed]:
    """Give presences with a memory of a minute."""
    return Presences(heard, redis, check_seconds=60, monotonic=clock)


def cut_off(second: int, kept: str = "") -> str:
    return f"{OWNER} {second} {kept}"


pytestmark = pytest.mark.redis


async def test_what_was_seen_is_not_asked_for_again_for_as_long_as_memory_counts(
    presences: Presences[Claimed], redis: Redis, clock: Clock
) -> None:
    for passed, asked in ((0, 1), (59.9, 1), (60, 2), (119, 2), (121, 3)):
        clock.now = 1000.0 + passed
        await presences.find(TOKEN)
        assert redis.asked == asked


async def test_all_who_wait_for_a_look_wait_for_one(presences: Presences[Claimed], redis: Redis) -> None:
    redis.may_answer.clear()
    waiting = [asyncio.create_task(presences.find(TOKEN)) for _ in range(50)]
    await asyncio.sleep(0)
    redis.may_answer.set()
    assert {presence.sid for presence in await asyncio.gather(*waiting)} == {"pat_1"}
    assert redis.asked == 1


async def test_a_cut_off_of_the_owner_is_followed_by_one_look_and_ends_nothing_itself(
    presences: Presences[Claimed], redis: Redis, heard: Revocations
) -> None:
    await presences.find(TOKEN)
    for number in range(3):
        heard._remember(cut_off(2000 + number))
        assert presences.known(TOKEN) is None
        await presences.find(TOKEN)
        await presences.find(TOKEN)
        assert redis.asked == 2 + number
    heard._remember("usr_somebody_else 3000 ")
    assert presences.known(TOKEN) is not None


async def test_two_cut_offs_of_one_second_are_two(
    presences: Presences[Claimed], redis: Redis, heard: Revocations
) -> None:
    """Disabled, enabled and disabled within a second: what was seen in between is worth nothing."""
    heard._remember(cut_off(2000))
    await presences.find(TOKEN)
    heard._remember(cut_off(2000))
    redis.sees = "user_disabled"
    with pytest.raises(PersonalTokenInvalid, match="not valid"):
        await presences.find(TOKEN)
    assert redis.asked == 2


async def test_a_look_that_a_cut_off_has_overtaken_is_taken_again_for_all_who_wait(
    presences: Presences[Claimed], redis: Redis, heard: Revocations
) -> None:
    """It may have read the owner before he was disabled."""
    redis.may_answer.clear()
    early = [asyncio.create_task(presences.find(TOKEN)) for _ in range(5)]
    await until(lambda: redis.asked == 1)
    heard._remember(cut_off(2000))
    redis.sees = "user_disabled"
    late = [asyncio.create_task(presences.find(TOKEN)) for _ in range(5)]
    await asyncio.sleep(0)
    redis.may_answer.set()
    outcomes = await asyncio.gather(*early, *late, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {PersonalTokenInvalid}
    assert redis.asked == 2


async def test_one_that_is_revoked_during_a_look_is_refused(
    presences: Presences[Claimed], redis: Redis, heard: Revocations
) -> None:
    redis.may_answer.clear()
    waiting = asyncio.create_task(presences.find(TOKEN))
    await until(lambda: redis.asked == 1)
    heard._remember("pat_1")
    redis.may_answer.set()
    with pytest.raises(PersonalTokenInvalid):
        await waiting


async def test_while_redis_is_away_what_was_seen_passes_for_an_hour(
    presences: Presences[Claimed], redis: Redis, clock: Clock
) -> None:
    await presences.find(TOKEN)
    redis.sees = "away"
    for passed, passes in ((61, True), (3599, True), (3601, False)):
        clock.now = 1000.0 + passed
        if passes:
            assert (await presences.find(TOKEN)).sid == "pat_1"
        else:
            with pytest.raises(StoreUnavailable):
                await presences.find(TOKEN)
    with pytest.raises(StoreUnavailable):
        await presences.find(Claimed("pat_2"))


async def test_while_redis_is_away_a_cut_off_leaves_nothing_to_go_by(
    presences: Presences[Claimed], redis: Redis, heard: Revocations
) -> None:
    await presences.find(TOKEN)
    redis.sees = "away"
    heard._remember(cut_off(2000))
    with pytest.raises(StoreUnavailable):
        await presences.find(TOKEN)


async def test_a_refusal_is_not_remembered(presences: Presences[Claimed], redis: Redis) -> None:
    redis.sees = "user_disabled"
    with pytest.raises(PersonalTokenInvalid):
        await presences.find(TOKEN)
    redis.sees = "alive"
    assert (await presences.find(TOKEN)).sid == "pat_1"


async def test_memory_is_bounded(heard: Revocations, redis: Redis, clock: Clock) -> None:
    presences = Presences(heard, redis, check_seconds=60, max_remembered=3, monotonic=clock)
    for number in range(10):
        claim = presences.parse(f"pat_{number}")
        assert claim is not None
        await presences.find(claim)
    assert [presences.known(Claimed(f"pat_{number}")) is not None for number in range(10)] == [False] * 7 + [True] * 3
