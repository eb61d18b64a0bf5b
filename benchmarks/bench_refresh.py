"""
Row 3: refreshes for each CPU second of the gateway's process, against RSA-2048 signatures of `cryptography` for each
CPU second: how much of its work is the one thing that cannot be saved? Redis and the client are on the other core.
"""

import statistics
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from benchmarks.clients import Refreshes, drive
from benchmarks.filling import Filler, hash_password
from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.processes import TICKS_PER_SECOND, pinned, resident_kib, server_cores
from benchmarks.servers import gateway_at, pid_of, redis_at, workplace

FAMILIES = chosen(2000, 100)
ROUNDS, SECONDS, WARM_UP_SECONDS, SIGNING_SECONDS = chosen((5, 4.0, 1.0, 2.0), (1, 0.3, 0.1, 0.1))
SIGNED_BYTES = 600
TARGETS = {"3a": 0.55, "3b": 0.5}
VARIANTS = (("3a", "refresh", "off"), ("3b", "refresh, refresh_limit counted", "999999/second"))


def signing_key() -> rsa.RSAPrivateKey:
    """Give a key as the gateway makes them."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def signatures_per_cpu_second(key: rsa.RSAPrivateKey) -> float:
    """Sign for a while on the core of the server under test."""
    message, scheme, digest = b"x" * SIGNED_BYTES, padding.PKCS1v15(), hashes.SHA256()
    with pinned(server_cores()):
        begun, count = time.process_time(), 0
        while (used := time.process_time() - begun) < SIGNING_SECONDS:
            for _ in range(20):
                key.sign(message, scheme, digest)
            count += 20
    return count / used


def main() -> None:
    rows = []
    key = signing_key()
    with workplace() as folder, redis_at(folder) as redis:
        filler = Filler(redis.port, hash_password(4))
        filler.add_users(FAMILIES * len(VARIANTS))
        filler.add_sessions(FAMILIES * len(VARIANTS))
        for place, (number, name, limit) in enumerate(VARIANTS):
            families = Refreshes(filler.refresh_tokens(list(range(place * FAMILIES, (place + 1) * FAMILIES))))
            with gateway_at(redis, refresh_limit=limit) as gateway:
                port, pid = gateway.port, pid_of(gateway)
                drive(port, families, seconds=WARM_UP_SECONDS)
                samples, signatures = in_turn(
                    lambda: drive(port, families, pid, seconds=SECONDS),  # noqa: B023 - used at once
                    lambda: signatures_per_cpu_second(key),
                    ROUNDS,
                )
                rss_mib = resident_kib(pid) / 1024
            refreshes = [sample.requests / max(sample.cpu_seconds, 1 / TICKS_PER_SECOND) for sample in samples]
            details = {
                "p50_ms": statistics.median(sample.p50_ms for sample in samples),
                "p99_ms": statistics.median(sample.p99_ms for sample in samples),
                "requests_per_second": statistics.median(sample.rate for sample in samples),
                "cpu_seconds": sum(sample.cpu_seconds for sample in samples),
                "cpu_us_per_request": 1e6 / statistics.median(refreshes),
                "cpu_us_per_signature": 1e6 / statistics.median(signatures),
                "rss_mib": rss_mib,
            }
            measured = f"{statistics.median(refreshes):,.0f} refreshes/CPU s"
            ceiling = f"{statistics.median(signatures):,.0f} signatures/CPU s"
            ratio = median_ratio(refreshes, signatures)
            rows.append(Row(number, name, measured, ceiling, ratio, TARGETS[number], details=details))
    publish("refresh", rows)


if __name__ == "__main__":
    main()
