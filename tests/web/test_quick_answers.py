"""Quick answers, given as soon as a head is read: the same as those of the ordinary way, in order, and bounded."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from gateway.cores import usable_cores
from tests.harness import UNUSED_TLS, GatewayProcess, wait_until

ENVELOPE = (
    "date",
    "connection",
    "x-request-id",
    "x-content-type-options",
    "cross-origin-resource-policy",
    "referrer-policy",
    "content-security-policy",
)
MOST_TAKEN_BYTES = 64 * 2**20
"""More than the kernel keeps on its way to the gateway, and of answers on their way back."""
PATHS = ("/api/authz/auth-request", "/api/authz/forward-auth?role=staff", "/.well-known/jwks.json")


@pytest.fixture
def bearer(gateway: GatewayProcess) -> str:
    with gateway.client() as client:
        return f"Bearer {gateway.login(gateway.add_user(), client)['access_token']}"


def request(path: str, bearer: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", f"Authorization: {bearer}", *lines, "", ""]).encode()


class Answers:
    """Reads answers one after another from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.file = connection.makefile("rb")

    def next(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name] = value
        return status, headers, self.file.read(int(headers["content-length"]))


def connect(gateway: GatewayProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=5)


@pytest.mark.parametrize("path", PATHS)
def test_a_quick_answer_says_what_the_ordinary_way_says(gateway: GatewayProcess, bearer: str, path: str) -> None:
    """A request that wants its connection closed goes the ordinary way."""
    said = []
    for lines in ((), ("Connection: close",)):
        with connect(gateway) as connection:
            connection.sendall(request(path, bearer, *lines))
            status, headers, body = Answers(connection).next()
        assert "date" in headers
        assert ("x-request-id" in headers) is bool(lines)  # else both went the same way
        said.append((status, {name: value for name, value in headers.items() if name not in ENVELOPE}, body))
    assert said[0] == said[1]
    assert said[0][0] == 200


def test_answers_come_in_the_order_of_the_requests_whoever_gives_them(gateway: GatewayProcess, bearer: str) -> None:
    asked = ["/livez", *PATHS, "/readyz", "/nothing", *PATHS, "/auth/me", PATHS[0], PATHS[2]] * 20
    with connect(gateway) as connection:
        connection.sendall(b"".join(request(path, bearer) for path in asked))
        answers = Answers(connection)
        for path in asked:
            status, headers, body = answers.next()
            assert status == (404 if path == "/nothing" else 200)
            assert ("remote-user" in headers) is path.startswith("/api/authz/")
            assert (b'"keys"' in body) is path.endswith("jwks.json")
            assert (b'"email"' in body) is path.endswith("/me")


@pytest.mark.parametrize("path", PATHS)
def test_a_head_may_come_in_two_pieces_cut_anywhere(gateway: GatewayProcess, bearer: str, path: str) -> None:
    sent = request(path, bearer)
    with connect(gateway) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(connection)
        for cut in (*range(1, 80), *range(len(sent) - 60, len(sent))):
            connection.sendall(sent[:cut])
            time.sleep(0.0005)
            connection.sendall(sent[cut:])
            assert answers.next()[0] == 200


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 29",), b"GET /nothing HTTP/1.1\r\nHost:x"),
        (("Transfer-Encoding: chunked",), b"1d\r\nGET /nothing HTTP/1.1\r\nHost:x\r\n0\r\n\r\n"),
    ],
)
def test_the_body_of_a_subrequest_is_not_taken_for_a_request(
    gateway: GatewayProcess, bearer: str, lines: tuple[str, ...], body: bytes
) -> None:
    """T10: also when it comes at once with the head."""
    with connect(gateway) as connection:
        answers = Answers(connection)
        for _ in range(3):
            connection.sendall(request(PATHS[0], bearer, *lines) + body + request(PATHS[2], bearer))
            assert "remote-user" in answers.next()[1]
            assert b'"keys"' in answers.next()[2]


def test_what_is_denied_is_denied_and_the_connection_goes_on(gateway: GatewayProcess, bearer: str) -> None:
    with connect(gateway) as connection:
        answers = Answers(connection)
        for sent, expected in (
            (request(PATHS[0], bearer), 200),
            (request(PATHS[0], bearer + "x"), 401),
            (request(PATHS[0] + "?role=admin", bearer), 403),
            (request(PATHS[0], bearer, f"Authorization: {bearer}"), 401),
            (request(PATHS[0], bearer), 200),
        ):
            connection.sendall(sent)
            assert answers.next()[0] == expected


@pytest.mark.parametrize("path", PATHS[:2])
def test_who_was_let_through_again_and_again_is_not_once_his_session_has_ended(
    gateway: GatewayProcess, path: str
) -> None:
    with gateway.client() as client, connect(gateway) as connection:
        access_token = gateway.login(gateway.add_user(), client)["access_token"]
        answers, sent = Answers(connection), request(path, f"Bearer {access_token}")
        for _ in range(3):
            connection.sendall(sent)
            assert answers.next()[0] == 200
        ended = client.post("/auth/logout-all", headers={"Authorization": f"Bearer {access_token}"})
        assert ended.status_code == 200
        for _ in range(2):
            connection.sendall(sent)
            assert answers.next()[0] == 401


def test_a_token_as_a_cookie_is_found_in_whichever_field_it_came_and_refused_when_it_came_twice(
    gateway: GatewayProcess, bearer: str
) -> None:
    """RFC 9113 section 8.2.3 lets a proxy pass cookies on in several fields."""
    token = bearer.removeprefix("Bearer ")
    ours, other = f"Cookie: access_token={token}", "Cookie: theme=dark"
    with connect(gateway) as connection:
        answers = Answers(connection)
        for lines, expected in (
            ((ours,), 200),
            ((ours, other), 200),
            ((other, ours), 200),
            ((ours, ours), 401),
            ((ours, other, f"Authorization: {bearer}"), 401),
            ((other, other, f"Authorization: {bearer}"), 200),
        ):
            head = (f"GET {PATHS[0]} HTTP/1.1", "Host: x", *lines, "", "")
            connection.sendall("\r\n".join(head).encode())
            status, headers, _ = answers.next()
            assert (status, "x-request-id" in headers) == (expected, expected != 200)


def test_a_connection_of_quick_answers_is_closed_when_it_is_idle(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """F20."""
    with connect(make_gateway(keep_alive_seconds=5)) as connection:
        connection.settimeout(10)
        connection.sendall(request(PATHS[2], ""))
        assert Answers(connection).next()[0] == 200
        begun = time.monotonic()
        assert connection.recv(1) == b""
        assert 4 < time.monotonic() - begun < 8


def test_who_asks_on_and_reads_nothing_is_not_answered_on(gateway: GatewayProcess, bearer: str) -> None:
    """F19: what waits for a slow reader is bounded."""
    assert gateway.process is not None
    block, sent = request(PATHS[0], bearer) * 100, 0
    with connect(gateway) as connection:
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < MOST_TAKEN_BYTES:
                sent += connection.send(block)
        assert sent < MOST_TAKEN_BYTES, "there was no end to it"
        with httpx2.Client(verify=UNUSED_TLS) as client:  # and nobody else waits for it
            assert client.get(f"{gateway.url}/livez", timeout=1).status_code == 200


def test_a_gateway_that_is_told_to_stop_does_not_wait_for_quick_connections(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    """F22."""
    gateway = make_gateway()
    assert gateway.process is not None
    with gateway.client() as client:
        token = gateway.login(gateway.add_user(), client)["access_token"]
    with connect(gateway) as connection:
        answers = Answers(connection)
        for _ in range(10):
            connection.sendall(request(PATHS[0], f"Bearer {token}"))
            assert answers.next()[0] == 200
        gateway.process.send_signal(signal.SIGTERM)
        process = gateway.process
        wait_until(lambda: process.poll() is not None, 3, "the end")


def test_head_and_body_of_an_answer_come_together(gateway: GatewayProcess, bearer: str) -> None:
    """One system call and one packet for each answer, whoever gives it."""
    with connect(gateway) as connection:
        for path in (*PATHS, "/auth/me", "/livez", "/nothing"):
            connection.sendall(request(path, bearer))
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert len(body) == int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


LOGIN_BODY = b'{"username": "nobody@example.com", "password": "not the password"}'


def login_request(*lines: str, body: bytes = LOGIN_BODY) -> bytes:
    head = ("POST /auth/login HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}")
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


@pytest.fixture
def full_gateway(make_gateway: Callable[..., GatewayProcess]) -> Iterator[GatewayProcess]:
    """Give a gateway with so many logins waiting, that there is no room for more than a second."""
    gateway = make_gateway(bcrypt_cost=15, allowed_origins="https://app.example.com")
    with contextlib.ExitStack() as waiting:
        for _ in range(2 * usable_cores() + 4):
            waiting.enter_context(connect(gateway)).sendall(login_request())
        time.sleep(0.2)
        yield gateway
        gateway.kill()  # else it ends when all of them are hashed


def logged(gateway: GatewayProcess, request_id: str) -> dict[str, Any]:
    """Give the line of a request in the access log, which may come a moment after its answer."""
    lines: list[dict[str, Any]] = []

    def is_there() -> bool:
        lines[:] = [line for line in gateway.log_lines() if line.get("request_id") == request_id]
        return bool(lines)

    wait_until(is_there, what="the line in the log")
    [line] = lines
    return line


def test_a_login_that_there_is_no_room_for_is_refused_as_the_ordinary_way_refuses_it(
    full_gateway: GatewayProcess,
) -> None:
    """F17. A request that wants its connection closed goes the ordinary way."""
    said, ids = [], []
    for lines in ((), ("Connection: close",)):
        with connect(full_gateway) as connection:
            connection.sendall(login_request(*lines))
            status, headers, body = Answers(connection).next()
        ids.append(headers.pop("x-request-id"))
        assert 2 <= int(headers.pop("retry-after")) <= 10
        assert (headers.pop("connection", "") == "close") is bool(lines)
        headers.pop("date")
        said.append((status, headers, body))
    assert said[0] == said[1]
    assert said[0][0] == 503
    assert json.loads(said[0][2])["type"].endswith(":overloaded")
    for request_id in ids:
        line = logged(full_gateway, request_id)
        assert (line["status"], line["problem"], line["peer"]) == (503, "overloaded", "127.0.0.1")


def test_the_body_of_a_refused_login_is_not_taken_for_a_request(full_gateway: GatewayProcess) -> None:
    """T10: nor is it waited for."""
    hidden = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = login_request(body=hidden)
    with connect(full_gateway) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(connection)
        for cut in (0, 1, len(hidden) // 2, len(hidden)):
            connection.sendall(sent[: len(sent) - cut])
            assert answers.next()[0] == 503
            connection.sendall(sent[len(sent) - cut :] + request("/livez", ""))
            assert answers.next()[0] == 200


def test_what_is_wrong_with_a_login_itself_is_told_before_that_there_is_no_room(full_gateway: GatewayProcess) -> None:
    expected = {
        login_request("Origin: https://elsewhere.example"): (403, None),
        login_request("Sec-Fetch-Site: cross-site"): (403, None),
        login_request("Origin: https://app.example.com"): (503, "https://app.example.com"),
        login_request(body=b" " * 20_000): (413, None),
    }
    for sent, answer in expected.items():
        with connect(full_gateway) as connection:
            connection.sendall(sent)
            status, headers, _ = Answers(connection).next()
            assert (status, headers.get("access-control-allow-origin")) == answer
