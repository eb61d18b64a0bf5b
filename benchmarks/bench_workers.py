"""
Row 14: two workers against one, at subrequests and at refreshes. Where the machine has two cores for the workers and
two more for the load it is their rate that counts (14a, 14b). Where it has not, it is the CPU of a request: what a
worker has to do must not become more for there being another one. Then it is measured with both workers on the core of
the one (14a, 14b), and with nothing bound, so that workers and load share two cores (14c, 14d). Two workers have twice
the connections, so that each has as many as the one alone.
"""

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.clients import Refreshes, drive
from benchmarks.filling import Filler, hash_password
from benchmarks.measuring import IS_BRIEF, Row, chosen, in_turn, median_ratio, publish
from benchmarks.processes import cpu_seconds, load_cores, pinned, server_cores, waits
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
THREADS_OF_THE_LOAD = WORKERS if HAVE_CORES_OF_THEIR_OWN else 1  # one of wrk keeps 1.4 workers busy
KINDS = ("subrequest", "refresh")


@dataclass(frozen=True)
class Cores:
    """Where the workers run, where the load does, and how rows call it."""

    workers: set[int]
    load: set[int]
    name: str


@dataclass(frozen=True)
class Rounds:
    """What two workers and one came to, how often they slept, and which part of the two's CPU was the busier one's."""

    two: list[Sample]
    one: list[Sample]
    two_slept: list[float]
    one_slept: list[float]
    busier_shares: list[float]


def row_of(number: str, name: str, where: str, rounds: Rounds) -> Row:
    """Give the row of one kind of request: by rates, or by CPU."""
    both = (rounds.two, rounds.one)
    rates, cpu_us = ([[getattr(s, figure) for s in samples] for samples in both] for figure in ("rate", "cpu_us"))
    rate, cpu = ([statistics.median(values) for values in pair] for pair in (rates, cpu_us))
    details = {
        "requests_per_second": rate,
        "cpu_us_per_request": cpu,
        "p50_ms": [statistics.median(sample.p50_ms for sample in samples) for samples in both],
        "p99_ms": [statistics.median(sample.p99_ms for sample in samples) for samples in both],
        "cpu_seconds": [sum(sample.cpu_seconds for sample in samples) for samples in both],
        "sleeps_per_1000_requests": [statistics.median(slept) for slept in (rounds.two_slept, rounds.one_slept)],
        "busier_share": statistics.median(rounds.busier_shares),
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
        f"{name}, CPU with two workers{where}",
        f"{cpu[0]:.1f} µs",
        f"one worker {cpu[1]:.1f} µs",
        median_ratio(cpu_us[1], cpu_us[0]),
        WITHIN,
        details=details,
    )


def worker_cpu_seconds(gateway: GatewayProcess) -> list[float]:
    """Give what each process that a gateway has started has used of CPUs so far."""
    pid = pid_of(gateway)
    return [cpu_seconds(int(child)) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(cores: Cores) -> dict[str, Rounds]:
    """Give what two workers and one come to, by the kind of request."""
    with (
        pinned(cores.load | server_cores()),
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_at(redis, cores.workers, workers=1, access_token_ttl_seconds=3600) as alone,
        gateway_at(redis, cores.workers, workers=WORKERS, access_token_ttl_seconds=3600) as together,
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
                cores=cores.load,
                threads=THREADS_OF_THE_LOAD,
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
            return drive(
                port,
                families[port],
                pid_of(gateway),
                seconds=seconds,
                connections=connections[port],
                cores=cores.load,
                asks_again=IS_BRIEF,
            )

        def counted(load: Callable[..., Sample], gateway: GatewayProcess, slept: list[float]) -> Sample:
            before = waits(pid_of(gateway))
            sample = load(gateway)
            slept.append((waits(pid_of(gateway)) - before) / sample.requests * 1000)
            return sample

        def load_two(load: Callable[..., Sample], slept: list[float], busier_shares: list[float]) -> Sample:
            before = worker_cpu_seconds(together)
            sample = counted(load, together, slept)
            used = [now - then for now, then in zip(worker_cpu_seconds(together), before, strict=True)]
            busier_shares.append(max(used) / (sum(used) or 1))
            return sample

        measured = dict[str, Rounds]()
        for name, load in zip(KINDS, (ask, refresh), strict=True):
            for gateway in both:
                load(gateway, WARM_UP_SECONDS)
            two_slept, one_slept, shares = list[float](), list[float](), list[float]()
            two, one = in_turn(
                partial(load_two, load, two_slept, shares), partial(counted, load, alone, one_slept), ROUNDS
            )
            measured[name] = Rounds(two, one, two_slept, one_slept, shares)
    return measured


def main() -> None:
    if HAVE_CORES_OF_THEIR_OWN:
        arrangements = [Cores(set(CORES[:WORKERS]), set(CORES[WORKERS:]), "")]
    else:
        arrangements = [Cores(server_cores(), load_cores(), " on one core"), Cores(set(CORES), set(CORES), "")]
    print(f"{len(CORES)} cores, so two workers are compared by {'rate' if HAVE_CORES_OF_THEIR_OWN else 'CPU'}")
    numbers = iter(("14a", "14b", "14c", "14d"))
    publish(
        "workers",
        [
            row_of(next(numbers), name, cores.name, rounds)
            for cores in arrangements
            for name, rounds in measure(cores).items()
        ],
    )


if __name__ == "__main__":
    main()
