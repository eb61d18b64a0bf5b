"""A gateway ends: its followers with it, even those that lose a cancellation, and it says what it has counted."""

import asyncio
import time
from collections.abc import Callable

import pytest

from gateway.tasks import end_tasks
from tests.harness import GatewayProcess, RedisServer

ENDED_WITHIN_SECONDS = 3.0


async def test_a_task_that_loses_cancellations_is_cancelled_until_it_ends() -> None:
    """As redis-py does on Python 3.11, where `asyncio.wait_for` can lose one."""
    lost = 0

    async def follow() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost == 3:
                    raise
                lost += 1

    async def fail() -> None:
        raise ValueError

    tasks = [asyncio.create_task(follow()), asyncio.create_task(fail())]
    await asyncio.sleep(0)
    async with asyncio.timeout(ENDED_WITHIN_SECONDS):
        await end_tasks(tasks)
    assert lost == 3
    assert all(task.done() for task in tasks)
    await end_tasks([])


@pytest.mark.redis
@pytest.mark.parametrize("redis", ["there", "killed"])
def test_a_gateway_ends_at_once_whether_redis_is_there_or_not(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess], redis: str
) -> None:
    server = own_redis()
    slowest, rounds = 0.0, 4
    for _ in range(rounds):
        gateway = make_gateway(redis_url=server.url)
        if redis == "killed":
            server.kill()
            time.sleep(0.3)
        begun = time.monotonic()
        gateway.stop()
        slowest = max(slowest, time.monotonic() - begun)
        if redis == "killed":
            server.start()
    print(f"Redis {redis}: {rounds} gateways ended, the slowest after {slowest:.2f} s")
    assert slowest < ENDED_WITHIN_SECONDS
