"""
Row 4: logins a second at cost 10 and 12 with the whole machine for it, against bcrypt hashes a second on as many
threads as there are cores: what is left of the cores when each hash becomes a session? Gateway, Redis and client have
to share them. Each round is a number of logins that the threads divide evenly, from the first to the last.
"""

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from benchmarks.clients import Logins, drive
from benchmarks.filling import Filler, email_of, hash_password
from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.processes import resident_kib
from benchmarks.servers import gateway_at, pid_of, redis_at, workplace

CORES = os.sched_getaffinity(0)
USERS = 1000
PREHASHED_BYTES = 64
TARGET = 0.95
# Cost, logins of a round, rounds.
VARIANTS = chosen((("4a", 10, 80, 5), ("4b", 12, 20, 5)), (("4a", 6, 8, 1), ("4b", 8, 4, 1)))


def hashes_per_second(cost: int, count: int) -> float:
    known = bcrypt.hashpw(b"x" * PREHASHED_BYTES, bcrypt.gensalt(cost))
    with ThreadPoolExecutor(len(CORES)) as pool:
        begun = time.perf_counter()
        for matches in pool.map(lambda _: bcrypt.checkpw(b"x" * PREHASHED_BYTES, known), range(count)):
            assert matches
        return count / (time.perf_counter() - begun)


def main() -> None:
    rows = []
    for number, cost, each, rounds in VARIANTS:
        count = each // len(CORES) * len(CORES) or len(CORES)
        with workplace() as folder, redis_at(folder) as redis:
            filler = Filler(redis.port, hash_password(cost))
            filler.add_users(USERS)
            emails = [email_of(user) for user in range(USERS)]
            with gateway_at(redis, CORES, bcrypt_cost=cost, insecure_test_settings=str(cost < 10).lower()) as gateway:
                port, pid = gateway.port, pid_of(gateway)
                connections = 2 * len(CORES)
                drive(port, Logins(emails, len(CORES)), connections=connections, cores=CORES)
                samples, ceilings = in_turn(
                    lambda: drive(port, Logins(emails, count), pid, connections=connections, cores=CORES),  # noqa: B023
                    lambda: hashes_per_second(cost, count),  # noqa: B023 - both are used at once
                    rounds,
                )
                rss_mib = resident_kib(pid) / 1024
        rates = [sample.rate for sample in samples]
        details = {
            "p50_ms": statistics.median(sample.p50_ms for sample in samples),
            "p99_ms": statistics.median(sample.p99_ms for sample in samples),
            "cpu_seconds": sum(sample.cpu_seconds for sample in samples),
            "cpu_ms_per_login": statistics.median(sample.cpu_us for sample in samples) / 1000,
            "ms_per_hash_on_one_core": 1000 * len(CORES) / statistics.median(ceilings),
            "rss_mib": rss_mib,
        }
        measured, ceiling = f"{statistics.median(rates):.1f} logins/s", f"{statistics.median(ceilings):.1f} hashes/s"
        ratio = median_ratio(rates, ceilings)
        rows.append(Row(number, f"login, bcrypt cost {cost}", measured, ceiling, ratio, TARGET, details=details))
    publish("login", rows)


if __name__ == "__main__":
    main()
