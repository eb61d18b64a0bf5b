"""
Row 13: what a signed list of ended sessions costs a gateway, when nobody, 1,000 and 100,000 sessions were ended in the
last hour, as a share of the five seconds after which it is made again at the earliest; and how much longer the slowest
of a hundred subrequests takes while lists are made and fetched and sessions end, than while another gateway on the same
machine does that: who ends sessions, who asks and Redis share its cores with the gateway in both.
"""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from functools import partial
from itertools import count

from benchmarks.bench_flood import probe
from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish, quantile
from benchmarks.servers import child_environment, gateway_at, mint, redis_at, workplace
from gateway.derived_keys import KeyChain
from gateway.sessions import StatusBits, StatusIndex
from gateway.state import Gateway
from gateway.tokens import StatusClaims, StatusLists
from tests.harness import SECRET, GatewayProcess, in_gateway

LIST_POSITIONS = 2**20
MADE_AGAIN_AFTER_SECONDS = 5
ENDED = chosen((0, 1000, 100_000), (0, 100, 1000))
LISTS, ROUNDS, PROBE_SECONDS = chosen((400, 3, 15.0), (2, 1, 0.3))
AT_ONCE = 500
PAUSE_SECONDS = 0.2
MOST_OF_A_CORE, MOST_OF_ELSEWHERE = 0.01, 1.5


def session_ids(number: int, wanted: int) -> list[str]:
    """Give so many that are anywhere in a list."""
    keys = KeyChain.of(SECRET).current
    return [StatusIndex(number, place).session_id(keys) for place in random.sample(range(LIST_POSITIONS), wanted)]


async def list_number(opened: Gateway) -> int:
    """Give the list that this gateway is at."""
    await opened.status_indexes.new_session_id()
    return opened.status_indexes.latest


async def cost(opened: Gateway, ended: int) -> dict[str, float]:
    """Give what a list costs, in milliseconds of CPU, and what it weighs; and what it costs to learn of one end."""
    await opened.keyring.open()
    number = await list_number(opened)
    bits = StatusBits(opened.status_indexes.find)
    ids, ticks = session_ids(number, ended), count()
    begun = time.process_time()
    for session_id in ids:
        bits.learned(session_id)
    learning_us = (time.process_time() - begun) / max(1, ended) * 1e6
    lists = StatusLists(
        opened.access_tokens,
        opened.keyring,
        StatusClaims(opened.settings.issuer_origin, opened.status_indexes.find),
        bits,
        clock=opened.clock,
        monotonic=lambda: 1000.0 * next(ticks),  # each asking finds the list too old
    )
    taken = []
    for _ in range(LISTS):
        begun = time.process_time()
        signed, _ = await lists.give(number)
        taken.append((time.process_time() - begun) * 1000)
    return {"cpu_ms": statistics.median(taken), "token_bytes": len(signed.token), "learning_us": learning_us}


async def end(opened: Gateway, ended: int) -> int:
    """Announce ended sessions, as many as the second argument says, and give the list that they are in."""
    number = await list_number(opened)
    ids = session_ids(number, ended)
    for first in range(0, ended, AT_ONCE):
        await opened.revocations.announce(tuple(ids[first : first + AT_ONCE]))
    return number


def fetch(uri: str) -> bytes:
    with urllib.request.urlopen(uri) as answer:
        body: bytes = answer.read()
    return body


async def disturb(opened: Gateway, uri: str) -> None:
    """End a session and ask for the list, over and over."""
    while True:
        number = await end(opened, 1)
        await asyncio.to_thread(fetch, f"{uri}/status/{number}")
        await asyncio.sleep(PAUSE_SECONDS)


def main() -> None:
    rows = []
    cores = os.sched_getaffinity(0)
    with (
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_at(redis, cores) as gateway,
        gateway_at(redis, cores) as another,
    ):
        for place, ended in enumerate(ENDED):
            found = in_gateway(gateway.env, partial(cost, ended=ended))
            rows.append(
                Row(
                    f"13{'abc'[place]}",
                    f"status list, {ended:,} ended in an hour",
                    f"{found['cpu_ms']:.2f} ms",
                    f"of {MADE_AGAIN_AFTER_SECONDS} s",
                    found["cpu_ms"] / 1000 / MADE_AGAIN_AFTER_SECONDS,
                    MOST_OF_A_CORE,
                    at_most=True,
                    details={"token_bytes": found["token_bytes"], "learning_us": found["learning_us"]},
                )
            )
        (access_token,) = mint(gateway, 1)
        in_gateway(gateway.env, partial(end, ended=ENDED[-1]))
        time.sleep(chosen(15, 0.5))  # the gateway reads them a page at a time

        def disturbed(who: GatewayProcess) -> list[float]:
            command = [sys.executable, "-m", "benchmarks.bench_status_lists", who.url]
            with subprocess.Popen(command, env=child_environment() | dict(who.env)) as disturber:
                time.sleep(1)
                taken = probe(gateway, access_token, PROBE_SECONDS)
                assert disturber.poll() is None
                disturber.terminate()
            return taken

        made, others = in_turn(
            lambda: disturbed(gateway),
            lambda: (disturbed(another), probe(gateway, access_token, PROBE_SECONDS)),
            ROUNDS,
        )
    elsewhere, idle = ([pair[place] for pair in others] for place in (0, 1))
    p99 = [[quantile(taken, 0.99) for taken in rounds] for rounds in (made, elsewhere, idle)]
    rows.append(
        Row(
            "13d",
            f"authz p99 while lists of {ENDED[-1]:,} are made",
            f"{statistics.median(p99[0]):.2f} ms",
            f"by another gateway {statistics.median(p99[1]):.2f} ms",
            median_ratio(p99[0], p99[1]),
            MOST_OF_ELSEWHERE,
            at_most=True,
            details={
                "idle_p99_ms": statistics.median(p99[2]),
                "ratio_to_idle": [median_ratio(rounds, p99[2]) for rounds in p99[:2]],
                "p50_ms": [statistics.median(quantile(taken, 0.5) for taken in rounds) for rounds in (made, elsewhere)],
                "worst_ms": [max(max(taken) for taken in rounds) for rounds in (made, elsewhere)],
                "asked": [sum(len(taken) for taken in rounds) for rounds in (made, elsewhere)],
            },
        )
    )
    publish("status_lists", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        in_gateway(dict(os.environ), partial(disturb, uri=sys.argv[1]))  # noqa: TID251 - its settings
    else:
        main()
