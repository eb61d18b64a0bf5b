"""
Row 1: a subrequest with one access token, and with 10,000 in turn, against a bare ASGI 204: how much of what the
server can do is left when each request is judged? The same with the cookies of browser sessions, and what `token=`
adds once its token is there. One process on a core of its own, wrk on the other, keep-alive.
"""

import statistics
from pathlib import Path

from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.processes import resident_kib
from benchmarks.servers import (
    bare_server,
    bearing,
    browse,
    gateway_at,
    mint,
    pid_of,
    redis_at,
    request_file,
    workplace,
)
from benchmarks.wrk import Sample, compared, press
from tests.harness import GatewayProcess

PATH = "/api/authz/auth-request"
AUDIENCE = "https://app.example.com"
MANY = chosen(10_000, 200)
ROUNDS, SECONDS, WARM_UP_SECONDS = chosen((5, 3.0, 1.0), (1, 0.2, 0.2))
VARIANTS = (
    ("1a", "authz, one token", 1, 1.1),
    ("1b", "authz, many tokens", MANY, 1.0),
    ("1c", "authz, one browser session", 1, 0.85),
    ("1d", "authz, many browser sessions", MANY, 0.6),
)
MOST_ADDED_US = 2.0


def main() -> None:
    with (
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_at(redis, access_token_ttl_seconds=3600, session_check_seconds=600, audiences=AUDIENCE) as gateway,
        bare_server() as (bare_port, bare_pid),
    ):
        pid = pid_of(gateway)
        tokens = bearing(mint(gateway, MANY))
        cookies = [f"Cookie: gateway_session={cookie}" for cookie in browse(gateway, MANY)]

        def ask(requests: Path, port: int, of: int, seconds: float = SECONDS) -> Sample:
            return press(f"http://127.0.0.1:{port}{PATH}", seconds, of, requests=requests)

        rows = []
        for number, name, count, target in VARIANTS:
            lines = tokens if "token" in name else cookies
            requests = request_file(folder, PATH, lines[:count])
            seen = 0
            while seen < 2 * count:
                seen += ask(requests, gateway.port, pid, WARM_UP_SECONDS).requests
            ask(requests, bare_port, bare_pid, WARM_UP_SECONDS)
            firsts, seconds = in_turn(
                lambda: ask(requests, gateway.port, pid),  # noqa: B023 - used at once
                lambda: ask(requests, bare_port, bare_pid),  # noqa: B023 - likewise
                ROUNDS,
            )
            rows.append(
                compared(number, name, firsts, seconds, target, asked_with=count, rss_mib=resident_kib(pid) / 1024)
            )
        rows.append(_token_for_the_application(folder, gateway, pid, cookies[0]))
    publish("authz", rows)


def _token_for_the_application(folder: Path, gateway: GatewayProcess, pid: int, cookie: str) -> Row:
    """Compare the CPU of a subrequest with `token=`, whose token is remembered, with that of one without."""

    def ask(query: str, seconds: float = SECONDS) -> Sample:
        (path := folder / query).mkdir(exist_ok=True)
        requests = request_file(path, PATH + query, [cookie])
        return press(f"http://127.0.0.1:{gateway.port}{PATH}", seconds, pid, requests=requests)

    with_token, without = f"?token={AUDIENCE.replace('/', '%2F')}", "?role=demo"
    ask(with_token, WARM_UP_SECONDS)
    firsts, seconds = in_turn(lambda: ask(with_token), lambda: ask(without), ROUNDS)
    with_us, without_us = ([sample.cpu_us for sample in samples] for samples in (firsts, seconds))
    added_us = statistics.median(one - other for one, other in zip(with_us, without_us, strict=True))
    return Row(
        "1e",
        "authz, what token= adds",
        measured=f"{added_us:.2f} us of CPU more",
        ceiling=f"{statistics.median(without_us):.2f} us without",
        ratio=median_ratio(with_us, without_us),
        target=1 + MOST_ADDED_US / statistics.median(without_us),
        at_most=True,
        details={
            "cpu_us_per_request": with_us,
            "cpu_us_per_request_without": without_us,
        },
    )


if __name__ == "__main__":
    main()
