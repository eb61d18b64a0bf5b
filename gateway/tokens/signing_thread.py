"""The thread that signs, and the queue of what it is asked for."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")
MOST_HELD = 8


class SigningThread:
    """
    Does pieces of work, of some milliseconds at most, one after another on a thread of its own, for one event loop.

    The thread begins with the first of them. It wakes the loop once for all that is done when the loop comes to look,
    and not once for each; and while there is more to do it holds results back, `MOST_HELD` at most. Each time that the
    two threads change places costs some microseconds, and what comes back together goes on together. They are counted
    and not timed, since time passes also while others have the core.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._done: deque[_Done] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_woken = False
        self._is_closed = False

    def close(self) -> None:
        """Let the thread end when it has done what was asked for before."""
        self._is_closed = True
        self._asked.put(None)

    async def do(self, work: Callable[[], Result]) -> Result:
        """
        Give the result of *work*, or raise what it raises.

        Who is cancelled meanwhile gets nothing; what has not begun by then is not begun.

        Raises:
            RuntimeError: It is closed, or another event loop has asked before.
        """
        loop = asyncio.get_running_loop()
        if self._is_closed or self._loop not in (None, loop):
            raise RuntimeError("the signing thread is closed, or of another event loop")
        if self._loop is None:
            self._loop = loop
            Thread(target=self._work, args=(loop,), name="sign", daemon=True).start()
        answer: asyncio.Future[Result] = loop.create_future()
        self._asked.put(_Asked(work, answer))
        return await answer

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (asked := self._asked.get()) is not None:
            if not asked.answer.cancelled():
                self._done.append(_do(asked))
            if self._asked.empty() or len(self._done) >= MOST_HELD:
                self._wake(loop)
        self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        # In this order: the loop lowers the flag before it looks, so that what it misses wakes it again.
        if self._done and not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # it is closed, and nobody waits any more
                loop.call_soon_threadsafe(self._hand_back)

    def _hand_back(self) -> None:
        self._is_woken = False
        while self._done:
            done = self._done.popleft()
            if done.answer.done():
                continue
            if done.error is not None:
                done.answer.set_exception(done.error)
            else:
                done.answer.set_result(done.result)


class _Asked(NamedTuple):
    work: Callable[[], Any]
    answer: "asyncio.Future[Any]"


class _Done(NamedTuple):
    answer: "asyncio.Future[Any]"
    result: object
    error: Exception | None


def _do(asked: _Asked) -> _Done:
    try:
        return _Done(asked.answer, asked.work(), None)
    except Exception as error:
        return _Done(asked.answer, None, error)
