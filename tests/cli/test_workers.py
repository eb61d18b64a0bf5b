"""Workers that share a listener: each has about as many connections, and none gives way to one that takes nothing."""

import asyncio
import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
import uvloop

from gateway.cli.serve import server_config
from gateway.cli.service_manager import ServiceManager, Supervisor
from gateway.cli.workers import MORE_BY, SharedListener, Shares
from tests.cli.processes import is_running, kill, workers
from tests.harness import UNUSED_TLS, GatewayProcess, wait_until

CONNECTIONS = 24
LEAST_SHARE = 0.33
TRIES = 3
ESTABLISHED = "01"
PAUSE_SECONDS = 0.01
TURN_SECONDS = 0.001
ANSWERED_WITHIN_SECONDS = 2.0
MakeGateway = Callable[..., GatewayProcess]


def connections_of(pid: int, port: int) -> int:
    """Count the connections to *port* that a process has taken."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {
        f"socket:[{inode}]"
        for _, local, _, state, *_, inode in (line[:10] for line in lines)
        if local.endswith(f":{port:04X}") and state == ESTABLISHED
    }
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            count += os.readlink(file) in inodes
    return count


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> GatewayProcess:
    """Give one of two workers that both serve."""
    gateway = make_gateway("--workers", "2")
    wait_for_both(gateway)
    return gateway


def pid_of(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    return gateway.process.pid


def wait_for_both(gateway: GatewayProcess) -> None:
    """Wait until each of the two has answered while the other one stood still."""
    wait_until(lambda: len(workers(pid_of(gateway))) == 2, what="both workers")
    for still in workers(pid_of(gateway)):
        with stopped(still):
            wait_until(lambda: answers(gateway), what="the other worker")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def answers(gateway: GatewayProcess) -> bool:
    try:
        answer = httpx2.get(f"{gateway.url}/livez", timeout=ANSWERED_WITHIN_SECONDS, verify=UNUSED_TLS)
    except httpx2.TransportError:
        return False
    return answer.status_code == 200


def taken_by_each(gateway: GatewayProcess) -> list[int]:
    """Open connections, one after another at rest, and give how many each worker has of them."""
    pids = workers(pid_of(gateway))

    def taken() -> list[int]:
        return [connections_of(pid, gateway.port) for pid in pids]

    wait_until(lambda: sum(taken()) == 0, what="earlier ones to end")
    with ExitStack() as opened:
        for _ in range(CONNECTIONS):
            opened.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            time.sleep(PAUSE_SECONDS)
        wait_until(lambda: sum(taken()) == CONNECTIONS, what="all of them to be taken")
        return taken()


def see_that_they_are_shared(gateway: GatewayProcess) -> None:
    """See it in one of some tries: a worker that has to wait for a core may be late for its turn."""
    tries = list[list[int]]()
    while len(tries) < TRIES and not (tries and min(tries[-1]) >= LEAST_SHARE * CONNECTIONS):
        tries.append(taken_by_each(gateway))
    print(f"of {CONNECTIONS} taken by each: {tries}")
    assert min(tries[-1]) >= LEAST_SHARE * CONNECTIONS


def test_connections_at_rest_are_shared_evenly(gateway: GatewayProcess) -> None:
    see_that_they_are_shared(gateway)


def test_a_worker_that_stands_still_leaves_them_all_to_the_other(gateway: GatewayProcess) -> None:
    still, other = workers(pid_of(gateway))
    with stopped(still), ExitStack() as opened:
        begun = time.monotonic()
        for _ in range(CONNECTIONS):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            connection.settimeout(ANSWERED_WITHIN_SECONDS)
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        print(f"{CONNECTIONS} opened and answered in {time.monotonic() - begun:.3f} s")
        assert connections_of(other, gateway.port) == CONNECTIONS


def test_after_one_was_replaced_they_are_shared_evenly_again(gateway: GatewayProcess) -> None:
    victim = workers(pid_of(gateway))[0]
    kill(victim)
    wait_until(lambda: not is_running(victim), what="it to end")
    wait_for_both(gateway)
    see_that_they_are_shared(gateway)


def test_the_fewest_is_of_those_that_have_told_and_are_there() -> None:
    shares = Shares()
    assert shares.fewest() == 0
    shares.tell(1001, 7)
    shares.tell(1002, 3)
    assert shares.fewest() == 3
    shares.keep([1001])
    assert shares.fewest() == 7


class Serving:
    """A worker that the supervisor has started."""

    pid = os.getpid()

    def is_alive(self, timeout: float) -> bool:
        return True

    def is_ready(self, timeout: float) -> bool:
        return True


def test_the_supervisor_forgets_workers_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.SIGNALS", {})  # it would hear those of this process
    shares = Shares()
    shares.tell(Serving.pid, 3)
    shares.tell(Serving.pid + 1, 0)
    config = server_config(lambda: None, keep_alive_seconds=1, factory=True)  # type: ignore[arg-type]
    supervisor = Supervisor(config, [], ServiceManager(None, None, time.monotonic), shares)
    supervisor.processes = [Serving()]  # type: ignore[list-item]
    supervisor.keep_subprocess_alive()
    assert shares.fewest() == 3


class Ended(asyncio.Protocol):
    """A connection that is ended as soon as it is served."""

    connections = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Doubled:
    """A listener, or the loop that reads it, where each is asked for a thing or two."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self._reads = False
        self.later: list[Callable[[], object]] = []
        self.accepted = 0

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def add_reader(self, listener: object, take: Callable[[], object]) -> None:
        self.take, self._reads = take, True

    def remove_reader(self, listener: object) -> None:
        self._reads = False

    def is_read(self) -> bool:
        return self._reads

    def call_later(self, seconds: float, call: Callable[[], object]) -> object:
        self.later.append(call)
        return self

    def cancel(self) -> None:
        self.later.clear()

    def accept(self) -> tuple[socket.socket, object]:
        self.accepted += 1
        raise OSError(self.errors.pop(0), "cannot accept")


def listening(doubled: Doubled, shares: Shares) -> SharedListener:
    return SharedListener(doubled, doubled, lambda: None, shares, 1001)  # type: ignore[arg-type]


def test_it_gives_way_to_one_with_fewer_until_it_is_late() -> None:
    shares, doubled = Shares(), Doubled(errno.EAGAIN, errno.EAGAIN)
    listener = listening(doubled, shares)
    listener._open = range(MORE_BY + 1)
    shares.tell(1002, 0)
    for _ in range(1000):
        doubled.take()
    assert doubled.accepted == 0
    assert len(doubled.later) == 1
    doubled.later.pop()()
    assert doubled.accepted == 1
    shares.tell(1002, 1)
    doubled.take()
    assert doubled.accepted == 2


def test_when_it_is_late_it_takes_all_that_wait() -> None:
    """Otherwise, with one worker that hangs, each connection would wait for a head start of its own."""
    loop = uvloop.new_event_loop()
    with closing(loop), closing(socket.create_server(("127.0.0.1", 0))) as listener, ExitStack() as opened:
        shares = Shares()
        shared = SharedListener(loop, listener, Ended, shares, 1001)
        shared._open = range(MORE_BY + 1)
        shares.tell(1002, 0)
        for _ in range(CONNECTIONS):
            opened.enter_context(closing(socket.create_connection(listener.getsockname())))
        shared._take_what_is_there()
        assert len(shared._arriving) == CONNECTIONS
        loop.run_until_complete(asyncio.gather(*shared._arriving))
        loop.run_until_complete(asyncio.sleep(TURN_SECONDS))
        shared.close()
        shares.tell(1002, 100)
        assert shares.fewest() == 100


def test_without_a_file_left_it_waits_a_moment_and_goes_on() -> None:
    doubled = Doubled(errno.EMFILE, errno.EMFILE)
    listener = listening(doubled, Shares())
    doubled.take()
    assert not doubled.is_read()
    doubled.later.pop()()
    assert doubled.is_read()
    doubled.take()
    listener.close()
    doubled.later.pop()()
    assert not doubled.is_read()


def test_what_cannot_be_served_is_no_error_of_the_loop() -> None:
    """The other side is gone before the connection is served."""
    told: list[object] = []
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(lambda loop, context: told.append(context))
    with closing(loop), closing(socket.create_server(("127.0.0.1", 0))) as listener:
        shared = SharedListener(loop, listener, Ended, Shares(), os.getpid())
        for _ in range(3):
            with closing(socket.create_connection(listener.getsockname())) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for _ in range(20):
            loop.run_until_complete(asyncio.sleep(TURN_SECONDS))
        shared.close()
    assert told == []
    assert not shared._arriving
