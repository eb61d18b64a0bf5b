"""The guessing throttle, on a real Redis; time moves by rewriting the stored lane."""

import asyncio
import contextlib
import hashlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.derived_keys import KeyChain
from gateway.errors import InvalidCredentials, Overloaded, RateLimited, SecondFactorInvalid, StoreUnavailable
from gateway.limits.guessing import (
    CLOSED_MEMORY_SECONDS,
    CLOSING_FAILURES,
    CODES,
    FIRST_WAIT_SECONDS,
    FREE_FAILURES,
    KNOWN_DEVICE_SECONDS,
    LONGEST_WAIT_SECONDS,
    MEMORY_SECONDS_PER_FAILURE,
    UNKNOWN_DEVICES,
    Attempt,
    GuessingThrottle,
)
from gateway.store.store import Store
from tests.clocks import FakeClock
from tests.harness import SECRET, RedisServer

EMAIL = "victim@example.com"
OWNER = ("usr_" + "a" * 22, 1)
DAY_SECONDS = 86_400
HEARD_SECONDS = 60


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def throttle(store: Store, clock: FakeClock) -> AsyncIterator[GuessingThrottle]:
    opened = GuessingThrottle(store, KeyChain.of(SECRET), clock, is_on=True)
    yield opened
    await opened.close()


def key(store: Store, email: str = EMAIL) -> str:
    return store.key(f"guess:{{{hashlib.sha256(email.encode()).hexdigest()}}}")


async def let_pass(store: Store, seconds: int, lane: str = UNKNOWN_DEVICES) -> None:
    """Move a lane into the past: each of its times, all of which are milliseconds after a colon."""
    stored = (await store.execute("HGET", key(store), lane)).decode()
    moved = re.sub(r":(\d{13,})", lambda found: f":{int(found[1]) - seconds * 1000}", stored)
    await store.execute("HSET", key(store), lane, moved)


async def set_failures(store: Store, failures: int, lane: str = UNKNOWN_DEVICES) -> None:
    seconds, microseconds = await store.execute("TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    await store.execute("HSET", key(store), lane, f"{failures}:{now_ms - LONGEST_WAIT_SECONDS * 1000}")


async def fail(throttle: GuessingThrottle, times: int = 1, device_id: str | None = None) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            async with throttle.login(EMAIL, device_id):
                raise InvalidCredentials


async def succeed(throttle: GuessingThrottle, device_id: str | None = None) -> None:
    async with throttle.login(EMAIL, device_id):
        pass


async def leave(throttle: GuessingThrottle, error: BaseException, *, was_right: bool = False) -> None:
    """Leave an attempt by an error that is none of the password's."""
    with contextlib.suppress(type(error)):
        async with throttle.login(EMAIL, None) as attempt:
            attempt.was_right = was_right
            raise error


async def wait_of(throttle: GuessingThrottle, device_id: str | None = None) -> int:
    with pytest.raises(RateLimited) as refused:
        await succeed(throttle, device_id)
    return refused.value.retry_after_seconds


async def stored(store: Store) -> dict[bytes, bytes]:
    return await store.fields(key(store))


async def seconds_left(store: Store) -> int:
    left: int = await store.execute("TTL", key(store))
    return left


def new_device(throttle: GuessingThrottle, owner: tuple[str, int] = OWNER) -> str:
    """Give the id of a device that has just become known."""
    device_id = throttle.device_of(*owner, throttle.remember_device(*owner, None))
    assert device_id is not None
    return device_id


# --------------------------------------------------------------------------------------------------- waits and lanes


async def test_five_failures_are_free_and_then_waits_double_from_30_s_to_1_h(
    throttle: GuessingThrottle, store: Store
) -> None:
    """Shows ASVS 6.3.1, NIST 3.2.2b."""
    await fail(throttle, 5)
    waits = []
    for _ in range(10):
        waits.append(await wait_of(throttle))
        await let_pass(store, waits[-1])
        await fail(throttle, 1)
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


async def test_a_refused_attempt_makes_the_wait_no_longer(throttle: GuessingThrottle) -> None:
    await fail(throttle, 5)
    assert [await wait_of(throttle) for _ in range(20)] == [30] * 20


async def test_success_ends_the_count_of_its_lane(throttle: GuessingThrottle, store: Store) -> None:
    """Shows NIST 3.2.2c."""
    await fail(throttle, 4)
    await let_pass(store, 2 * HEARD_SECONDS)
    await fail(throttle, 1)
    await let_pass(store, FIRST_WAIT_SECONDS)
    await succeed(throttle)
    assert await stored(store) == {}
    await fail(throttle, 5)
    assert await wait_of(throttle) == 30


async def test_a_hundred_failures_close_the_lane_until_it_is_unlocked(throttle: GuessingThrottle, store: Store) -> None:
    """Shows ASVS 6.3.1, NIST 3.2.2a."""
    for _ in range(100):
        await fail(throttle)
        await let_pass(store, LONGEST_WAIT_SECONDS)
    assert await wait_of(throttle) == 3600
    await let_pass(store, 300 * DAY_SECONDS)
    assert await wait_of(throttle) == 3600
    await succeed(throttle, new_device(throttle))
    assert await throttle.unlock(EMAIL)
    await succeed(throttle)
    assert not await throttle.unlock(EMAIL)


async def test_of_a_burst_of_parallel_guesses_five_are_heard(throttle: GuessingThrottle) -> None:
    heard = 0

    async def guess() -> None:
        nonlocal heard
        async with throttle.login(EMAIL, None):
            heard += 1
            await asyncio.sleep(0.02)
            raise InvalidCredentials

    results = await asyncio.gather(*(guess() for _ in range(50)), return_exceptions=True)
    assert heard == 5
    assert sorted(type(result).__name__ for result in results) == ["InvalidCredentials"] * 5 + ["RateLimited"] * 45


async def test_of_a_burst_after_the_wait_one_is_heard(throttle: GuessingThrottle, store: Store) -> None:
    await fail(throttle, 5)
    await let_pass(store, FIRST_WAIT_SECONDS)
    results = await asyncio.gather(*(fail(throttle) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, RateLimited) for result in results) == 19
    assert await wait_of(throttle) == 60


async def test_of_a_burst_with_the_right_password_all_are_heard(throttle: GuessingThrottle) -> None:
    """None of them is a failure, so none has to wait for longer than the ones before it take."""

    async def log_in() -> None:
        async with throttle.login(EMAIL, None):
            await asyncio.sleep(0.02)

    begun = time.monotonic()
    await asyncio.gather(*(log_in() for _ in range(15)))
    print(f"15 at once, five at a time, 0.02 s each: {time.monotonic() - begun:.2f} s")


async def test_who_cannot_be_heard_in_good_time_is_not_told_of_failures_that_are_none(
    throttle: GuessingThrottle,
) -> None:
    async with contextlib.AsyncExitStack() as heard:
        for _ in range(FREE_FAILURES):
            await heard.enter_async_context(throttle.login(EMAIL, None))
        with pytest.raises(Overloaded) as refused:
            await succeed(throttle)
    assert refused.value.retry_after_seconds == 1
    await succeed(throttle)


async def test_strangers_do_not_slow_a_known_device_down(throttle: GuessingThrottle) -> None:
    """The owner's device has a lane of its own (threats 5.8)."""
    device_id = new_device(throttle)
    await fail(throttle, 5)
    await wait_of(throttle)
    await succeed(throttle, device_id)
    await wait_of(throttle)


async def test_a_known_device_that_fails_waits_in_its_own_lane(throttle: GuessingThrottle) -> None:
    device_id, other_id = new_device(throttle), new_device(throttle)
    await fail(throttle, 5, device_id)
    assert await wait_of(throttle, device_id) == 30
    await fail(throttle, 1, other_id)
    await fail(throttle, 1, None)


async def test_a_device_with_a_hundred_failures_is_unknown_again(throttle: GuessingThrottle, store: Store) -> None:
    """And whoever has a copy of its token stays shut out: the owner's next login makes it another device."""
    device_id = new_device(throttle)
    await set_failures(store, CLOSING_FAILURES, device_id)
    async with throttle.login(EMAIL, device_id) as attempt:
        assert attempt.lane == UNKNOWN_DEVICES
        assert attempt.device_id is None
    await fail(throttle, 5, device_id)
    assert await wait_of(throttle, device_id) == 30


async def guess_code(throttle: GuessingThrottle, *, is_right: bool = False) -> None:
    """Show a code of a second factor."""
    async with throttle.second_factor(EMAIL) as attempt:
        assert attempt.device_id is None
        if not is_right:
            raise SecondFactorInvalid("wrong-code")


async def test_codes_have_a_lane_of_their_own_which_closes_too(throttle: GuessingThrottle, store: Store) -> None:
    for _ in range(5):
        with pytest.raises(SecondFactorInvalid):
            await guess_code(throttle)
    with pytest.raises(RateLimited) as refused:
        await guess_code(throttle, is_right=True)
    assert refused.value.retry_after_seconds == 30
    await succeed(throttle)
    await succeed(throttle, new_device(throttle))
    await set_failures(store, 99, CODES)
    with pytest.raises(SecondFactorInvalid):
        await guess_code(throttle)
    with pytest.raises(RateLimited):
        await guess_code(throttle, is_right=True)
    assert await throttle.unlock(EMAIL)
    await guess_code(throttle, is_right=True)


async def test_a_right_code_ends_the_count_of_wrong_ones_and_not_that_of_passwords(
    throttle: GuessingThrottle, store: Store
) -> None:
    await fail(throttle, 3)
    for _ in range(3):
        with pytest.raises(SecondFactorInvalid):
            await guess_code(throttle)
    await guess_code(throttle, is_right=True)
    assert set(await stored(store)) == {UNKNOWN_DEVICES.encode()}


async def test_of_a_burst_of_parallel_codes_five_are_heard(throttle: GuessingThrottle) -> None:
    heard = await asyncio.gather(*(guess_code(throttle) for _ in range(40)), return_exceptions=True)
    assert Counter(type(outcome) for outcome in heard) == {SecondFactorInvalid: 5, RateLimited: 35}


async def test_changes_of_password_have_a_lane_of_their_own_which_closes_too(
    throttle: GuessingThrottle, store: Store
) -> None:
    async def guess() -> None:
        async with throttle.change_of_password(EMAIL):
            raise InvalidCredentials

    for _ in range(5):
        with pytest.raises(InvalidCredentials):
            await guess()
    with pytest.raises(RateLimited) as refused:
        await guess()
    assert refused.value.retry_after_seconds == 30
    await succeed(throttle)
    with pytest.raises(RateLimited):
        await guess()
    await set_failures(store, CLOSING_FAILURES, "change-password")
    with pytest.raises(RateLimited) as refused:
        await guess()
    assert refused.value.retry_after_seconds == 3600
    await throttle.unlock(EMAIL)
    async with throttle.change_of_password(EMAIL):
        pass


# ----------------------------------------------------------------------------------- only a wrong password counts


@pytest.mark.parametrize("was_right", [False, True])
@pytest.mark.parametrize("error", [Overloaded(2), StoreUnavailable("AWAY"), ValueError(), asyncio.CancelledError()])
async def test_whatever_else_ends_an_attempt_leaves_all_as_it_was(
    error: BaseException, was_right: bool, throttle: GuessingThrottle, store: Store
) -> None:
    for failures in (0, 1, 3):
        await fail(throttle, failures)
        before = await stored(store), await seconds_left(store)
        for _ in range(20):
            await leave(throttle, error, was_right=was_right)
        assert await stored(store) == before[0]
        assert before[1] - 2 <= await seconds_left(store) <= before[1]
    await fail(throttle)
    assert await wait_of(throttle) == 30
    await let_pass(store, FIRST_WAIT_SECONDS)
    await leave(throttle, error, was_right=was_right)
    await fail(throttle)
    assert await wait_of(throttle) == 60


async def test_a_right_password_that_opens_no_session_is_no_wrong_one(throttle: GuessingThrottle, store: Store) -> None:
    """The user changed in between: the answer is the same, and nothing is counted."""
    for _ in range(20):
        await leave(throttle, InvalidCredentials(), was_right=True)
    assert await stored(store) == {}


async def test_a_failure_that_is_taken_back_brings_the_earlier_wait_back(
    throttle: GuessingThrottle, store: Store
) -> None:
    """It may have been written though the answer of Redis got lost."""
    await fail(throttle, 5)
    await let_pass(store, FIRST_WAIT_SECONDS)
    async with throttle.login(EMAIL, None) as attempt:
        await throttle._tell(attempt, "unheard")
        before = await stored(store), await seconds_left(store)
        await throttle._ask(attempt)
        await throttle._tell(attempt, "failure")
        assert await wait_of(throttle) == 60
        await throttle._tell(attempt, "unheard")
        assert (await stored(store), await seconds_left(store)) == before
        attempt.is_counted = False


async def test_of_parallel_attempts_the_ones_taken_back_do_not_hide_the_failures(throttle: GuessingThrottle) -> None:
    gates = [asyncio.Event() for _ in range(4)]
    errors = [InvalidCredentials(), Overloaded(1), InvalidCredentials(), asyncio.CancelledError()]

    async def attempt(gate: asyncio.Event, error: BaseException) -> None:
        async with throttle.login(EMAIL, None):
            await gate.wait()
            raise error

    tasks = [asyncio.create_task(attempt(gate, error)) for gate, error in zip(gates, errors, strict=True)]
    await asyncio.sleep(0.1)
    for gate in reversed(gates):
        gate.set()
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks, return_exceptions=True)
    await fail(throttle, 3)
    assert await wait_of(throttle) == 30


async def test_a_caller_who_is_cancelled_twice_still_takes_the_attempt_back(
    throttle: GuessingThrottle, store: Store
) -> None:
    async def attempt() -> None:
        async with throttle.login(EMAIL, None):
            await asyncio.sleep(10)

    for _ in range(10):
        task = asyncio.create_task(attempt())
        await until(lambda: stored(store))
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: is_empty(store))


async def test_a_cancelled_caller_whose_password_was_found_wrong_is_counted(throttle: GuessingThrottle) -> None:
    """Else hanging up in time would give free guesses."""

    async def attempt() -> None:
        async with throttle.login(EMAIL, None):
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            raise InvalidCredentials

    for _ in range(5):
        with pytest.raises((asyncio.CancelledError, InvalidCredentials)):
            await asyncio.create_task(attempt())
    assert await wait_of(throttle) == 30


async def test_an_attempt_that_nobody_speaks_of_again_is_forgotten_in_a_minute(
    throttle: GuessingThrottle, store: Store
) -> None:
    """As after a crash of the gateway."""
    for number in range(FREE_FAILURES):
        await throttle._ask(Attempt(hashlib.sha256(EMAIL.encode()).hexdigest(), UNKNOWN_DEVICES, f"a{number}"))
    assert 0 < await seconds_left(store) <= HEARD_SECONDS
    await let_pass(store, HEARD_SECONDS)
    await fail(throttle, 5)
    assert await wait_of(throttle) == 30


@pytest.mark.parametrize("outcome", ["unheard", "success", "failure"])
async def test_what_is_told_twice_is_told_once(outcome: str, throttle: GuessingThrottle, store: Store) -> None:
    """A command is sent again when its connection broke."""
    await fail(throttle, 2)
    async with throttle.login(EMAIL, None) as attempt:
        before = await stored(store)
        await throttle._ask(attempt)
        assert await stored(store) == before
        await throttle._tell(attempt, outcome)
        once = await stored(store)
        await throttle._tell(attempt, outcome)
        assert await stored(store) == once
        attempt.is_counted = False


async def test_a_clock_that_is_set_back_makes_no_wait_longer(throttle: GuessingThrottle, store: Store) -> None:
    await fail(throttle, 5)
    await let_pass(store, -DAY_SECONDS)
    assert await wait_of(throttle) == 30


# ------------------------------------------------------------------------------------------------------- Redis away


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until a condition holds, which Redis tells; while it is away, it does not."""
    async with asyncio.timeout(10):
        holds: object = False
        while not holds:
            with contextlib.suppress(StoreUnavailable):
                holds = await condition()
            await asyncio.sleep(0.002)


async def is_empty(store: Store) -> bool:
    return await stored(store) == {}


async def answers(store: Store) -> bool:
    return bool(await store.execute("TIME"))


async def lose_redis(server: RedisServer, throttle: GuessingThrottle, error: Exception) -> None:
    """Let Redis go away in the middle of an attempt, which ends with an error."""
    async with throttle.login(EMAIL, None):
        server.kill()
        raise error


async def test_what_could_not_be_told_is_told_before_the_next_attempt(
    own_redis: Callable[..., RedisServer], open_store: Callable[[str], Store]
) -> None:
    """Answers 503 of ours never lead to a 429, though Redis goes away in the middle of each attempt."""
    server = own_redis()
    store = open_store(server.url)
    throttle = GuessingThrottle(store, KeyChain.of(SECRET), lambda: 0, is_on=True)
    for _ in range(FREE_FAILURES + 1):
        with pytest.raises(StoreUnavailable):
            await lose_redis(server, throttle, StoreUnavailable("AWAY"))
        server.start()
        await until(lambda: answers(store))
    async with contextlib.AsyncExitStack() as heard:
        for _ in range(FREE_FAILURES):
            await heard.enter_async_context(throttle.login(EMAIL, None))
    await throttle.close()


async def test_what_could_not_be_told_is_told_when_redis_is_back(
    own_redis: Callable[..., RedisServer], open_store: Callable[[str], Store]
) -> None:
    server = own_redis()
    store = open_store(server.url)
    throttle = GuessingThrottle(store, KeyChain.of(SECRET), lambda: 0, is_on=True)
    with pytest.raises(StoreUnavailable):
        await lose_redis(server, throttle, StoreUnavailable("AWAY"))
    server.start()
    await until(lambda: is_empty(store))
    await throttle.close()


async def test_a_failure_that_cannot_be_written_is_not_told(
    own_redis: Callable[..., RedisServer], open_store: Callable[[str], Store]
) -> None:
    server = own_redis()
    throttle = GuessingThrottle(open_store(server.url), KeyChain.of(SECRET), lambda: 0, is_on=True)
    with pytest.raises(StoreUnavailable):
        await lose_redis(server, throttle, InvalidCredentials())
    await throttle.close()


# ----------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("failures", [1, 2, 4, 5, 12, 50, 99])
async def test_failures_are_forgotten_six_hours_for_each_after_the_last(
    failures: int, throttle: GuessingThrottle, store: Store
) -> None:
    """Shows ASVS 14.2.7."""
    await set_failures(store, failures - 1)
    await fail(throttle)
    memory = failures * MEMORY_SECONDS_PER_FAILURE
    assert memory - 5 <= await seconds_left(store) <= memory
    await let_pass(store, memory - 5)
    await fail(throttle)
    assert await seconds_left(store) > memory


async def test_what_is_forgotten_counts_no_more(throttle: GuessingThrottle, store: Store) -> None:
    await fail(throttle, 5)
    await let_pass(store, 5 * MEMORY_SECONDS_PER_FAILURE)
    await fail(throttle, 5)
    assert await wait_of(throttle) == 30


async def test_a_closed_lane_is_remembered_for_a_year(throttle: GuessingThrottle, store: Store) -> None:
    await set_failures(store, CLOSING_FAILURES - 1)
    await fail(throttle)
    assert CLOSED_MEMORY_SECONDS - 5 <= await seconds_left(store) <= CLOSED_MEMORY_SECONDS


async def test_a_lane_is_forgotten_by_its_own_time_though_another_is_remembered_for_longer(
    throttle: GuessingThrottle, store: Store
) -> None:
    device_id = new_device(throttle)
    await fail(throttle, 1, device_id)
    await fail(throttle, 4)
    assert await seconds_left(store) > 3 * MEMORY_SECONDS_PER_FAILURE
    await let_pass(store, MEMORY_SECONDS_PER_FAILURE, device_id)
    await fail(throttle)
    assert set(await stored(store)) == {b"unknown"}


def test_no_way_of_waiting_gives_more_than_four_guesses_a_day() -> None:
    """However many failures a guesser lets come together before he waits for them to be forgotten."""
    waits = [0] * FREE_FAILURES + [
        min(FIRST_WAIT_SECONDS * 2**over, LONGEST_WAIT_SECONDS) for over in range(CLOSING_FAILURES - FREE_FAILURES)
    ]
    rates = {
        failures: failures / (sum(waits[:failures]) + failures * MEMORY_SECONDS_PER_FAILURE) * DAY_SECONDS
        for failures in range(1, CLOSING_FAILURES)
    }
    print(f"most guesses a day: {max(rates.values()):.2f}; to the stop: {sum(waits) / DAY_SECONDS:.2f} days")
    assert max(rates.values()) <= 4
    assert all(wait < failures * MEMORY_SECONDS_PER_FAILURE for failures, wait in enumerate(waits) if failures)


# ---------------------------------------------------------------------------------------------------------- devices


async def test_a_device_keeps_its_id_over_its_logins(throttle: GuessingThrottle, clock: FakeClock) -> None:
    device_id = new_device(throttle)
    for _ in range(3):
        clock.now += KNOWN_DEVICE_SECONDS - 1
        assert throttle.device_of(*OWNER, throttle.remember_device(*OWNER, device_id)) == device_id
    assert new_device(throttle) != device_id


@pytest.mark.parametrize("other", [("usr_" + "b" * 22, 1), (OWNER[0], 2), (OWNER[0], 11), ("", 0)])
async def test_a_device_is_known_to_one_user_until_the_password_changes(
    other: tuple[str, int], throttle: GuessingThrottle
) -> None:
    assert throttle.device_of(*other, throttle.remember_device(*OWNER, None)) is None


async def test_a_device_is_forgotten_after_a_year(throttle: GuessingThrottle, clock: FakeClock) -> None:
    token = throttle.remember_device(*OWNER, None)
    clock.now += KNOWN_DEVICE_SECONDS - 1
    assert throttle.device_of(*OWNER, token) is not None
    clock.now += 1
    assert throttle.device_of(*OWNER, token) is None


async def test_any_changed_character_makes_a_device_unknown(throttle: GuessingThrottle) -> None:
    token = throttle.remember_device(*OWNER, None)
    assert token is not None
    changed = [token[:i] + ("A" if c != "A" else "B") + token[i + 1 :] for i, c in enumerate(token)]
    for one in [*changed, token + "=", token[:-1], "", "ż" * 72, token + "\n", None]:
        assert throttle.device_of(*OWNER, one) is None


async def test_a_device_known_under_a_previous_secret_stays_known(store: Store, clock: FakeClock) -> None:
    old = GuessingThrottle(store, KeyChain.of("p" * 40), clock, is_on=True).remember_device(*OWNER, None)
    new = GuessingThrottle(store, KeyChain.of(SECRET, ("p" * 40,)), clock, is_on=True)
    assert new.device_of(*OWNER, old) is not None


async def test_off_counts_nothing_and_knows_no_device(store: Store, clock: FakeClock) -> None:
    throttle = GuessingThrottle(store, KeyChain.of(SECRET), clock, is_on=False)
    await fail(throttle, 10)
    await succeed(throttle)
    assert throttle.remember_device(*OWNER, None) is None
    assert await stored(store) == {}
