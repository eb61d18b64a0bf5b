"""The size of the campaign, its table, and what it runs on."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.hostile.table import Table
from tests.proxies.conftest import application, certificates, place, signer

__all__ = ["application", "certificates", "place", "signer"]


@dataclass(frozen=True)
class Size:
    """How much of it: connections to each proxy, those to warm up with, how many at once, honest users, and calm."""

    is_long: bool
    warm_up: int
    connections: int
    at_once: int
    honest_users: int
    calm_seconds: float


SHORT = Size(is_long=False, warm_up=50, connections=150, at_once=24, honest_users=4, calm_seconds=0.5)
LONG = Size(
    is_long=True,
    warm_up=1000,
    connections=25_000,
    at_once=48,
    honest_users=12,
    calm_seconds=8.0,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--hostile`: 100,000 connections (`make hostile`)."""
    parser.addoption("--hostile", action="store_true", help="run the hostile campaign as `make hostile` does")


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    """Give the size of the run."""
    # The option is unknown when pytest was not given this folder: then it is not the long run.
    return LONG if pytestconfig.getoption("--hostile", default=False) else SHORT


@pytest.fixture(scope="session")
def table(size: Size) -> Iterator[Table]:
    """Give the table; the long run writes docs/hostile.md with it, if no proxy is missing."""
    # The long run has another seed each time, unless told one.
    usual = str(int(time.time())) if size.is_long else "20261128"  # noqa: TID251 - a seed is no time
    seed = int(os.environ.get("FUZZ_SEED", usual))  # noqa: TID251 - for the test alone
    table = Table(seed)
    yield table
    if size.is_long:
        table.write()
