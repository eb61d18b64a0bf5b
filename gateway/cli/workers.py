"""Workers that share a listener: the next connection is for one that has no more than the others."""

import asyncio
import logging
import mmap
import os
import socket
from collections.abc import Callable, Collection
from multiprocessing.reduction import DupFd
from tempfile import TemporaryFile
from typing import Any

import uvloop

PLACES = 128
COUNT_BYTES = 4
MORE_BY = 2
HEAD_START_SECONDS = 0.001
TAKEN_WHEN_LATE = 64
FULL_PAUSE_SECONDS = 1.0

logger = logging.getLogger("gateway")


class Shares:
    """
    How many connections each worker has open, in memory that the workers share.

    The place of a worker is given by its process id. Two at one place is not likely, and makes them less even at worst.
    The memory is a file without a name and, on Linux, without a file system: all of them may be read-only.

    Args:
        file: That of another process; a new one where there is none.
    """

    def __init__(self, file: int | None = None) -> None:
        self._file = _new_file() if file is None else file
        # One more than are open; 0: nobody is here.
        self._counts = memoryview(mmap.mmap(self._file, PLACES * COUNT_BYTES)).cast("i")

    def __reduce__(self) -> tuple[object, ...]:
        """Give what another process makes the same of, when it is started with it."""
        return _shares_of, (DupFd(self._file),)

    def tell(self, pid: int, connections: int) -> None:
        """Tell how many a worker has open now."""
        self._counts[pid % PLACES] = connections + 1

    def leave(self, pid: int) -> None:
        """Forget a worker that takes no more."""
        self._counts[pid % PLACES] = 0

    def fewest(self) -> int:
        """Give how many that one has open that has fewest, of those that have told."""
        return min(filter(None, self._counts), default=1) - 1

    def keep(self, pids: Collection[int]) -> None:
        """Forget all workers but these, so that nobody gives way to one that is gone."""
        kept = {pid % PLACES for pid in pids}
        for place, count in enumerate(self._counts):
            if count and place not in kept:
                self._counts[place] = 0


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("shares")
    else:
        with TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, PLACES * COUNT_BYTES)
    return file


def _shares_of(file: Any) -> Shares:
    return Shares(file.detach())


class WorkerLoop(uvloop.Loop):
    """
    The event loop of a worker.

    Left to itself, the first worker that wakes up takes all that is there, and at rest it is always the same one: a
    proxy's connections, which are kept, may then all be one worker's, and the others stand idle.
    """

    shares: Shares | None = None

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        *arguments: Any,
        sock: socket.socket | None = None,
        **options: Any,
    ) -> "asyncio.AbstractServer | SharedListener":
        """Serve on a listener; on one that is shared, where `shares` are given."""
        if self.shares is None or sock is None:
            return await super().create_server(protocol_factory, *arguments, sock=sock, **options)
        return SharedListener(self, sock, protocol_factory, self.shares, os.getpid())


class SharedListener:
    """
    Takes connections one at a time, and gives way to a worker that has fewer. One that is not busy, stopped or ended
    has taken them within microseconds; after `HEAD_START_SECONDS` nobody is given way to any more.

    Args:
        loop: It is read, and connections are served, on this one.
        listener: The socket, which other processes accept from too.
        make_protocol: Makes uvicorn's protocol of one connection.
        shares: What all of them have.
        pid: Of this process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        make_protocol: Callable[[], Any],
        shares: Shares,
        pid: int,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._make_protocol = make_protocol
        self._shares = shares
        self._pid = pid
        self._open: Collection[object] = ()
        self._arriving: set[asyncio.Task[object]] = set()
        self._latest: asyncio.TimerHandle | None = None
        self._is_closed = False
        listener.setblocking(False)
        shares.tell(pid, 0)
        loop.add_reader(listener, self._take_or_give_way)

    def close(self) -> None:
        """Take no more."""
        self._is_closed = True
        self._loop.remove_reader(self._listener)
        self._shares.leave(self._pid)

    async def wait_closed(self) -> None:
        """Return at once: the connections are the server's."""

    def _take_or_give_way(self) -> None:
        mine = len(self._open) + len(self._arriving)
        self._shares.tell(self._pid, mine)
        if mine <= self._shares.fewest() + MORE_BY:
            self._take()
            return
        if self._latest is None:
            self._latest = self._loop.call_later(HEAD_START_SECONDS, self._take_what_is_there)
        os.sched_yield()  # the other one may wait for this core

    def _take_what_is_there(self) -> None:
        self._latest = None
        for _ in range(TAKEN_WHEN_LATE):
            if self._is_closed or not self._take():
                break

    def _take(self) -> bool:
        """Take one connection, if there is one."""
        if self._latest is not None:
            self._latest.cancel()
            self._latest = None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another worker has taken it, or it is gone
        except OSError as error:  # no file, or no memory, is left: it waits in the kernel
            logger.error("a connection has to wait", extra={"fields": {"error": str(error)}})
            self._loop.remove_reader(self._listener)
            self._loop.call_later(FULL_PAUSE_SECONDS, self._go_on)
            return False
        connection.setblocking(False)
        arriving = self._loop.create_task(self._serve(connection))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)
        return True

    def _go_on(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener, self._take_or_give_way)

    async def _serve(self, connection: socket.socket) -> None:
        _, protocol = await self._loop.connect_accepted_socket(self._make_protocol, connection)
        self._open = protocol.connections
