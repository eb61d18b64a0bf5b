"""Connections: what is no request is refused, what is too slow is closed, and the others do not notice."""

import contextlib
import os
import re
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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
    "another version": (b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "an unknown method": (b"HACK /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a path that is not ASCII": (b"GET /liv\xc3\xa9z HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a hundred headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 99 + b"\r\n", 200),
    "a hundred and one headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431),
    "20 000 headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", 431),
    "a head of 31 KiB": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 31_744 + b"\r\n\r\n", 200),
    "a head of 33 KiB": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 33_792 + b"\r\n\r\n", 431),
    "a head of 200 KiB": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200_000 + b"\r\n\r\n", 431),
    "a head that does not end": (b"GET /livez HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 38_000, 431),
    "a query of 20 KiB": (b"GET /livez?" + b"b" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "a query of 40 KiB": (b"GET /livez?" + b"b" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "chunks in HTTP/1.0": (
        b"POST /auth/logout HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "CONNECT": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an offer to upgrade": (b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
    "an offer to upgrade with a body": (
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpGrAdE: h2c\r\nContent-Length: 2\r\n\r\n{}",
        200,
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_sent_on_the_wire_gets_the_answer_of_the_table(gateway: GatewayProcess, name: str) -> None:
    """T10, T11: one reading of every request. Shows ASVS 4.2.1."""
    sent, expected = CORPUS[name]
    answer = exchange(gateway, sent)
    assert status(answer) == expected, answer
    if expected >= 400:
        slug = b"malformed-request" if expected == 400 else b"headers-too-large"
        assert b"urn:token-gateway:problem:" + slug in answer
        assert b"x-request-id: " in answer
        assert len(re.findall(rb"HTTP/1\.1 [0-9]{3}", answer)) == 1


@pytest.mark.parametrize(
    ("head", "expected", "slug"),
    [
        (b"Host: x\r\nCookie: a=" + b"b" * 33_000, 403, b"headers-too-large"),
        (b"Host: x\r\n" + b"A: b\r\n" * 300 + b"A: b", 403, b"headers-too-large"),
        (b"A: b", 401, b"access-token-invalid"),
        (b"Host: x\r\nCookie: a=" + b"b" * 20_000, 401, b"access-token-missing"),
    ],
    ids=["33 kB of cookies", "300 fields", "no Host", "20 kB of cookies"],
)
def test_a_subrequest_that_breaks_the_limits_is_denied(
    gateway: GatewayProcess, head: bytes, expected: int, slug: bytes
) -> None:
    """T8: a proxy would turn a 400 or a 431 into a 500."""
    answer = exchange(gateway, b"GET /api/authz/auth-request HTTP/1.1\r\n" + head + b"\r\n\r\n")
    assert status(answer) == expected, answer
    assert slug in answer
    assert (b"www-authenticate: Bearer" in answer) == (expected == 401)


def test_the_log_names_the_largest_header_of_a_head_that_is_too_large(gateway: GatewayProcess) -> None:
    before = gateway.log_size()
    exchange(gateway, b"GET /api/authz/auth-request HTTP/1.1\r\nHost: x\r\nCookie: a=" + b"b" * 33_000 + b"\r\n\r\n")
    [line] = [line for line in gateway.log_lines(before) if line.get("problem") == "headers-too-large"]
    assert line["cause"] == "2 fields, the largest cookie: 33008 bytes"


def test_two_requests_at_once_are_answered_in_their_order(gateway: GatewayProcess) -> None:
    other = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(gateway, GOOD + other)
    assert answer.index(b"200 OK") < answer.index(b"404 Not Found")


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_an_offer_to_upgrade_is_not_taken_and_its_connection_ends_with_the_answer(
    gateway: GatewayProcess, offer: str
) -> None:
    """What follows the head would be another protocol, were the offer taken."""
    user = gateway.add_user()
    with gateway.client() as client:
        token = gateway.login(user, client)["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Connection": "Upgrade", "Upgrade": offer}
        for path in ("/auth/me", "/api/authz/forward-auth", "/.well-known/jwks.json"):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_seconds_of(gateway: GatewayProcess) -> float:
    """Give how long it has used a core so far."""
    assert gateway.process is not None
    user, system = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


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


def test_an_idle_connection_is_closed_after_the_keep_alive(make_gateway: Callable[..., GatewayProcess]) -> None:
    """F20."""
    assert 5 <= seconds_until_closed(make_gateway(keep_alive_seconds=5), GOOD) < 7


def test_ten_thousand_trickling_connections_are_closed_and_good_requests_go_on(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """T13, F19."""
    gateway = make_gateway()

    def requests(seconds: float) -> tuple[float, list[float]]:
        """Ask for so long; give the gateway's own seconds for each request, whoever else uses the cores, and times."""
        times = []
        with gateway.client() as client:
            begun, cpu_seconds = time.monotonic(), cpu_seconds_of(gateway)
            while time.monotonic() - begun < seconds:
                sent = time.monotonic()
                assert client.get("/livez").status_code == 200
                times.append(time.monotonic() - sent)
        return (cpu_seconds_of(gateway) - cpu_seconds) / len(times), times

    with many_files():
        quiet, quiet_times = requests(2)
        slow, begun = [], time.monotonic()
        for _ in range(10_000):
            connection = socket.create_connection(("127.0.0.1", gateway.port))
            connection.sendall(b"GET /livez HTTP/1.1\r\nHo")
            slow.append(connection)
        opened_seconds = time.monotonic() - begun
        busy, busy_times = requests(2)
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
    # What they cost is a part of a core, however many requests others let through in that time.
    of_a_core = (busy - quiet) * len(busy_times) / sum(busy_times)
    print(
        f"10000 half-open connections in {opened_seconds:.1f} s, {still_open} left after 7 s; CPU for a request "
        f"{quiet * 1e6:.0f} us before, {busy * 1e6:.0f} us meanwhile, so they take {of_a_core:.2f} of a core; median "
        f"{statistics.median(quiet_times) * 1000:.2f} and {statistics.median(busy_times) * 1000:.2f} ms"
    )
    assert still_open == 0
    assert of_a_core < 0.4
    assert httpx2.get(f"{gateway.url}/readyz").status_code == 200
