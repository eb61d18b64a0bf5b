"""
Times subrequests from a process of its own, which does nothing else: `python -m tests.faults.prober PORT...`.

The clients of the campaign share an event loop, and what they wait for each other would count as the gateway's time.
The access token comes on stdin; when that ends, begin and duration of each subrequest are printed.
"""

import contextlib
import json
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAUSE_SECONDS = 0.004
PATIENCE_SECONDS = 5.0


def probe(ports: list[int], access_token: str) -> list[tuple[float, float]]:
    """Ask one gateway after the other until stdin ends; give begin and seconds of what was allowed."""
    head = f"GET /api/authz/auth-request HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {access_token}\r\n\r\n"
    connections: dict[int, socket.socket] = {}
    found = []
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        port = ports[0]
        ports = [*ports[1:], port]
        try:
            if port not in connections:
                connections[port] = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
            begun = time.monotonic()
            connections[port].sendall(head.encode())
            answer = connections[port].recv(65_536)
        except OSError:
            answer = b""
        if answer.startswith(b"HTTP/1.1 200 "):
            found.append((begun, time.monotonic() - begun))
        elif port in connections:
            connections.pop(port).close()
    return found


class Prober:
    """The process, while it asks, and then what it found."""

    def __init__(self, ports: list[int], access_token: str) -> None:
        command = [sys.executable, "-m", "tests.faults.prober", *map(str, ports)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdin is not None
        self._process.stdin.write(f"{access_token}\n")
        self._found: list[tuple[float, float]] = []

    def end(self) -> None:
        """Let it tell what it found."""
        if self._process.poll() is None:
            self._found = json.loads(self._process.communicate(timeout=20)[0])

    def p99(self, spans: Iterable[tuple[float, float]]) -> float:
        """Give the 99th percentile of those that began in a time, in seconds; 0 when there were next to none."""
        times = list(spans)
        taken = [seconds for begun, seconds in self._found if any(since <= begun < until for since, until in times)]
        return statistics.quantiles(taken, n=100)[98] if len(taken) > 1 else 0.0


@contextlib.contextmanager
def probing(ports: list[int], access_token: str) -> Iterator[Prober]:
    """Give a prober that asks while the block runs."""
    prober = Prober(ports, access_token)
    try:
        yield prober
    finally:
        prober.end()


if __name__ == "__main__":
    print(json.dumps(probe([int(port) for port in sys.argv[1:]], sys.stdin.readline().strip())))
