"""
Row 17: the CPU that one call to Redis takes, with one caller and with 100, against redis-py's own pool of connections,
which knows no deadline, no breaker and no budget.
"""

import asyncio
import hashlib
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop
from redis.asyncio import ConnectionPool, Redis

from benchmarks.measuring import Row, chosen, median_ratio, publish
from benchmarks.processes import pinned, server_cores
from benchmarks.servers import redis_at, workplace
from gateway.errors import StoreUnavailable
from gateway.store import Script, Store

CALLS = chosen(20_000, 200)
ROUNDS = chosen(7, 1)
CALLERS = (1, 100)
TARGETS = {1: 1.0, 100: 2.0}
TEXT = "return {'rotated', ARGV[1], KEYS[1], 1, 2, 3}"
SCRIPT = Script("of_the_benchmark", TEXT, hashlib.sha1(TEXT.encode(), usedforsecurity=False).hexdigest())
USER = ("email", "ann@example.com", "name", "Ann Example", "roles", "demo,staff", "is_active", "1", "created_at")
HASH = (*USER, "1790000000", "password_hash", "$2b$12$" + "x" * 53, "password_version", "1")
Call = Callable[[], Awaitable[object]]


async def cpu_us(call: Call, callers: int) -> float:
    """Give the microseconds of CPU of one of `CALLS` calls."""

    async def keep_calling() -> None:
        for _ in range(CALLS // callers):
            await call()

    await asyncio.gather(*(call() for _ in range(callers)))
    begun = time.process_time()
    await asyncio.gather(*(keep_calling() for _ in range(callers)))
    return (time.process_time() - begun) / (CALLS // callers * callers) * 1e6


async def measure(url: str) -> list[Row]:
    """Give a row for each kind of call and number of callers."""
    store, bare = Store(url, "gw:"), Redis.from_pool(ConnectionPool.from_url(url))
    await store.execute("HSET", "gw:user", *HASH)
    words = ("EVALSHA", SCRIPT.sha1, 1, "gw:a", "x" * 22, 1, 2)
    kinds: dict[str, tuple[Call, Call]] = {
        "EVALSHA": (lambda: store.run(SCRIPT, ["gw:a"], *words[4:]), lambda: bare.execute_command(*words)),
        "HGETALL": (lambda: store.fields("gw:user"), lambda: bare.execute_command("HGETALL", "gw:user")),
    }
    rows: list[Row] = []
    for kind, (ours, theirs) in kinds.items():
        for callers in CALLERS:
            measured, ceilings = [], []
            for _ in range(ROUNDS):
                measured.append(await cpu_us(ours, callers))
                ceilings.append(await cpu_us(theirs, callers))
            who = "one caller" if callers == 1 else f"{callers} callers"
            rows.append(
                Row(
                    f"17{'abcd'[len(rows)]}",
                    f"a call to Redis, {kind}, {who}",
                    f"{statistics.median(measured):.1f} µs",
                    f"redis-py's pool {statistics.median(ceilings):.1f} µs",
                    median_ratio(ceilings, measured),
                    TARGETS[callers],
                )
            )
    await store.close()
    await bare.aclose()
    return rows


def main() -> None:
    with workplace() as folder, redis_at(folder) as redis, pinned(server_cores()):
        try:
            rows = uvloop.run(measure(redis.url))
        except StoreUnavailable as error:
            sys.exit(f"store-unavailable: {error.cause}")
        publish("store", rows)


if __name__ == "__main__":
    main()
