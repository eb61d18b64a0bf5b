"""
Row 1: a subrequest with one access token, and with 10,000 in turn, against a bare ASGI 204: how much of what the
server can do is left when each request is judged? One process on a core of its own, wrk on the other, keep-alive.
"""

from benchmarks.measuring import chosen, in_turn, publish
from benchmarks.processes import resident_kib
from benchmarks.servers import bare_server, gateway_at, mint, pid_of, redis_at, request_file, workplace
from benchmarks.wrk import Sample, compared, press

PATH = "/api/authz/auth-request"
MANY = chosen(10_000, 200)
ROUNDS, SECONDS, WARM_UP_SECONDS = chosen((5, 3.0, 1.0), (1, 0.2, 0.2))
VARIANTS = (("1a", "authz, one token", 1, 0.85), ("1b", "authz, many tokens", MANY, 0.6))


def main() -> None:
    rows = []
    with (
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_at(redis, access_token_ttl_seconds=3600) as gateway,
        bare_server() as (bare_port, bare_pid),
    ):
        pid, access_tokens = pid_of(gateway), mint(gateway, MANY)
        for number, name, count, target in VARIANTS:
            requests = request_file(folder, PATH, access_tokens[:count])

            def ask(port: int, of: int, seconds: float = SECONDS) -> Sample:
                return press(f"http://127.0.0.1:{port}{PATH}", seconds, of, requests=requests)  # noqa: B023 - used at once

            seen = 0
            while seen < 2 * count:
                seen += ask(gateway.port, pid, WARM_UP_SECONDS).requests
            ask(bare_port, bare_pid, WARM_UP_SECONDS)
            firsts, seconds = in_turn(lambda: ask(gateway.port, pid), lambda: ask(bare_port, bare_pid), ROUNDS)
            rows.append(compared(number, name, firsts, seconds, target, tokens=count, rss_mib=resident_kib(pid) / 1024))
    publish("authz", rows)


if __name__ == "__main__":
    main()
