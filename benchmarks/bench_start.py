"""
Row 10: from `gateway serve` to ready, with the private Redis and empty data (so it makes the secret and two keys),
against what nobody can save: Python's own start and the import of the libraries that it serves with.
"""

import http.client
import statistics
import subprocess
import sys
import time

from benchmarks.measuring import Row, chosen, in_turn, median_ratio, publish
from benchmarks.servers import child_environment, workplace
from tests.harness import free_port

ROUNDS = chosen(9, 1)
LIBRARIES = (
    "bcrypt, click, cryptography.hazmat.primitives.asymmetric.rsa, httptools, jwt, msgspec, redis.asyncio, "
    "starlette.applications, uvicorn, uvicorn.protocols.http.httptools_impl, uvloop"
)
POLL_SECONDS = 0.002
GIVE_UP_SECONDS = 20
TARGET = 2.0


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start_seconds(data_dir: str) -> float:
    """Start a gateway, give the seconds until /readyz says 200, and end it."""
    port = free_port()
    env = child_environment() | {"GATEWAY_PORT": str(port), "GATEWAY_DATA_DIR": data_dir}
    begun = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "gateway", "serve"], env=env, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port):
            assert server.poll() is None, "the gateway ended"
            assert time.perf_counter() - begun < GIVE_UP_SECONDS, "the gateway is not ready"
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - begun
    finally:
        server.terminate()
        server.wait(timeout=GIVE_UP_SECONDS)


def import_seconds() -> float:
    """Give the time of a Python that imports the libraries and ends."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True, env=child_environment())
    return time.perf_counter() - begun


def main() -> None:
    with workplace() as folder:
        import_seconds()  # the files are read from the disk once
        names = iter(range(2 * ROUNDS + 1))
        first, imports = in_turn(lambda: start_seconds(str(folder / f"data-{next(names)}")), import_seconds, ROUNDS)
        again = [start_seconds(str(folder / "data-0")) for _ in range(ROUNDS)]
    row = Row(
        "10",
        "start to ready, empty data",
        f"{statistics.median(first):.2f} s",
        f"Python and imports {statistics.median(imports):.2f} s",
        median_ratio(first, imports),
        TARGET,
        at_most=True,
        details={"seconds_with_data": statistics.median(again), "fastest_and_slowest": [min(first), max(first)]},
    )
    publish("start", [row])


if __name__ == "__main__":
    main()
