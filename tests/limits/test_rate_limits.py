"""Quotas by GCRA on a real Redis; time is moved by rewriting the stored arrival time."""

import asyncio
import re
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from gateway.errors import RateLimited, StoreUnavailable
from gateway.limits.rate_limits import MICROSECONDS, RateLimiter, RateState
from gateway.settings import Quota
from gateway.store.store import Store
from gateway.web.http.client_address import rate_key
from tests.harness import RedisServer
from tests.scripts import load_script

pytestmark = pytest.mark.redis

ADDRESS = "192.0.2.7"
TEN_A_MINUTE = Quota(10, 60)


def limiter(store: Store, quota: Quota | None = TEN_A_MINUTE) -> RateLimiter:
    return RateLimiter(store, {"login": quota})


async def take(limits: RateLimiter, address: str = ADDRESS) -> RateState:
    state = await limits.take("login", address)
    assert state is not None
    return state


async def refused(limits: RateLimiter, address: str = ADDRESS) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        await limits.take("login", address)
    return caught.value


async def redis_now_us(store: Store) -> int:
    seconds, microseconds = await store.execute("TIME")
    return int(seconds) * MICROSECONDS + int(microseconds)


def rate_key_of(store: Store, address: str = ADDRESS) -> str:
    return store.key(f"rate:login:{address}")


async def stored_tat_us(store: Store) -> int:
    return int(await store.execute("GET", rate_key_of(store)))


async def let_pass(store: Store, microseconds: int) -> None:
    """Let the stored arrival time be so much closer."""
    tat_us = await stored_tat_us(store) - microseconds
    await store.execute("SET", rate_key_of(store), tat_us, "KEEPTTL")


async def take_raw(store: Store, interval_us: int, burst: int) -> list[int]:
    reply: list[int] = await store.run(load_script("gcra_take"), [rate_key_of(store)], interval_us, burst)
    return reply


@pytest.mark.parametrize("quota", [Quota(1, 60), Quota(10, 60), Quota(7, 3600), Quota(120, 60), Quota(1, 86_400)])
async def test_so_many_attempts_are_heard_and_the_next_is_not(store: Store, quota: Quota) -> None:
    limits = limiter(store, quota)
    for _ in range(quota.count):
        await take(limits)
    await refused(limits)


async def test_the_numbers_count_down_and_tell_when_the_quota_is_whole_again(store: Store) -> None:
    limits = limiter(store)
    for taken in range(1, 11):
        state = await take(limits)
        assert state.policy == '"login";q=10;w=60'
        assert state.state == f'"login";r={10 - taken};t={6 * taken}'
    error = await refused(limits)
    assert error.policy == '"login";q=10;w=60'
    assert error.state == '"login";r=0;t=60'
    assert error.retry_after_seconds == 6


async def test_an_attempt_is_heard_at_the_microsecond_that_was_told(store: Store) -> None:
    """The script answers in microseconds; a refused attempt moves nothing."""
    interval_us, burst = 6 * MICROSECONDS, 10
    for _ in range(burst):
        await take_raw(store, interval_us, burst)
    before = await redis_now_us(store)
    allowed, left, retry_us, reset_us = await take_raw(store, interval_us, burst)
    after = await redis_now_us(store)
    tat_us = await stored_tat_us(store)
    assert (allowed, left) == (0, 0)
    heard_at = tat_us + interval_us - burst * interval_us
    assert heard_at - after <= retry_us <= heard_at - before
    assert tat_us - after <= reset_us <= tat_us - before
    # Half a second before that moment it is not heard, and at the moment itself it is.
    await let_pass(store, heard_at - await redis_now_us(store) - MICROSECONDS // 2)
    assert (await take_raw(store, interval_us, burst))[0] == 0
    await let_pass(store, MICROSECONDS // 2)
    assert (await take_raw(store, interval_us, burst))[0] == 1
    assert (await take_raw(store, interval_us, burst))[0] == 0


@pytest.mark.parametrize(("wait_us", "told"), [(300_000, 1), (1_000_000, 1), (1_300_000, 2), (5_900_000, 6)])
async def test_the_wait_is_told_in_whole_seconds_rounded_up(store: Store, wait_us: int, told: int) -> None:
    """Never 0, and never too early."""
    limits = limiter(store)
    for _ in range(10):
        await take(limits)
    heard_at = await stored_tat_us(store) - 54 * MICROSECONDS
    await let_pass(store, heard_at - await redis_now_us(store) - wait_us)
    assert (await refused(limits)).retry_after_seconds == told


async def test_after_a_pause_the_whole_quota_is_there_again_and_no_more(store: Store) -> None:
    limits = limiter(store)
    for _ in range(10):
        await take(limits)
    await let_pass(store, 86_400 * MICROSECONDS)
    for _ in range(10):
        await take(limits)
    await refused(limits)


async def test_attempts_at_the_steady_rate_are_always_heard(store: Store) -> None:
    limits = limiter(store)
    for _ in range(10):
        await take(limits)
    for _ in range(50):
        await let_pass(store, 6 * MICROSECONDS)
        await take(limits)
    await refused(limits)


async def test_a_refused_attempt_is_not_counted(store: Store) -> None:
    limits = limiter(store)
    for _ in range(10):
        await take(limits)
    before = await stored_tat_us(store)
    for _ in range(20):
        await refused(limits)
    assert await stored_tat_us(store) == before


@pytest.mark.parametrize("quota", [Quota(3, 10), Quota(10, 60), Quota(7, 3600), Quota(1000, 86_400)])
async def test_the_key_lives_no_longer_than_its_window(store: Store, quota: Quota) -> None:
    limits = limiter(store, quota)
    for _ in range(min(quota.count, 20)):
        await take(limits)
        assert 0 < await store.execute("PTTL", rate_key_of(store)) <= quota.window_seconds * 1000
    tat_us = await stored_tat_us(store)
    expires_ms: int = await store.execute("PEXPIRETIME", rate_key_of(store))
    assert abs(expires_ms - tat_us / 1000) <= 10


async def test_all_gateways_share_one_quota(store: Store, redis_server: RedisServer) -> None:
    other = Store(redis_server.url, store.prefix)
    try:
        mine, theirs = limiter(store), limiter(other)
        for _ in range(5):
            await take(mine)
            await take(theirs)
        await refused(mine)
        await refused(theirs)
    finally:
        await other.close()


async def test_never_more_than_the_quota_gets_through_at_once(store: Store) -> None:
    limits = limiter(store)
    answers = await asyncio.gather(*(take(limits) for _ in range(100)), return_exceptions=True)
    heard = [answer for answer in answers if isinstance(answer, RateState)]
    assert len(heard) == 10
    assert {type(answer) for answer in answers} == {RateState, RateLimited}
    assert sum(state.state.startswith('"login";r=0;') for state in heard) == 1


async def test_addresses_and_limits_do_not_share_a_quota(store: Store) -> None:
    limits = RateLimiter(store, {"login": Quota(1, 60), "refresh": Quota(1, 60)})
    await limits.take("login", "192.0.2.7")
    await limits.take("login", "192.0.2.8")
    await limits.take("refresh", "192.0.2.7")
    await refused(limits)


async def test_a_limit_that_is_off_counts_nothing(store: Store) -> None:
    limits = limiter(store, None)
    for _ in range(50):
        assert await limits.take("login", ADDRESS) is None
        assert await limits.take("unheard of", ADDRESS) is None
    assert [key async for key in store.scan("*")] == []


async def test_addresses_are_counted_by_what_one_customer_holds(store: Store) -> None:
    """IPv4 whole, IPv6 by its /64; every key is of a known form."""
    limits = limiter(store, Quota(1, 60))
    addresses = ["192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8:0:1::1", "::1", "fe80::1"]
    for address in addresses:
        await take(limits, rate_key(ip_address(address)))
    for neighbour in ("2001:db8::ffff:1", "2001:db8:0:1:ffff::", "192.0.2.7"):
        await refused(limits, rate_key(ip_address(neighbour)))
    keys = [key.removeprefix(store.prefix) async for key in store.scan("*")]
    assert len(keys) == len(addresses)
    assert all(re.fullmatch(r"rate:login:([0-9.]+|[0-9a-f:]+/64)", key) for key in keys)


async def test_a_smaller_quota_holds_at_once_and_locks_nobody_out(store: Store) -> None:
    """What was taken from a quota of a day does not count for a day against one of a minute."""
    generous = limiter(store, Quota(1000, 86_400))
    for _ in range(1000):
        await take(generous)
    strict = limiter(store, TEN_A_MINUTE)
    error = await refused(strict)
    assert error.retry_after_seconds == 6
    assert error.state == '"login";r=0;t=60'
    assert await store.execute("PTTL", rate_key_of(store)) <= 60_000
    await let_pass(store, 6 * MICROSECONDS)
    await take(strict)


async def test_a_clock_that_was_set_back_locks_nobody_out(store: Store) -> None:
    """A server that took over may be behind: nobody waits longer than the window."""
    limits = limiter(store)
    await take(limits)
    await let_pass(store, -3600 * MICROSECONDS)
    assert (await refused(limits)).retry_after_seconds == 6
    await let_pass(store, 6 * MICROSECONDS)
    await take(limits)


async def test_a_quota_of_more_than_one_attempt_a_microsecond_is_no_fault(store: Store) -> None:
    limits = limiter(store, Quota(10_000_000, 1))
    for _ in range(3):
        assert (await take(limits)).state.startswith('"login";r=9999999;t=')


async def test_an_error_is_no_free_attempt(own_redis: Callable[..., RedisServer]) -> None:
    """Full, or away: not heard, and not counted as too many either."""
    server = own_redis()
    store = Store(server.url, "gw:")
    try:
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await take(limiter(store))
        server.kill()
        with pytest.raises(StoreUnavailable):
            await take(limiter(store))
    finally:
        await store.close()
