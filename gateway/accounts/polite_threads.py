"""Threads that give way to everything else on the host, and yet get their part of it when it is always busy."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

LOWEST_PRIORITY_NICENESS = 19
LEAST_SHARE_OF_A_CORE = 0.25
LOOK_SECONDS = 0.5
R = TypeVar("R")


class PoliteThreads:
    """
    Runs work at the lowest priority for as long as that gets on.

    Beside a program that keeps a core busy a thread of niceness 19 gets a seventieth of it, and nothing can raise it
    again without privileges. So work that has got less than `LEAST_SHARE_OF_A_CORE` is begun once more at normal
    priority, and the first result counts; and while work of low priority is behind, new work begins at normal priority.

    Args:
        threads: How many of each priority.
        name: What the threads' names begin with.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._low = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-low", initializer=_lower_priority)
        self._normal = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._behind = 0

    async def run(self, work: Callable[[], R]) -> R:
        """Give what *work* gives, or raise what it raises. It may be run twice, at once, and must not mind."""
        loop = asyncio.get_running_loop()
        if self._behind:
            return await loop.run_in_executor(self._normal, work)
        watched = _Watched(work, loop.time())
        low = loop.run_in_executor(self._low, watched)
        while not (await asyncio.wait((low,), timeout=LOOK_SECONDS))[0]:
            if watched.share_of_a_core(loop.time()) < LEAST_SHARE_OF_A_CORE:
                self._behind += 1
                low.add_done_callback(self._caught_up)
                again = loop.run_in_executor(self._normal, work)
                return (await asyncio.wait((low, again), return_when=asyncio.FIRST_COMPLETED))[0].pop().result()
        return low.result()

    def close(self) -> None:
        """Let the threads end; work that has not begun is dropped."""
        for pool in (self._low, self._normal):
            pool.shutdown(wait=False, cancel_futures=True)

    def _caught_up(self, low: asyncio.Future[R]) -> None:
        self._behind -= 1
        if not low.cancelled():
            low.exception()  # seen, though nobody may wait for it any more


class _Watched(Generic[R]):
    """Work, and how much of a core it has got so far."""

    def __init__(self, work: Callable[[], R], asked_at_seconds: float) -> None:
        self._work = work
        self._asked_at_seconds = asked_at_seconds
        self._thread: int | None = None
        self._cpu_seconds_before = 0.0

    def __call__(self) -> R:
        self._cpu_seconds_before = time.thread_time()
        self._thread = threading.get_ident()
        return self._work()

    def share_of_a_core(self, now_seconds: float) -> float:
        """Give CPU time by time; 1 where threads are not lowered."""
        if not _is_lowering():
            return 1.0
        if self._thread is None:
            return 0.0
        cpu_seconds = time.clock_gettime(time.pthread_getcpuclockid(self._thread)) - self._cpu_seconds_before
        return cpu_seconds / (now_seconds - self._asked_at_seconds)


def _is_lowering() -> bool:
    # On Linux a thread has a niceness of its own; elsewhere this would lower the whole process.
    return os.uname().sysname == "Linux"


def _lower_priority() -> None:
    if _is_lowering():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY_NICENESS)
