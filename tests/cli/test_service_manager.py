"""What a service manager hears of `gateway serve`, by the protocol of sd_notify(3)."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from gateway.cli.service_manager import ServiceManager
from tests.clocks import FakeClock
from tests.harness import UNUSED_TLS, GatewayProcess

START_SECONDS = 20
WATCHDOG_SECONDS = 0.3
MakeGateway = Callable[..., GatewayProcess]


class Manager:
    """The side of the service manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def hears(self, seconds: float = START_SECONDS) -> str:
        """Give what is told next; nothing where that takes too long."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1024).decode()
        except TimeoutError:
            return ""

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_it_hears_when_requests_are_answered_and_when_the_end_begins(
    make_gateway: MakeGateway, manager: Manager, workers: int
) -> None:
    gateway = make_gateway(start=False, workers=workers)
    gateway.env["NOTIFY_SOCKET"] = manager.address
    gateway.start(wait=False)
    assert manager.hears() == "READY=1"
    # Every worker: as many connections as reach both of them.
    for _ in range(8):
        assert httpx2.get(f"{gateway.url}/livez", timeout=5, verify=UNUSED_TLS).status_code == 200
    assert manager.hears(0.1) == ""
    gateway.tell_to_end()
    assert manager.hears() == "STOPPING=1"
    gateway.stop()
    assert manager.hears(0.01) == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_it_hears_of_a_server_that_lives_and_nothing_of_one_that_hangs(
    make_gateway: MakeGateway, manager: Manager, workers: int
) -> None:
    gateway = make_gateway(start=False, workers=workers)
    gateway.env |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": f"{WATCHDOG_SECONDS * 1e6:.0f}"}
    gateway.start()
    while (told := manager.hears()) != "READY=1":
        assert told == "WATCHDOG=1"  # workers take their time
    assert [manager.hears() for _ in range(3)] == ["WATCHDOG=1"] * 3
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGSTOP)
    while manager.hears(WATCHDOG_SECONDS):  # what was under way
        pass
    assert manager.hears(3 * WATCHDOG_SECONDS) == ""
    gateway.process.send_signal(signal.SIGCONT)
    assert manager.hears() == "WATCHDOG=1"


def test_the_watchdog_of_another_process_is_not_ours(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    ServiceManager.of(environ, time.monotonic).lives()
    assert manager.hears(0.05) == ""
    del environ["WATCHDOG_PID"]
    ServiceManager.of(environ, time.monotonic).lives()
    assert manager.hears() == "WATCHDOG=1"


def test_it_is_told_three_times_in_its_time(manager: Manager) -> None:
    clock = FakeClock()
    server = ServiceManager(manager.address, 30, clock)
    for seconds, words in ((0, "WATCHDOG=1"), (9, ""), (1, "WATCHDOG=1"), (9, ""), (5, "WATCHDOG=1")):
        clock.now += seconds
        server.lives()
        assert manager.hears(0.01) == words


def test_an_abstract_socket_is_found() -> None:
    manager = Manager(f"@{time.monotonic_ns()}")
    ServiceManager(manager.address, None, time.monotonic).is_ready()
    assert manager.hears() == "READY=1"
    manager.close()


def test_one_that_is_gone_ends_nothing(make_gateway: MakeGateway, tmp_path: Path) -> None:
    gateway = make_gateway(start=False)
    gateway.env["NOTIFY_SOCKET"] = str(tmp_path / "nobody")
    gateway.start()
    assert gateway.stop() == 0
    told = [line for line in gateway.log_lines() if "service manager" in line["message"]]
    assert [line["level"] for line in told] == ["warning", "warning"]


def test_without_one_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, and a server that a person has started."""
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was made"))
    manager = ServiceManager.of({}, time.monotonic)
    manager.is_ready()
    manager.lives()
    manager.ends()
