"""Fixtures: a loop such as the gateway has, and its connections on it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from tests.connections.driver import Driver

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def run() -> Iterator[Run]:
    """Give what runs a coroutine on the gateway's kind of loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture
def driver() -> Iterator[Driver]:
    """Give the gateway's connections in this process."""
    driver = Driver()
    yield driver
    driver.close()
