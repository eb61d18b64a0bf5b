"""
What a change costs a subrequest: rows 1a and 1b of two trees, A and B, in turn on one machine.

    python benchmarks/ab.py TREE_A TREE_B [--pairs 10] [--rows 1a,1b]

Each tree is a checkout with a `.venv` of its own (`.ci/setup test`). Both gateways stand all the time, on one Redis and
with the same tokens; of each pair of rounds the first is A's and B's by turns. What counts is the median over pairs of
B's CPU by A's, which other programs disturb less than the rates.
"""

import argparse
import contextlib
import random
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench_authz import MANY, PATH, SECONDS, WARM_UP_SECONDS
from benchmarks.measuring import chosen
from benchmarks.processes import others_share, pinned, server_cores
from benchmarks.servers import SHARED, bearing, mint, redis_at, request_file, workplace
from benchmarks.wrk import Sample, press
from tests.harness import SECRET, GatewayProcess, RedisServer, environment, free_port

ISSUER = "http://gateway.test"
TOKENS = {"1a": 1, "1b": MANY}
RESAMPLES = 2000


class TreeGateway(GatewayProcess):
    """A gateway of another checkout."""

    def started_in(self, tree: Path) -> "TreeGateway":
        """Start it with the Python of that checkout, and wait until it is ready."""
        command = [str(tree / ".venv" / "bin" / "python"), "-m", "gateway", "serve"]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=tree, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_until_ready()
        return self


@contextlib.contextmanager
def gateway_of(tree: Path, redis: RedisServer) -> Iterator[TreeGateway]:
    """Give the gateway of a tree, on the core of the server under test."""
    settings = {"redis_url": redis.url, "secret": SECRET, "issuer": ISSUER, "port": free_port()} | SHARED
    env = environment(**settings, access_token_ttl_seconds=3600)
    gateway = TreeGateway(env, redis.directory / f"gateway-{settings['port']}.log")
    try:
        with pinned(server_cores()):
            gateway.started_in(tree.resolve())
        yield gateway
    finally:
        if gateway.process is not None:
            gateway.stop()


def main() -> None:
    """Measure, and print a line for each row."""
    parser = argparse.ArgumentParser(description="What a change costs a subrequest: two trees in turn.")
    parser.add_argument("trees", nargs=2, type=Path, metavar="TREE")
    parser.add_argument("--pairs", type=int, default=chosen(10, 1))
    parser.add_argument("--rows", default="1a,1b", help="of 1a (one token) and 1b (many)")
    asked = parser.parse_args()
    with (
        workplace() as folder,
        redis_at(folder) as redis,
        gateway_of(asked.trees[0], redis) as a,
        gateway_of(asked.trees[1], redis) as b,
    ):
        tokens = bearing(mint(a, MANY))
        for row in asked.rows.split(","):
            requests = request_file(folder, PATH, tokens[: TOKENS[row]])

            def ask(gateway: GatewayProcess, seconds: float = SECONDS) -> Sample:
                assert gateway.process is not None
                url = f"http://127.0.0.1:{gateway.port}{PATH}"
                return press(url, seconds, gateway.process.pid, requests=requests)  # noqa: B023 - used at once

            for gateway in (a, b):
                seen = 0
                while seen < 2 * TOKENS[row]:
                    seen += ask(gateway, WARM_UP_SECONDS).requests
            pairs = []
            for number in range(asked.pairs):
                if number % 2:
                    second = ask(b)
                    pairs.append((ask(a), second))
                else:
                    pairs.append((ask(a), ask(b)))
            _tell(row, pairs)
    print(f"others used {others_share():.1%} of the cores")


def _tell(row: str, pairs: list[tuple[Sample, Sample]]) -> None:
    cpu, rate = [b.cpu_us / a.cpu_us for a, b in pairs], [b.rate / a.rate for a, b in pairs]
    medians = sorted(statistics.median(random.choices(cpu, k=len(cpu))) for _ in range(RESAMPLES))
    low, high = medians[RESAMPLES // 40], medians[-RESAMPLES // 40]
    a_us, b_us = (statistics.median(one.cpu_us for one in side) for side in zip(*pairs, strict=True))
    print(
        f"{row}: CPU B/A {statistics.median(cpu):.4f} (95 %: {low:.4f} to {high:.4f}), {len(pairs)} pairs, "
        f"{a_us:.2f} -> {b_us:.2f} us for each request; requests/s B/A {statistics.median(rate):.4f}"
    )


if __name__ == "__main__":
    main()
