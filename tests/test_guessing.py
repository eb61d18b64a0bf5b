"""The guessing throttle, on a real Redis; time moves by rewriting the stored lane."""

import asyncio
import hashlib

import pytest

from gateway.derived_keys import KeyChain
from gateway.errors import RateLimited
from gateway.guessing import CLOSED_MEMORY_SECONDS, KNOWN_DEVICE_SECONDS, MEMORY_SECONDS, Attempt, GuessingThrottle
from gateway.store import Store
from tests.doubles import FakeClock
from tests.harness import SECRET

EMAIL = "victim@example.com"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttle(store: Store, clock: FakeClock) -> GuessingThrottle:
    return GuessingThrottle(store, KeyChain.of(SECRET), clock, is_on=True)


def key(store: Store, email: str = EMAIL) -> str:
    return store.key(f"guess:{{{hashlib.sha256(email.encode()).hexdigest()}}}")


async def let_the_wait_pass(store: Store, lane: str = "unknown") -> None:
    failures = (await store.execute("HGET", key(store), lane)).split(b":")[0]
    await store.execute("HSET", key(store), lane, failures + b":0")


async def fail(throttle: GuessingThrottle, times: int, device: str | None = None) -> None:
    for _ in range(times):
        await throttle.take(EMAIL, device)


async def wait_of(throttle: GuessingThrottle, device: str | None = None) -> int:
    with pytest.raises(RateLimited) as refused:
        await throttle.take(EMAIL, device)
    return refused.value.retry_after_seconds


async def test_five_failures_are_free_and_then_waits_double_from_30_s_to_1_h(
    throttle: GuessingThrottle, store: Store
) -> None:
    await fail(throttle, 5)
    waits = []
    for _ in range(10):
        waits.append(await wait_of(throttle))
        await let_the_wait_pass(store)
        await fail(throttle, 1)
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


async def test_a_refused_attempt_makes_the_wait_no_longer(throttle: GuessingThrottle) -> None:
    await fail(throttle, 5)
    assert [await wait_of(throttle) for _ in range(20)] == [30] * 20


async def test_success_ends_the_count_of_its_lane(throttle: GuessingThrottle) -> None:
    await fail(throttle, 4)
    await throttle.succeed(await throttle.take(EMAIL, None))
    await fail(throttle, 5)
    assert await wait_of(throttle) == 30


async def test_an_attempt_whose_password_was_not_looked_at_does_not_count(throttle: GuessingThrottle) -> None:
    for _ in range(20):
        await throttle.take_back(await throttle.take(EMAIL, None))
    await fail(throttle, 4)
    await throttle.take_back(await throttle.take(EMAIL, None))
    await fail(throttle, 1)
    assert await wait_of(throttle) == 30


async def test_a_hundred_failures_close_the_lane_until_it_is_unlocked(throttle: GuessingThrottle, store: Store) -> None:
    for _ in range(100):
        await throttle.take(EMAIL, None)
        await let_the_wait_pass(store)
    assert await wait_of(throttle) == 3600
    assert await store.execute("TTL", key(store)) > MEMORY_SECONDS
    device = throttle.remember_device(EMAIL)
    assert (await throttle.take(EMAIL, device)) is not None
    assert await throttle.unlock(EMAIL)
    assert (await throttle.take(EMAIL, None)) is not None


async def test_a_burst_of_parallel_attempts_lets_five_through(throttle: GuessingThrottle) -> None:
    results = await asyncio.gather(*(throttle.take(EMAIL, None) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(result, Attempt) for result in results) == 5


async def test_strangers_do_not_slow_a_known_device_down(throttle: GuessingThrottle, store: Store) -> None:
    """The owner's device has a lane of its own (threats 5.8)."""
    device = throttle.remember_device(EMAIL)
    await fail(throttle, 5)
    await wait_of(throttle)
    await throttle.succeed(await throttle.take(EMAIL, device))
    await wait_of(throttle)


async def test_a_known_device_that_fails_waits_in_its_own_lane(throttle: GuessingThrottle) -> None:
    device, other = throttle.remember_device(EMAIL), throttle.remember_device(EMAIL)
    await fail(throttle, 5, device)
    assert await wait_of(throttle, device) == 30
    await fail(throttle, 1, other)
    await fail(throttle, 1, None)


async def test_a_device_with_a_hundred_failures_is_unknown_again(throttle: GuessingThrottle, store: Store) -> None:
    device = throttle.remember_device(EMAIL)
    first = await throttle.take(EMAIL, device)
    assert first is not None
    await store.execute("HSET", key(store), first.lane, "100:0")
    assert await throttle.take(EMAIL, device) == Attempt(first.account, "unknown")


async def test_a_device_cookie_is_good_for_one_account_alone(throttle: GuessingThrottle) -> None:
    foreign = throttle.remember_device("thief@example.com")
    attempt = await throttle.take(EMAIL, foreign)
    assert attempt is not None
    assert attempt.lane == "unknown"


async def test_a_device_is_forgotten_after_a_year(throttle: GuessingThrottle, clock: FakeClock) -> None:
    device = throttle.remember_device(EMAIL)
    clock.now += KNOWN_DEVICE_SECONDS - 1
    attempt = await throttle.take(EMAIL, device)
    assert attempt is not None
    assert attempt.lane != "unknown"
    clock.now += 1
    attempt = await throttle.take(EMAIL, device)
    assert attempt is not None
    assert attempt.lane == "unknown"


async def test_any_changed_character_makes_a_device_unknown(throttle: GuessingThrottle) -> None:
    device = throttle.remember_device(EMAIL)
    assert device is not None
    changed = [device[:i] + ("A" if c != "A" else "B") + device[i + 1 :] for i, c in enumerate(device)]
    for cookie in [*changed, device + "=", device[:-1], "", "ż" * 72, device + "\n"]:
        attempt = await throttle.take(EMAIL, cookie)
        assert attempt is not None
        assert attempt.lane == "unknown"
        await throttle.take_back(attempt)


async def test_a_device_known_under_a_previous_secret_stays_known(store: Store, clock: FakeClock) -> None:
    old = GuessingThrottle(store, KeyChain.of("p" * 40), clock, is_on=True).remember_device(EMAIL)
    new = GuessingThrottle(store, KeyChain.of(SECRET, ("p" * 40,)), clock, is_on=True)
    attempt = await new.take(EMAIL, old)
    assert attempt is not None
    assert attempt.lane != "unknown"


async def test_every_count_has_a_ttl(throttle: GuessingThrottle, store: Store) -> None:
    """I8: everything that can expire does."""
    await fail(throttle, 1)
    assert MEMORY_SECONDS - 5 <= await store.execute("TTL", key(store)) <= MEMORY_SECONDS
    await store.execute("HSET", key(store), "unknown", "99:0")
    await fail(throttle, 1)
    assert CLOSED_MEMORY_SECONDS - 5 <= await store.execute("TTL", key(store)) <= CLOSED_MEMORY_SECONDS


async def test_off_counts_nothing_and_knows_no_device(store: Store, clock: FakeClock) -> None:
    throttle = GuessingThrottle(store, KeyChain.of(SECRET), clock, is_on=False)
    for _ in range(10):
        assert await throttle.take(EMAIL, None) is None
    assert throttle.remember_device(EMAIL) is None
    assert await store.execute("EXISTS", key(store)) == 0
