"""Connections: what is no request is refused, what is too slow is closed, and the others do not notice."""

import contextlib
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.harness import GatewayProcess

GOOD = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def exchange(gateway: GatewayProcess, sent: bytes, seconds: float = 3) -> bytes:
    """Send bytes and give all that comes back before the server closes or *seconds* pass."""
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=seconds) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                received += chunk
                if b"connection: close" not in received.lower():
                    connection.settimeout(0.3)
    return received


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


CORPUS = {
    "a good request": (GOOD, 200),
    "absolute form": (b"GET http://evil.test/livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "any Host": (b"GET /livez HTTP/1.1\r\nHost: a/admin?\r\n\r\n", 200),
    "HTTP/1.0 without Host": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "no Host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "line feeds alone": (b"GET /livez HTTP/1.1\nHost: x\n\n", 400),
    "a folded header": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    "white space before the colon": (b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "a header without a name": (b"GET /livez HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400),
    "a header with NUL": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
    "a carriage return alone": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", 400),
    "length and chunks": (
        b"POST /auth/logout HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST /auth/logout HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\n", 400),
    "a negative length": (b"POST /auth/logout HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    "a length that is no number": (b"POST /auth/logout HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", 400),
    "a chunk size that is no number": (
        b"POST /auth/logout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        400,
    ),
    "no version": (b"GET /livez\r\n\r\n", 400),
    "an unknown method": (b"HACK /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a path that is not ASCII": (b"GET /liv\xc3\xa9z HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a hundred headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 99 + b"\r\n", 200),
    "a hundred and one headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 400),
    "20 000 headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", 400),
    "a head of 15 KiB": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 15_000 + b"\r\n\r\n", 200),
    "a head of 200 KiB": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200_000 + b"\r\n\r\n", 400),
    "a head that does not end": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 17_000, 400),
    "a query of 20 KiB": (b"GET /livez?" + b"b" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_sent_on_the_wire_gets_the_answer_of_the_table(gateway: GatewayProcess, name: str) -> None:
    """T10, T11: one reading of every request."""
    sent, expected = CORPUS[name]
    answer = exchange(gateway, sent)
    assert status(answer) == expected, answer
    if expected == 400:
        assert b"urn:token-gateway:problem:malformed-request" in answer
        assert answer.count(b"HTTP/1.1 400") == 1


def test_a_subrequest_that_breaks_the_limits_is_denied_with_401(gateway: GatewayProcess) -> None:
    """T8: a proxy would turn a 400 into a 500."""
    for head in (b"Host: x\r\nCookie: a=" + b"b" * 20_000, b"Host: x\r\n" + b"A: b\r\n" * 300 + b"A: b", b"A: b"):
        answer = exchange(gateway, b"GET /api/authz/auth-request HTTP/1.1\r\n" + head + b"\r\n\r\n")
        assert status(answer) == 401, answer
        assert b"www-authenticate: Bearer" in answer


def test_two_requests_at_once_are_answered_in_their_order(gateway: GatewayProcess) -> None:
    other = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(gateway, GOOD + other)
    assert answer.index(b"200 OK") < answer.index(b"404 Not Found")


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(gateway: GatewayProcess, offer: str) -> None:
    """Java's HttpClient offers h2c with every plain request."""
    user = gateway.add_user()
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": offer, "HTTP2-Settings": "AAMAAABkAAQBAAAAAAIAAAAA"}
    with gateway.client(headers=headers) as client:
        gateway.login(user, client)
        assert client.post("/auth/refresh").status_code == 200


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def seconds_until_closed(gateway: GatewayProcess, sent: bytes, trickle: bytes = b"") -> float:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=0.2) as connection:
        connection.sendall(sent)
        while time.monotonic() - begun < 20:
            try:
                if connection.recv(1024) == b"":
                    break
            except TimeoutError:
                if trickle:
                    with contextlib.suppress(OSError):
                        connection.sendall(trickle)
            except OSError:
                break
    return time.monotonic() - begun


@pytest.mark.parametrize(
    ("sent", "trickle", "deadline_seconds"),
    [
        (b"", b"", 5),
        (b"GET /livez HT", b"", 5),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ", b"b", 5),
        (b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", b"b", 10),
    ],
    ids=["silent", "half a line", "a trickling header", "a trickling body"],
)
def test_who_is_too_slow_is_closed_at_the_deadline(
    gateway: GatewayProcess, sent: bytes, trickle: bytes, deadline_seconds: int
) -> None:
    """T13: no request may take for ever to arrive."""
    taken = seconds_until_closed(gateway, sent, trickle)
    assert deadline_seconds - 0.1 <= taken < deadline_seconds + 2


def test_an_idle_connection_is_closed_after_the_keep_alive(gateway: GatewayProcess) -> None:
    """F20."""
    assert 4.5 <= seconds_until_closed(gateway, GOOD) < 7


def test_ten_thousand_trickling_connections_are_closed_and_good_requests_go_on(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """T13, F19."""
    gateway = make_gateway()

    def requests_per_second(seconds: float) -> tuple[float, list[float]]:
        times = []
        with gateway.client() as client:
            begun = time.monotonic()
            while time.monotonic() - begun < seconds:
                sent = time.monotonic()
                assert client.get("/livez").status_code == 200
                times.append(time.monotonic() - sent)
        return len(times) / seconds, times

    with many_files():
        quiet, quiet_times = requests_per_second(2)
        slow, begun = [], time.monotonic()
        for _ in range(10_000):
            connection = socket.create_connection(("127.0.0.1", gateway.port))
            connection.sendall(b"GET /livez HTTP/1.1\r\nHo")
            slow.append(connection)
        opened_seconds = time.monotonic() - begun
        busy, busy_times = requests_per_second(2)
        time.sleep(max(0.0, begun + opened_seconds + 7 - time.monotonic()))
        still_open = 0
        for connection in slow:
            connection.setblocking(False)
            try:
                still_open += connection.recv(10) != b""
            except BlockingIOError:
                still_open += 1
            except OSError:
                pass
            connection.close()
    print(
        f"10000 half-open connections in {opened_seconds:.1f} s, {still_open} left after 7 s; requests/s of one client "
        f"{quiet:.0f} before, {busy:.0f} meanwhile (ratio {busy / quiet:.2f}); median "
        f"{statistics.median(quiet_times) * 1000:.2f} and {statistics.median(busy_times) * 1000:.2f} ms"
    )
    assert still_open == 0
    assert busy > 0.6 * quiet
    assert httpx2.get(f"{gateway.url}/readyz").status_code == 200
