"""Threads that give way: at the lowest priority where that gets on, and at normal priority where it does not."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.accounts.polite_threads import (
    LEAST_SHARE_OF_A_CORE,
    LOOK_SECONDS,
    LOWEST_PRIORITY_NICENESS,
    PoliteThreads,
    _Watched,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no niceness of its own")
LONG_SECONDS = 30.0


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


class Starving:
    """Work that gets no CPU time at the lowest priority until it is let go; it gives its niceness."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __call__(self) -> int:
        if niceness() == LOWEST_PRIORITY_NICENESS:
            self.let_go.wait(LONG_SECONDS)
        return niceness()


@pytest.fixture
async def threads() -> AsyncIterator[PoliteThreads]:
    """Give two threads of each priority; they end with the test."""
    made = PoliteThreads(2, "test")
    yield made
    made.close()


@pytest.fixture
def starving() -> Iterator[Starving]:
    """Give work that starves; it is let go at the end of the test."""
    work = Starving()
    yield work
    work.let_go.set()


async def test_work_that_gets_on_has_the_lowest_priority_and_nothing_else_has(threads: PoliteThreads) -> None:
    before = niceness()
    assert set(await asyncio.gather(*(threads.run(niceness) for _ in range(8)))) == {LOWEST_PRIORITY_NICENESS}
    assert niceness() == before


async def test_work_that_starves_is_begun_again_at_normal_priority(threads: PoliteThreads, starving: Starving) -> None:
    begun = time.monotonic()
    assert list(await asyncio.gather(*(threads.run(starving) for _ in range(2)))) == [niceness()] * 2
    assert LOOK_SECONDS <= time.monotonic() - begun < LONG_SECONDS / 2


async def test_while_work_is_behind_all_other_begins_at_normal_priority(
    threads: PoliteThreads, starving: Starving
) -> None:
    """So one piece of work finds out, and the others lose no time."""
    await threads.run(starving)
    assert set(await asyncio.gather(*(threads.run(niceness) for _ in range(8)))) == {niceness()}
    starving.let_go.set()
    found = niceness()
    async with asyncio.timeout(LONG_SECONDS / 2):
        while found != LOWEST_PRIORITY_NICENESS:
            found = await threads.run(niceness)


async def test_an_error_is_told_from_either_priority(threads: PoliteThreads, starving: Starving) -> None:
    def fail() -> None:
        starving()
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011 - it has no words
            await threads.run(fail)


async def test_a_share_is_what_the_thread_itself_has_used(threads: PoliteThreads) -> None:
    """Work that takes long because there is much of it does not starve."""
    is_used, ended = threading.Event(), threading.Event()

    def use_a_fifth_of_a_second() -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass
        is_used.set()
        ended.wait(LONG_SECONDS)

    watched = _Watched(use_a_fifth_of_a_second, 0.0)
    assert watched.share_of_a_core(1.0) == 0
    thread = threading.Thread(target=watched)
    thread.start()
    assert is_used.wait(LONG_SECONDS)
    assert 0.9 < watched.share_of_a_core(0.2) < 1.5
    assert watched.share_of_a_core(1.6) < LEAST_SHARE_OF_A_CORE
    ended.set()
    thread.join()
