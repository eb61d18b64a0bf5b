"""Admission: what a client may have waiting, how many connections there may be, and that the others are served."""

import contextlib
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.web.admission import MAX_OPEN, RESERVED_FILES, Caps
from tests.harness import GatewayProcess, run_command, wait_until

JWKS = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def memory_bytes(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


@contextlib.contextmanager
def connections_from(
    gateway: GatewayProcess, address: str, count: int, *, is_used: bool = False
) -> Iterator[list[socket.socket]]:
    """Give so many open connections from an address of the loopback network; *is_used*: each has had its answer."""
    opened = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection(("127.0.0.1", gateway.port), 5, (address, 0)))
            assert not is_used or b"200 OK" in answer_to(opened[-1])
        yield opened
    finally:
        for connection in opened:
            connection.close()


def answer_to(connection: socket.socket, sent: bytes = LIVEZ) -> bytes:
    try:
        connection.sendall(sent)
        return connection.recv(4096)
    except OSError:
        return b""


def send_without_reading(connection: socket.socket, requests: bytes, seconds: float) -> bool:
    """Send as much as is taken for so long; tell whether the server ended the connection."""
    connection.settimeout(0.2)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection.send(requests)
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_a_client_that_pipelines_and_does_not_read_is_held_and_then_aborted(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """It grew a worker from 199 to 682 MiB and stayed for ever."""
    gateway = make_gateway()
    with connections_from(gateway, "127.0.0.1", 1) as [connection]:
        answer_to(connection)
        before = memory_bytes(gateway)
        begun = time.monotonic()
        is_ended = send_without_reading(connection, JWKS * 2000, 25)
        seconds, grown = time.monotonic() - begun, memory_bytes(gateway) - before
    print(f"grown by {grown / 2**20:.1f} MiB, ended: {is_ended} after {seconds:.1f} s")
    assert is_ended
    assert seconds < 20
    assert grown < 8 * 2**20
    wait_until(lambda: any("did_not_read" in line for line in gateway.log_lines()), 3, "the line in the log")


def test_clients_that_pipeline_and_do_not_read_are_not_in_the_way_of_others(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """Twenty of them held up the answer of a bystander for 2 s."""
    gateway = make_gateway()

    def times(bystander: socket.socket, seconds: float) -> list[float]:
        measured = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            begun = time.monotonic()
            assert b"200 OK" in answer_to(bystander)
            measured.append(time.monotonic() - begun)
        return measured

    with connections_from(gateway, "127.0.0.1", 21) as [bystander, *greedy]:
        quiet = times(bystander, 1)
        for connection in greedy:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.send(JWKS * 2000)
        busy = times(bystander, 2)
    medians = [f"{statistics.median(measured) * 1000:.2f} ms" for measured in (quiet, busy)]
    print(f"median {medians[0]} before, {medians[1]} meanwhile, {max(busy):.3f} s at most")
    assert max(busy) < 0.5


def test_pipelined_requests_are_answered_each_once_and_in_order(gateway: GatewayProcess) -> None:
    count, received = 3000, b""
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n if n % 3 else JWKS for n in range(count))
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        thread = threading.Thread(target=connection.sendall, args=(requests + last,))
        thread.start()
        while chunk := connection.recv(2**20):
            received += chunk
        thread.join()
    statuses = re.findall(rb"HTTP/1\.1 ([0-9]{3})", received)
    assert statuses == [b"404" if n % 3 else b"200" for n in range(count)] + [b"200"]


@pytest.mark.parametrize(
    ("open_files", "expected"),
    [
        (1_048_576, Caps(open=20_000, half_open=4096, open_of_one=10_000)),
        (20_128, Caps(open=20_000, half_open=4096, open_of_one=10_000)),
        (1024, Caps(open=896, half_open=448, open_of_one=448)),
        (256, Caps(open=128, half_open=64, open_of_one=64)),
        (64, Caps(open=16, half_open=8, open_of_one=8)),
    ],
)
def test_the_caps_follow_the_limit_of_open_files(open_files: int, expected: Caps) -> None:
    assert Caps.for_files(open_files) == expected


def test_with_few_files_one_address_does_not_take_the_place_of_others_and_the_log_says_so(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """The caps were never reached, and everybody was reset without a word."""
    gateway = make_gateway(open_files=256)
    assert "open files are limited to 256" in gateway.log_text()
    with connections_from(gateway, "127.0.0.1", 300) as many:
        time.sleep(0.5)
        with connections_from(gateway, "127.0.0.2", 20) as others:
            served = sum(b"200 OK" in answer_to(other) for other in others)
        answers = [answer_to(connection) for connection in many]
    print(f"others served: {served} of 20; of the many: {sum(b'200 OK' in a for a in answers)} of 300")
    assert served == 20
    assert any(b"503 Service Unavailable" in answer and b"retry-after" in answer for answer in answers)
    wait_until(lambda: any("refused_of_one_address" in line for line in gateway.log_lines()), 3, "the line in the log")
    [line] = [line for line in gateway.log_lines() if "refused_of_one_address" in line]
    assert (line["address"], line["open_of_one_address_at_most"], line["open_at_most"]) == ("127.0.0.1", 64, 128)


def test_when_all_connections_are_taken_the_longest_idle_gives_way(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(open_files=256)
    with contextlib.ExitStack() as held:
        addresses = [f"127.0.0.{number}" for number in range(1, 5)]
        idle = [held.enter_context(connections_from(gateway, address, 40, is_used=True)) for address in addresses]
        assert idle[0][0].recv(100) == b""  # the one that has said nothing for the longest
        assert b"200 OK" in answer_to(idle[3][39])


def test_a_trusted_proxy_may_have_all_connections(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(open_files=256, trusted_proxies="127.0.0.1")
    with connections_from(gateway, "127.0.0.1", 110, is_used=True) as many:
        assert all(b"200 OK" in answer_to(connection) for connection in many)


def test_a_check_tells_of_a_limit_of_open_files_that_is_too_low(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway()
    few = run_command("check", env=gateway.env, open_files=1024)
    enough = run_command("check", env=gateway.env, open_files=MAX_OPEN // 2 + RESERVED_FILES)
    assert (
        "open files are limited to 1024, so that a process takes 896 connections at most, 448 of one address"
        in few.stdout
    )
    assert "open files" not in enough.stdout


@pytest.mark.parametrize("arriving", [b'{"usern', b""], ids=["half a body", "a head alone"])
def test_a_gateway_that_ends_does_not_wait_for_half_a_body_and_logs_no_traceback(
    make_gateway: Callable[..., GatewayProcess], arriving: bytes
) -> None:
    gateway = make_gateway()
    head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"
    with connections_from(gateway, "127.0.0.1", 1) as [connection]:
        connection.sendall(head + arriving)
        time.sleep(0.3)
        begun = time.monotonic()
        gateway.stop()
        seconds = time.monotonic() - begun
    assert "Traceback" not in gateway.log_text()
    assert not any(line["level"] == "error" for line in gateway.log_lines())
    assert seconds < 8


def test_a_body_that_arrives_while_the_gateway_ends_is_still_answered(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """F22."""
    gateway = make_gateway()
    assert gateway.process is not None
    head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with connections_from(gateway, "127.0.0.1", 1) as [connection]:
        connection.sendall(head + b"{")
        time.sleep(0.3)
        gateway.process.terminate()
        time.sleep(0.5)
        assert b"400 Bad Request" in answer_to(connection, b"}")
    assert gateway.process.wait(10) in (0, -15)
