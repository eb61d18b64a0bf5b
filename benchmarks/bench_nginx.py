"""
Row 2: nginx's `auth_request` to the gateway, with the configuration of config/nginx, against `auth_request` to a bare
ASGI 204. nginx with one worker and the server that it asks share one core, wrk has the other: so the ratio is that of
all the work that a request makes behind nginx's door, and nothing of it is hidden by another core.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import chosen, in_turn, publish
from benchmarks.processes import cpu_seconds, need, pinned, resident_kib, server_cores
from benchmarks.servers import bare_server, bearing, gateway_at, mint, pid_of, redis_at, request_file, workplace
from benchmarks.wrk import Sample, compared, press
from tests.harness import free_port
from tests.proxies import fronts

ROUNDS, SECONDS, WARM_UP_SECONDS = chosen((5, 3.0, 1.0), (1, 0.2, 0.2))
TARGET = 0.9


def _prepare(front: fronts.Front, tls: bool) -> list[str]:
    """Set up nginx as the tests do, with an application in it that answers 200 and nothing else."""
    command = fronts.nginx(front, tls)
    main = front.directory / "nginx.conf"
    application = f"server {{ listen 127.0.0.1:{front.app_port}; return 200 ok; }} include "
    main.write_text(main.read_text().replace("include ", application, 1))
    return command


@contextlib.contextmanager
def nginx_before(port: int, directory: Path) -> Iterator[fronts.Front]:
    """Give an nginx that asks the server on *port*, on the core of the server under test."""
    kind = fronts.Kind("nginx", ("nginx",), "nginx", _prepare)
    no_tls = fronts.Certificates(*[directory] * 4)
    front = fronts.Front(kind, directory, port, free_port(), no_tls)
    with pinned(server_cores()):
        front.start(await_keys=False)
    try:
        yield front
    finally:
        front.stop()


def main() -> None:
    need("nginx", "nginx")
    with (
        workplace() as folder,
        redis_at(folder / "redis") as redis,
        gateway_at(redis, access_token_ttl_seconds=3600) as gateway,
        bare_server() as (bare_port, bare_pid),
        nginx_before(gateway.port, folder / "asks-gateway") as to_gateway,
        nginx_before(bare_port, folder / "asks-bare") as to_bare,
    ):
        requests = request_file(folder, "/", bearing(mint(gateway, 1)))

        def ask(front: fronts.Front, asked_pid: int, seconds: float = SECONDS) -> Sample:
            assert front.process is not None
            return press(f"{front.url}/", seconds, front.process.pid, asked_pid, requests=requests)

        pid = pid_of(gateway)
        ask(to_gateway, pid, WARM_UP_SECONDS)
        ask(to_bare, bare_pid, WARM_UP_SECONDS)
        before = cpu_seconds(pid)
        firsts, seconds = in_turn(lambda: ask(to_gateway, pid), lambda: ask(to_bare, bare_pid), ROUNDS)
        own_us = (cpu_seconds(pid) - before) / sum(sample.requests for sample in firsts) * 1e6
        more = {"gateway_cpu_us_per_request": own_us, "rss_mib": resident_kib(pid) / 1024}
    publish("nginx", [compared("2", "authz behind nginx auth_request", firsts, seconds, TARGET, **more)])


if __name__ == "__main__":
    main()
