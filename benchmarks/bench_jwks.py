"""Row 5: the JWKS, against a bare ASGI 200 with the same body. One process on a core of its own, wrk on the other."""

import urllib.request

from benchmarks.measuring import chosen, in_turn, publish
from benchmarks.processes import resident_kib
from benchmarks.servers import bare_server, gateway_at, pid_of, redis_at, workplace
from benchmarks.wrk import Sample, compared, press

PATH = "/.well-known/jwks.json"
ROUNDS, SECONDS, WARM_UP_SECONDS = chosen((5, 3.0, 1.0), (1, 0.2, 0.2))
TARGET = 0.85


def ask(port: int, pid: int, seconds: float = SECONDS) -> Sample:
    return press(f"http://127.0.0.1:{port}{PATH}", seconds, pid)


def main() -> None:
    with workplace() as folder, redis_at(folder) as redis, gateway_at(redis) as gateway:
        body, pid = folder / "jwks.json", pid_of(gateway)
        with urllib.request.urlopen(gateway.url + PATH) as answer:
            body.write_bytes(answer.read())
        with bare_server(body) as (bare_port, bare_pid):
            ask(gateway.port, pid, WARM_UP_SECONDS)
            ask(bare_port, bare_pid, WARM_UP_SECONDS)
            firsts, seconds = in_turn(lambda: ask(gateway.port, pid), lambda: ask(bare_port, bare_pid), ROUNDS)
        more = {"body_bytes": body.stat().st_size, "rss_mib": resident_kib(pid) / 1024}
    publish("jwks", [compared("5", "JWKS", firsts, seconds, TARGET, **more)])


if __name__ == "__main__":
    main()
