"""
Row 7: how much longer the slowest of a hundred subrequests takes while 200 clients try passwords at cost 12, than
while nobody does. Nothing is pinned: gateway, bcrypt's threads, Redis, the flood and the prober share the machine.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time

from benchmarks.measuring import FOLDER, Row, chosen, in_turn, median_ratio, publish, quantile
from benchmarks.processes import resident_kib
from benchmarks.servers import child_environment, gateway_at, mint, pid_of, redis_at, workplace
from tests.harness import GatewayProcess

CLIENTS = chosen(200, 20)
COST = chosen(12, 8)
ROUNDS, FLOOD_SECONDS, IDLE_SECONDS, WARM_UP_SECONDS = chosen((3, 10.0, 6.0, 1.0), (1, 0.6, 0.3, 0.3))
PAUSE_SECONDS = 0.002
TARGET = 2.0


def probe(gateway: GatewayProcess, access_token: str, seconds: float) -> list[float]:
    """Ask one subrequest after another, with a pause between, and give the milliseconds that each took."""
    request = "GET /api/authz/auth-request HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + access_token + "\r\n\r\n"
    taken, ends = [], time.perf_counter() + seconds
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        while (begun := time.perf_counter()) < ends:
            connection.sendall(request.encode())
            answer = connection.recv(65_536)
            taken.append((time.perf_counter() - begun) * 1000)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert answer.endswith(b"\r\n\r\n"), answer
            time.sleep(PAUSE_SECONDS)
    return taken


def main() -> None:
    answers: list[dict[str, int]] = []
    settings = {"trusted_proxies": "127.0.0.1", "bcrypt_cost": COST}
    if COST < 10:
        settings["insecure_test_settings"] = "true"
    with (
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_at(redis, os.sched_getaffinity(0), **settings) as gateway,
    ):
        (access_token,) = mint(gateway, 1)

        def flooded() -> list[float]:
            seconds = str(FLOOD_SECONDS + 2 * WARM_UP_SECONDS)
            command = [sys.executable, str(FOLDER.parent / "tests" / "login_flood.py"), str(gateway.port), str(CLIENTS)]
            with subprocess.Popen(
                [*command, seconds, "203.0.113.66"], env=child_environment(), stdout=subprocess.PIPE, text=True
            ) as flood:
                time.sleep(WARM_UP_SECONDS)
                taken = probe(gateway, access_token, FLOOD_SECONDS)
                answers.append(json.loads(flood.communicate(timeout=60)[0]))
            return taken

        probe(gateway, access_token, WARM_UP_SECONDS)
        floods, idles = in_turn(flooded, lambda: probe(gateway, access_token, IDLE_SECONDS), ROUNDS)
        rss_mib = resident_kib(pid_of(gateway)) / 1024
    assert all(answer.get("401", 0) + answer.get("503", 0) > 0 for answer in answers), answers
    p99 = [[quantile(taken, 0.99) for taken in rounds] for rounds in (floods, idles)]
    p50 = [statistics.median(quantile(taken, 0.5) for taken in rounds) for rounds in (floods, idles)]
    row = Row(
        "7",
        "authz p99 in a flood of logins",
        f"{statistics.median(p99[0]):.2f} ms",
        f"idle {statistics.median(p99[1]):.2f} ms",
        median_ratio(p99[0], p99[1]),
        TARGET,
        at_most=True,
        details={
            "p50_ms": p50,
            "asked": [sum(len(taken) for taken in rounds) for rounds in (floods, idles)],
            "rss_mib": rss_mib,
            "bcrypt_cost": COST,
            "answers_of_last_flood": answers[-1],
        },
    )
    publish("flood", [row])


if __name__ == "__main__":
    main()
