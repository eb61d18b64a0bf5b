"""How much is done, and how it is told: every test here counts what it did and prints it in one line."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from gateway.state import Gateway
from tests.families.journal import Journal
from tests.families.proxy import Proxy
from tests.harness import GatewayProcess, RedisServer, in_gateway

SEED = 20260


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--soak`: the same tests, for much longer and from a new seed (`make soak`)."""
    parser.addoption("--soak", action="store_true", help="run the tests of families with the numbers of `make soak`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the two longest tests of the long run begin at once, one in each process."""
    if config.getoption("--soak", default=False):
        items.insert(0, items.pop())


@dataclass
class Tally:
    """What one test has done so far; `violations` must be empty at its end."""

    name: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def add(self, **counts: int) -> None:
        """Count."""
        self.counts.update(counts)

    def expect(self, holds: bool, violation: str) -> None:
        """Note a violation when something does not hold."""
        if not holds:
            self.violations.append(violation)

    def line(self) -> str:
        """Tell it all in one line."""
        counts = [f"{name.replace('_', ' ')} {count}" for name, count in self.counts.items()]
        seconds = time.monotonic() - self.begun
        told = ", ".join([*counts, f"violations {len(self.violations)}"])
        return f"families: {self.name}: {told} (seed {self.seed}, {seconds:.1f} s)"

    def close(self) -> None:
        """Fail if anything was violated."""
        assert not self.violations, "\n".join([self.line(), *self.violations[:20]])


@pytest.fixture(scope="session")
def is_soak(pytestconfig: pytest.Config) -> bool:
    """Tell whether this is the long run."""
    # The option is unknown when pytest was not given this folder: then it is not the long run.
    return bool(pytestconfig.getoption("--soak", default=False))


@pytest.fixture
def size(is_soak: bool) -> Callable[[int, int], int]:
    """Give a function that takes the usual number and that of the long run, and gives the one to use."""
    return lambda usual, soak: soak if is_soak else usual


@pytest.fixture
def tally(request: pytest.FixtureRequest, is_soak: bool, capsys: pytest.CaptureFixture[str]) -> Iterator[Tally]:
    """Give the counters of this test; printed to the terminal at its end, whatever captures its output."""
    tally = Tally(request.node.name, random.randrange(2**32) if is_soak else SEED)
    yield tally
    with capsys.disabled():
        print(f"\n{tally.line()}", file=sys.stderr, flush=True)


@pytest.fixture
def chance(tally: Tally) -> random.Random:
    """Give the dice of this test, seeded with what its line tells."""
    return random.Random(tally.seed)


@pytest.fixture
def make_proxy() -> Iterator[Callable[[RedisServer], Proxy]]:
    """Give a factory of proxies in front of a Redis server; they end with the test."""
    made: list[Proxy] = []

    def make(server: RedisServer) -> Proxy:
        made.append(Proxy(server))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def two_gateways(make_gateway: Callable[..., GatewayProcess]) -> Callable[..., tuple[GatewayProcess, GatewayProcess]]:
    """Give a factory of two gateways that behave as one: same Redis, same issuer, same settings."""

    def make(**settings: object) -> tuple[GatewayProcess, GatewayProcess]:
        first = make_gateway(start=False, **settings)
        second = make_gateway(start=False, **{"issuer": first.url} | settings)
        for gateway in (first, second):
            gateway.start(wait=False)
        for gateway in (first, second):
            gateway.wait_until_ready()
        return first, second

    return make


@pytest.fixture
def open_journals() -> Callable[..., list[Journal]]:
    """Give a factory of clients, each logged in as a user of its own (or several as one)."""

    def make(gateway: GatewayProcess, count: int, *, per_user: int = 1) -> list[Journal]:
        async def work(parts: Gateway) -> list[Journal]:
            journals = []
            for number in range(count):
                email = f"{gateway.port}-{number}@example.com"
                user = await parts.users.add(email, f"User {number}", ("staff",), "no password")
                for _ in range(per_user):
                    journals.append(await Journal.log_in(parts, user))
            return journals

        return in_gateway(gateway.env, work)

    return make
