"""
Row 14: two workers against one, at subrequests and at refreshes. Where the machine has two cores for the workers and
two more for the load it is their rate that counts; where it has not, both workers share the core of the one, and it is
the CPU of a request that counts: what a worker has to do must not become more for there being another one. Two workers
have twice the connections, so that each has as many as the one alone.
"""

import os
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.clients import Refreshes, drive
from benchmarks.filling import Filler, hash_password
from benchmarks.measuring import IS_BRIEF, Row, chosen, in_turn, median_ratio, publish
from benchmarks.processes import pinned, server_cores
from benchmarks.servers import bearing, gateway_at, mint, pid_of, redis_at, request_file, workplace
from benchmarks.wrk import Sample, press
from tests.harness import GatewayProcess

PATH = "/api/authz/auth-request"
WORKERS = 2
CONNECTIONS_OF_A_WORKER = chosen(16, 4)
FAMILIES = chosen(2000, 100)
ROUNDS, SECONDS, WARM_UP_SECONDS = chosen((5, 2.0, 1.0), (1, 0.2, 0.2))
WITHIN = 0.97
TIMES = {"subrequest": 1.9, "refresh": 1.8}

CORES = sorted(os.sched_getaffinity(0))
HAVE_CORES_OF_THEIR_OWN = len(CORES) >= 2 * WORKERS
WORKERS_CORES = set(CORES[:WORKERS]) if HAVE_CORES_OF_THEIR_OWN else server_cores()


def row_of(number: str, name: str, two: list[Sample], one: list[Sample]) -> Row:
    """Give the row of one kind of request: by rates, or by CPU."""
    rates = [[sample.rate for sample in samples] for samples in (two, one)]
    cpu_us = [[sample.cpu_us for sample in samples] for samples in (two, one)]
    rate, cpu = ([statistics.median(values) for values in pair] for pair in (rates, cpu_us))
    details = {
        "cores_of_the_workers": len(WORKERS_CORES),
        "requests_per_second": rate,
        "cpu_us_per_request": cpu,
        "p50_ms": [statistics.median(sample.p50_ms for sample in samples) for samples in (two, one)],
        "p99_ms": [statistics.median(sample.p99_ms for sample in samples) for samples in (two, one)],
        "cpu_seconds": [sum(sample.cpu_seconds for sample in samples) for samples in (two, one)],
    }
    if HAVE_CORES_OF_THEIR_OWN:
        return Row(
            number,
            f"{name}, two workers against one",
            f"{rate[0]:,.0f}/s",
            f"{rate[1]:,.0f}/s",
            median_ratio(*rates),
            TIMES[name],
            details=details,
        )
    return Row(
        number,
        f"{name}, CPU with two workers on one core",
        f"{cpu[0]:.1f} µs",
        f"one worker {cpu[1]:.1f} µs",
        median_ratio(cpu_us[1], cpu_us[0]),
        WITHIN,
        details=details,
    )


def main() -> None:
    means = "by rate: each worker has a core" if HAVE_CORES_OF_THEIR_OWN else "by CPU: the workers share a core"
    print(f"{len(CORES)} cores, so two workers are compared {means}")
    # The load and Redis keep away from all cores of the workers.
    with (
        pinned(set(CORES) - (WORKERS_CORES - {CORES[0]})),
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_at(redis, WORKERS_CORES, workers=1, access_token_ttl_seconds=3600) as alone,
        gateway_at(redis, WORKERS_CORES, workers=WORKERS, access_token_ttl_seconds=3600) as together,
    ):
        both = (together, alone)
        connections = {alone.port: CONNECTIONS_OF_A_WORKER, together.port: WORKERS * CONNECTIONS_OF_A_WORKER}
        requests = dict[int, Path]()
        for gateway in both:
            (own := folder / str(gateway.port)).mkdir()
            requests[gateway.port] = request_file(own, PATH, bearing(mint(gateway, 1)))

        def ask(gateway: GatewayProcess, seconds: float = SECONDS, *, refusals: bool = False) -> Sample:
            return press(
                gateway.url,
                seconds,
                pid_of(gateway),
                requests=requests[gateway.port],
                connections=connections[gateway.port],
                refusals=refusals,
            )

        while ask(together, WARM_UP_SECONDS, refusals=True).refused:
            pass  # one worker is ready, another one not yet

        filler = Filler(redis.port, hash_password(4))
        filler.add_users(2 * FAMILIES)
        filler.add_sessions(2 * FAMILIES)
        halves = (list(range(FAMILIES)), list(range(FAMILIES, 2 * FAMILIES)))
        families = {
            gateway.port: Refreshes(filler.refresh_tokens(half)) for gateway, half in zip(both, halves, strict=True)
        }

        def refresh(gateway: GatewayProcess, seconds: float = SECONDS) -> Sample:
            port = gateway.port
            count = connections[port]
            return drive(port, families[port], pid_of(gateway), seconds=seconds, connections=count, asks_again=IS_BRIEF)

        kinds: tuple[tuple[str, str, Callable[..., Sample]], ...] = (
            ("14a", "subrequest", ask),
            ("14b", "refresh", refresh),
        )
        rows = []
        for number, name, load in kinds:
            for gateway in both:
                load(gateway, WARM_UP_SECONDS)
            two, one = in_turn(lambda: load(together), lambda: load(alone), ROUNDS)  # noqa: B023 - used at once
            rows.append(row_of(number, name, two, one))
    publish("workers", rows)


if __name__ == "__main__":
    main()
