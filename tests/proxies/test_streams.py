"""
What lasts or is large: WebSockets, server-sent events, uploads, heads; and a gateway that hangs.

All proxies are silent side by side, for longer than the thirty seconds after which some of them would close.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.certificates import Certificates
from tests.harness import GatewayProcess, Login, wait_until
from tests.proxies.conftest import installed
from tests.proxies.echo import EchoApplication, message, read_message
from tests.proxies.fronts import CONFIG, KINDS, Front, Kind, seen_in
from tests.proxies.test_protection import REMOTE
from tests.proxies.test_trailers import told

SILENCE_SECONDS = 35
MOST_SECONDS = 3.0
OFFER = (
    "GET /socket HTTP/1.1\r\nHost: app.example.com\r\nUpgrade: {upgrade}\r\nConnection: {connection}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def offer(login: Login, *, upgrade: str = "websocket", connection: str = "Upgrade", forged: str = "") -> bytes:
    head = OFFER.format(upgrade=upgrade, connection=connection) + forged
    return (head + f"Authorization: {login.bearer['Authorization']}\r\n\r\n").encode()


def read_head(stream: Any) -> bytes:
    """Read up to the empty line."""
    lines = b""
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines += line
    return lines


class WebSocket:
    """An open WebSocket through a proxy; `seen` is what the application saw of the offer."""

    def __init__(self, front: Front, request: bytes) -> None:
        self.connection = front.connect()
        self.connection.settimeout(SILENCE_SECONDS + 20)
        self.connection.sendall(request)
        self._stream = self.connection.makefile("rb")
        head = read_head(self._stream)
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.seen = seen_in(read_message(self._stream) or b"")

    def echo(self, text: bytes) -> bytes | None:
        """Send a message and give what comes back."""
        self.connection.sendall(message(text, mask=b"mask"))
        return read_message(self._stream)

    def close(self) -> None:
        """Break it off."""
        self._stream.close()
        self.connection.close()


# ------------------------------------------------------------------------------------------------------------- upgrades

NAMED = ("Upgrade", "upgrade", "keep-alive, Upgrade", f"Upgrade, {', '.join(REMOTE)}", "Remote-User,upgrade")


@pytest.mark.parametrize("connection", NAMED)
def test_a_websocket_is_asked_about_and_the_application_learns_who_it_is(
    connection: str, front: Front, login: Login, application: EchoApplication
) -> None:
    before = application.requests
    forged = "".join(f"{name}: forged\r\n" for name in (*REMOTE, "Remote_User", "X-Forwarded-For"))
    with front.connect() as refused:
        head = OFFER.format(upgrade="websocket", connection=connection) + forged
        refused.sendall(head.encode() + b"\r\n")
        assert refused.recv(65536).split(b"\r\n")[0].split(b" ")[1] == b"401"
    assert application.requests == before
    socket_ = WebSocket(front, offer(login, connection=connection, forged=forged))
    assert {name: socket_.seen.values(name) for name in told(login)} == told(login)
    assert not [pair for pair in socket_.seen.headers if "forged" in pair[1]]
    assert socket_.echo(b"a") == b"a"
    assert socket_.echo(b"b" * 60_000) == b"b" * 60_000
    socket_.close()


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "foo", "h2c, websocket", "connect-udp", ""])
def test_nothing_but_a_websocket_is_upgraded(
    upgrade: str, front: Front, login: Login, application: EchoApplication
) -> None:
    """The application, which would take any offer, gets none."""
    before = len(application.seen)
    with front.connect() as connection:
        named = "Upgrade, HTTP2-Settings"
        request = offer(login, upgrade=upgrade, connection=named, forged="HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n")
        connection.sendall(request)
        assert b" 101 " not in connection.recv(65536).split(b"\r\n")[0]
    assert [value for seen in application.seen[before:] for value in seen.values("Upgrade") if value] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
def test_no_request_with_a_body_is_upgraded(
    method: str, front: Front, login: Login, application: EchoApplication
) -> None:
    before = len(application.seen)
    body = b"GET /smuggled HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
    with front.connect() as connection:
        request = offer(login, forged=f"Content-Length: {len(body)}\r\n").replace(b"GET", method.encode(), 1)
        connection.sendall(request + body)
        assert b" 101 " not in connection.recv(65536).split(b"\r\n")[0]
    assert not [seen for seen in application.seen[before:] if any(seen.values("Upgrade")) or seen.target == "/smuggled"]


# -------------------------------------------------------------------------------------------------------------- silence


class Silence:
    """What came through a proxy before and after the silence; `error` when it broke."""

    def __init__(self, front: Front, login: Login) -> None:
        self.error: Exception | None = None
        self._front, self._login = front, login
        self.socket_lasted = self.events_lasted = False
        self.first_event_seconds = 0.0
        self._threads = [threading.Thread(target=target) for target in (self._hold_socket, self._hold_events)]
        for thread in self._threads:
            thread.start()

    def join(self) -> "Silence":
        """Wait for the end of both."""
        for thread in self._threads:
            thread.join()
        return self

    def _hold_socket(self) -> None:
        try:
            held = WebSocket(self._front, offer(self._login))
            assert held.echo(b"before") == b"before"
            time.sleep(SILENCE_SECONDS)
            self.socket_lasted = held.echo(b"after") == b"after"
            held.close()
        except (OSError, AssertionError, ValueError) as error:
            self.error = error

    def _hold_events(self) -> None:
        head = f"GET /events?pause={SILENCE_SECONDS} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n"
        head += f"Accept: text/event-stream\r\nAuthorization: {self._login.bearer['Authorization']}\r\n\r\n"
        try:
            with self._front.connect() as connection:
                connection.settimeout(SILENCE_SECONDS + 20)
                started = time.monotonic()
                connection.sendall(head.encode())
                stream = connection.makefile("rb")
                assert b" 200 " in read_head(stream)
                while not stream.readline().startswith(b"data: {"):
                    pass
                self.first_event_seconds = time.monotonic() - started
                self.events_lasted = b"data: last" in stream.read()
        except (OSError, AssertionError) as error:
            self.error = error


@pytest.fixture(scope="module")
def silences(
    asked: GatewayProcess, login: Login, application: EchoApplication, certificates: Certificates, place: Path
) -> Iterator[dict[str, Silence]]:
    """Give what a silence did to each proxy that is installed; they are silent at the same time."""
    fronts = []
    try:
        for kind in KINDS:
            if kind.program is not None:
                fronts.append(Front(kind, place / f"{kind}-silent", asked.port, application.port, certificates).start())
        held = {front.kind.name: Silence(front, login) for front in fronts}
        yield {name: silence.join() for name, silence in held.items()}
    finally:
        for front in fronts:
            front.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_websocket_and_events_last_through_half_a_minute_of_silence(
    kind: Kind, silences: dict[str, Silence], request: pytest.FixtureRequest
) -> None:
    installed(kind)
    silence = silences[kind.name]
    assert silence.error is None
    assert silence.socket_lasted
    assert silence.events_lasted
    assert silence.first_event_seconds < 5, "an event waits until more of them come"


HOURS = {
    "nginx/protected.conf": [r"proxy_read_timeout (\d+)h", r"proxy_send_timeout (\d+)h"],
    "haproxy/haproxy.cfg": [r"timeout server (\d+)h", r"timeout tunnel (\d+)h"],
    "apache/token-gateway.conf": [r"127\.0\.0\.1:3000/ .*timeout=(\d+)00"],
    "traefik/traefik.yml": [r"readTimeout: (\d+)h"],
    "envoy/envoy.yaml": [r"stream_idle_timeout: (\d+)00s", r"cluster: app, timeout: (\d+)s"],
}


@pytest.mark.parametrize("name", HOURS)
def test_no_file_ends_a_silence_of_less_than_an_hour(name: str) -> None:
    """Caddy has no such time; Envoy's 0 is none."""
    text = (CONFIG / name).read_text()
    for pattern in HOURS[name]:
        assert re.findall(pattern, text), pattern


# --------------------------------------------------------------------------------------------------- large and too slow


def test_an_upload_of_two_megabytes_arrives_whole(front: Front, login: Login, application: EchoApplication) -> None:
    before = application.requests
    with contextlib.suppress(OSError):  # some close before they have read all of it
        assert front.ask("/upload", method="POST", body=b"x" * 2_097_152).status == 401
    assert application.requests == before
    answer = front.ask("/upload", login.bearer, method="POST", body=b"x" * 2_097_152)
    assert answer.seen, answer.status
    assert answer.seen.body == "x" * 2_097_152


@pytest.mark.parametrize("length", [9_000, 20_000, 28_000])
def test_a_head_as_large_as_the_gateway_takes_passes(length: int, front: Front, login: Login) -> None:
    """Cookies of other applications are long."""
    cookie = "; ".join(f"c{number}={'x' * 900}" for number in range(length // 900))
    answer = front.ask("/page", [*login.bearer.items(), ("Cookie", cookie)])
    assert answer.seen, answer.status
    assert answer.seen.values("Cookie") == [cookie]


class Relay:
    """A way to the gateway that hangs on demand: it takes connections and what comes on them, and gives nothing."""

    def __init__(self, port: int) -> None:
        self._target, self._flows = port, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._flows.set()
        self._threads = [threading.Thread(target=self._accept)]
        self._ends: list[socket.socket] = []
        self._threads[0].start()

    def hang(self) -> None:
        """Stop, in the middle of connections too."""
        self._flows.clear()

    def flow(self) -> None:
        """Go on."""
        self._flows.set()

    def stop(self) -> None:
        """Close everything."""
        self._flows.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += (near, far)
                for source, sink in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._copy, args=(source, sink)))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(65536):
                self._flows.wait()
                sink.sendall(octets)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(asked: GatewayProcess) -> Iterator[Relay]:
    """Give a way to the gateway that can be made to hang."""
    made = Relay(asked.port)
    yield made
    made.stop()


@pytest.mark.timeout(120)
def test_a_gateway_that_hangs_costs_three_seconds_at_most(
    relay: Relay, login: Login, application: EchoApplication, make_front: Callable[..., Front]
) -> None:
    """On kept connections and on new ones; then it heals by itself."""
    kinds = [kind for kind in KINDS if kind.program is not None]
    fronts = [make_front(kind, relay) for kind in kinds]
    for front in fronts:
        assert front.ask("/page", login.bearer).status == 200
    before = application.requests
    relay.hang()

    def measure(front: Front) -> list[tuple[int, float]]:
        found = []
        for headers in (login.bearer, login.bearer, {}):
            started = time.monotonic()
            found.append((front.ask("/page", headers).status, time.monotonic() - started))
        return found

    with ThreadPoolExecutor(len(fronts) or 1) as pool:
        measured = dict(zip([kind.name for kind in kinds], pool.map(measure, fronts), strict=True))
    relay.flow()
    print(measured)
    for name, answers in measured.items():
        for status, seconds in answers:
            assert 500 <= status < 600, (name, status)
            assert seconds < MOST_SECONDS + 0.5, (name, seconds)
    assert application.requests == before
    for front in fronts:
        assert front.ask("/page", login.bearer).status == 200, front.kind.name


@pytest.fixture
def talkative() -> Iterator[SimpleNamespace]:
    """Give a gateway that says as much as it may: identity headers of 3,500 bytes and an access token of 4,096."""
    said = {"Remote-User": "u" * 600, "Remote-Groups": "g" * 2_200, "Remote-Name": "n" * 300}
    said |= {"Remote-Email": "e" * 260, "Remote-Sub": "s" * 60}
    size = sum(len(f"{name}: {value}\r\n") for name, value in said.items())
    assert 3_450 < size <= 3_500, size
    head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\nX-Request-Id: 0123456789abcdef\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in said.items())
    head += f"Remote-Access-Token: {'t' * 4_096}\r\nConnection: close\r\n\r\n"
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as stream:
                    read_head(stream)
                    connection.sendall(head.encode())

    threading.Thread(target=serve, daemon=True).start()
    yield SimpleNamespace(port=listener.getsockname()[1], said=said)
    listener.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name != "envoy"], ids=str)
def test_all_that_the_gateway_may_say_arrives(
    kind: Kind, talkative: SimpleNamespace, make_front: Callable[..., Front]
) -> None:
    """Envoy lets in by role, which this gateway does not say."""
    front = make_front(kind, talkative, await_keys=False)
    wait_until(lambda: front.ask("/page").status == 200, what=f"{kind} to have read its files")
    seen = front.ask("/page").seen
    assert seen
    assert {name: seen.values(name) for name in talkative.said} == {
        name: [value] for name, value in talkative.said.items()
    }
