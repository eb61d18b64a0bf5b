"""
From `gateway serve` to ready, with the private Redis: `python benchmarks/bench_start.py`.

Prints the time of the first start on an empty data directory (it makes the secret and two keys), the median of
five more starts on that directory, and the time that importing takes, by `python -X importtime`.
"""

import http.client
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 5
POLL_SECONDS = 0.005
GIVE_UP_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
    env = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251 - for a child
    env |= {"GATEWAY_PORT": str(port), "GATEWAY_DATA_DIR": data_dir}
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
    """Give the time of all that `gateway serve` imports."""
    command = [sys.executable, "-X", "importtime", "-c", "import gateway.cli.serve"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    total_us = sum(int(own_us) for own_us in re.findall(r"^import time: +(\d+) \|", report, re.MULTILINE))
    return total_us / 1_000_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = os.path.join(folder, "data")
        first = start_seconds(data_dir)
        later = [start_seconds(data_dir) for _ in range(RUNS)]
    imports = [import_seconds() for _ in range(RUNS)]
    print(f"machine      {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(f"first start  {first:.2f} s")
    print(f"start        {statistics.median(later):.2f} s, median of {RUNS} ({min(later):.2f} to {max(later):.2f})")
    print(f"imports      {statistics.median(imports):.2f} s of it, median of {RUNS}, slower under -X importtime")


if __name__ == "__main__":
    main()
