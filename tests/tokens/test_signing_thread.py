"""The thread that signs: results and errors reach who asked, for many at once, and nobody harms others."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from gateway.tokens.signing_thread import SigningThread

WITHIN_SECONDS = 5.0
MANY = 200


@pytest.fixture
def thread() -> Iterator[SigningThread]:
    """Give one, and close it."""
    thread = SigningThread()
    yield thread
    thread.close()


class Held:
    """Holds the thread until it is let go."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(WITHIN_SECONDS)
        return "held"


async def holding(thread: SigningThread) -> tuple[Held, asyncio.Task[str]]:
    """Give a piece of work that has begun, and who waits for it."""
    held = Held()
    task = asyncio.create_task(thread.do(held))
    await asyncio.to_thread(held.begun.wait, WITHIN_SECONDS)
    return held, task


async def test_each_gets_the_result_of_his_own_work(thread: SigningThread) -> None:
    results = await asyncio.gather(*(thread.do(partial(pow, number, 2)) for number in range(MANY)))
    assert results == [number * number for number in range(MANY)]


async def test_an_error_reaches_who_asked_and_nobody_else(thread: SigningThread) -> None:
    def fail() -> int:
        raise ValueError("this one")

    works = [fail if number % 3 == 0 else lambda: 1 for number in range(30)]
    results = await asyncio.gather(*map(thread.do, works), return_exceptions=True)
    assert [isinstance(result, ValueError) for result in results] == [number % 3 == 0 for number in range(30)]
    assert {result for result in results if not isinstance(result, BaseException)} == {1}


async def test_the_loop_is_woken_once_for_all_that_is_done_when_it_looks(
    thread: SigningThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, all_done = asyncio.get_running_loop(), threading.Event()
    wakings: list[object] = []
    held, first = await holding(thread)
    tasks = [asyncio.create_task(thread.do(lambda: None)) for _ in range(MANY)]
    last = asyncio.create_task(thread.do(all_done.set))
    await asyncio.sleep(0)
    call_soon = loop.call_soon_threadsafe

    def noted(callback: Callable[..., object], *arguments: object) -> asyncio.Handle:
        wakings.append(callback)
        return call_soon(callback, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", noted)
        held.may_end.set()
        assert all_done.wait(WITHIN_SECONDS)  # the loop is busy with this meanwhile
        await asyncio.gather(first, last, *tasks)
    assert 1 <= len(wakings) <= 2  # the last piece may end when the loop looks already


@pytest.mark.parametrize(("most_held", "least", "most"), [(MANY, 1, 1), (1, 2, MANY)])
async def test_results_are_held_back_while_more_is_asked_for_and_no_more_than_may_be(
    thread: SigningThread, monkeypatch: pytest.MonkeyPatch, most_held: int, least: int, most: int
) -> None:
    monkeypatch.setattr("gateway.tokens.signing_thread.MOST_HELD", most_held)
    held, first = await holding(thread)
    came_together: list[list[int]] = [[]]

    async def ask(number: int) -> None:
        await thread.do(lambda: time.sleep(0.001))
        came_together[-1].append(number)
        loop.call_soon(came_together.append, [])

    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(ask(number)) for number in range(20)]
    await asyncio.sleep(0)
    held.may_end.set()
    async with asyncio.timeout(WITHIN_SECONDS):
        await asyncio.gather(first, *tasks)
        assert await thread.do(lambda: "alone") == "alone"  # nobody else asks: it is not held
    assert least <= sum(bool(together) for together in came_together) <= most


async def test_what_is_held_back_when_it_is_closed_is_handed_over(
    thread: SigningThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tokens.signing_thread.MOST_HELD", MANY)
    held, first = await holding(thread)
    thread.close()
    held.may_end.set()
    async with asyncio.timeout(WITHIN_SECONDS):
        assert await first == "held"


async def test_who_is_cancelled_leaves_the_others_their_results(thread: SigningThread) -> None:
    held, first = await holding(thread)
    begun: list[int] = []
    tasks = [asyncio.create_task(thread.do(partial(begun.append, number))) for number in range(4)]
    await asyncio.sleep(0)
    for cancelled in (first, tasks[1]):
        cancelled.cancel()
    await asyncio.sleep(0)
    held.may_end.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False, True, False, False]
    assert begun == [0, 2, 3]  # what nobody waits for is not begun


async def test_what_was_asked_before_the_end_is_done_and_nothing_more_is_taken(thread: SigningThread) -> None:
    held, first = await holding(thread)
    second = asyncio.create_task(thread.do(lambda: "second"))
    await asyncio.sleep(0)
    thread.close()
    with pytest.raises(RuntimeError):
        await thread.do(lambda: "third")
    held.may_end.set()
    async with asyncio.timeout(WITHIN_SECONDS):
        assert (await first, await second) == ("held", "second")


async def test_the_thread_ends_when_it_is_closed(thread: SigningThread) -> None:
    ident = await thread.do(threading.get_ident)
    [running] = [one for one in threading.enumerate() if one.ident == ident]
    thread.close()
    await asyncio.to_thread(running.join, WITHIN_SECONDS)
    assert not running.is_alive()


def test_it_ends_in_peace_when_the_loop_is_gone_before_it() -> None:
    thread, held = SigningThread(), Held()
    caught: list[object] = []
    hook, threading.excepthook = threading.excepthook, caught.append

    async def leave() -> threading.Thread:
        ident = await thread.do(threading.get_ident)
        asyncio.get_running_loop().create_task(thread.do(held)).cancel()
        task = asyncio.create_task(thread.do(held))
        await asyncio.to_thread(held.begun.wait, WITHIN_SECONDS)
        task.cancel()
        return next(one for one in threading.enumerate() if one.ident == ident)

    try:
        running = asyncio.run(leave())
        held.may_end.set()
        thread.close()
        running.join(WITHIN_SECONDS)
    finally:
        threading.excepthook = hook
    assert not running.is_alive()
    assert caught == []
