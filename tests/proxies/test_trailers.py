"""
What follows a body, and what `Connection` names, changes nothing of what the application learns.

The application behind takes trailers for headers, as uvicorn with httptools does.
"""

import http.client
import socket
from collections.abc import Callable, Iterable

import pytest

from tests.harness import GatewayProcess, Login
from tests.proxies.conftest import log_in
from tests.proxies.echo import EchoApplication
from tests.proxies.fronts import Answer, Front, with_seen
from tests.proxies.test_protection import REMOTE

FORGED = {
    "Remote-User": "forged@example.com",
    "Remote-Groups": "forged",
    "Remote-Sub": "forged",
    "Remote_User": "forged@example.com",
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Proto": "forged",
    "Authorization": "Bearer forged",
    "Cookie": "forged=1",
    "X-Anything": "forged",
}
HEAD = "POST /page HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"


def fields(headers: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1") + b"\r\n"


def send_chunked(
    front: Front, headers: Iterable[tuple[str, str]], chunks: bytes, trailers: Iterable[tuple[str, str]]
) -> Answer:
    """Send a body in chunks, with trailers; the status is 0 where the proxy ends the connection without an answer."""
    with front.connect() as connection:
        try:
            connection.sendall(HEAD.encode() + fields(headers) + chunks + b"0\r\n" + fields(trailers))
            response = http.client.HTTPResponse(connection, method="POST")
            response.begin()
            return with_seen(Answer(response.status, response.getheaders(), response.read()))
        except (OSError, http.client.HTTPException):
            return Answer(0, [], b"")


def told(login: Login) -> dict[str, list[str]]:
    """Give what the application has to learn, and nothing besides."""
    return {
        "Remote-User": [login.user.email],
        "Remote-Groups": ["demo,staff"],
        "Remote-Email": [login.user.email],
        "Remote-Sub": [login.user.user_id],
    }


def check_unforged(answer: Answer, login: Login, application: EchoApplication, requests_before: int) -> None:
    """Check that whatever the application was asked since then told it the truth."""
    assert answer.status in (0, 200, 400, 403, 411), answer.status
    assert answer.seen or answer.status != 200
    for seen in application.seen[requests_before:]:
        assert {name: seen.values(name) for name in told(login)} == told(login)
        assert not [pair for pair in seen.headers if "forged" in pair[1] or "192.0.2.66" in pair[1]]


ANNOUNCEMENTS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "announced": lambda: [("Trailer", ", ".join(FORGED))],
    "announced one by one": lambda: [("trailer", name) for name in FORGED],
    "another announced": lambda: [("Trailer", "X-Checksum")],
    "not announced": list,
}


@pytest.mark.parametrize("announcement", ANNOUNCEMENTS)
@pytest.mark.parametrize("chunks", [b"", b"3\r\nabc\r\n", b"9c40\r\n" + b"x" * 40_000 + b"\r\n"], ids=len)
def test_no_trailer_reaches_the_application(
    chunks: bytes, announcement: str, tls_front: Front, login: Login, application: EchoApplication
) -> None:
    upgrade = [("Upgrade", "websocket"), ("Connection", "upgrade")]
    named = [("Connection", "TE, Remote-User, Remote-Groups"), ("TE", "trailers")]
    for headers in ([], [("TE", "trailers")], named, upgrade):
        before = len(application.seen)
        sent = [*login.bearer.items(), *ANNOUNCEMENTS[announcement](), *headers]
        answer = send_chunked(tls_front, sent, chunks, FORGED.items())
        check_unforged(answer, login, application, before)


@pytest.mark.parametrize("announcement", ANNOUNCEMENTS)
@pytest.mark.parametrize("body", [b"", b"abc"], ids=len)
@pytest.mark.parametrize("length", ["with a length", "without one"])
def test_no_trailer_reaches_the_application_over_http2(
    length: str, body: bytes, announcement: str, tls_front: Front, login: Login, application: EchoApplication
) -> None:
    before = len(application.seen)
    sent = [*login.bearer.items(), *ANNOUNCEMENTS[announcement](), ("te", "trailers")]
    if length == "with a length":
        sent.append(("content-length", str(len(body))))
    answer = tls_front.ask_over_http2("/page", sent, method="POST", body=body, trailers=FORGED)
    check_unforged(answer, login, application, before)


def test_no_trailer_logs_anybody_in(tls_front: Front, login: Login, application: EchoApplication) -> None:
    """Neither at the proxy's question nor at the gateway itself."""
    before = application.requests
    good = list(login.bearer.items())
    for announcement in ([("Trailer", "Authorization")], []):
        assert send_chunked(tls_front, announcement, b"3\r\nabc\r\n", good).status in (0, 400, 401, 411)
        answer = tls_front.ask_over_http2("/page", announcement, method="POST", body=b"abc", trailers=good)
        assert answer.status in (0, 400, 401, 411)
    assert application.requests == before


def test_http2_in_front_brings_the_body_and_who_it_is(tls_front: Front, login: Login) -> None:
    """A browser may send each cookie in a field of its own (RFC 9113, section 8.2.3)."""
    cookies = [("cookie", "a=b"), ("cookie", f"__Secure-access_token={login.access_token}"), ("cookie", "c=d")]
    answer = tls_front.ask_over_http2("/page", [*cookies, ("content-length", "3")], method="POST", body=b"abc")
    assert answer.status == 200
    assert answer.seen
    assert (answer.seen.method, answer.seen.body) == ("POST", "abc")
    assert {name: answer.seen.values(name) for name in told(login)} == told(login)
    assert tls_front.ask_over_http2("/page").status == 401


NAMED = [
    *REMOTE,
    "remote-user",
    "REMOTE-USER",
    "reMote-Groups",
    ", ".join(REMOTE),
    ",".join(name.lower() for name in REMOTE),
    "Upgrade, Remote-User",
    "keep-alive, remote-user",
    "close,Remote-User",
    " ,, Remote-User ,\tRemote-Sub\t,",
    "Remote_User, Remote.User, Remote-User",
    "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host",
    "Authorization, Remote-Email",
    "Host, Remote-User, Content-Length",
]
REFUSED = {"envoy": NAMED[-3:], "traefik": NAMED[-2:-1]}


@pytest.mark.parametrize("named", [[name] for name in NAMED] + [list(REMOTE), ["close", *REMOTE]], ids="|".join)
def test_whatever_connection_names_the_application_learns_who_it_is(
    named: list[str], front: Front, login: Login
) -> None:
    """Not only is nothing forged: what the gateway says arrives. Some refuse what they cannot obey."""
    for forged in ([], [(name, "forged") for name in REMOTE]):
        headers = [*login.bearer.items(), *forged, *(("Connection", names) for names in named)]
        answer = front.ask("/page", headers)
        if named[0] in REFUSED.get(front.kind.name, ()):
            assert answer.status in (400, 401)
            continue
        assert answer.seen, answer.status
        assert {name: answer.seen.values(name) for name in told(login)} == told(login)
        (address,) = answer.seen.values("X-Forwarded-For")
        assert address == "127.0.0.1" or front.kind.name == "envoy"
        names = {name.strip().lower() for value in answer.seen.values("Connection") for name in value.split(",")}
        assert names <= {"close", "keep-alive", "upgrade", ""}, "the application could obey what Connection names"


def test_a_user_without_a_name_has_the_other_headers(front: Front, asked: GatewayProcess) -> None:
    """What the gateway has nothing to say about is empty or missing, whatever Connection names."""
    nameless = log_in(asked, name="", roles=("demo",))
    seen = front.ask("/page", [*nameless.bearer.items(), ("Connection", ", ".join(REMOTE))]).seen
    assert seen
    assert seen.values("Remote-Name") in ([], [""])
    assert seen.values("Remote-User") == [nameless.user.email]
    assert seen.values("Remote-Groups") == ["demo"]


@pytest.mark.parametrize("padding", [0, 20_000], ids=lambda octets: f"{octets} octets in the head")
@pytest.mark.parametrize("length", [1, 16_383, 16_384, 16_385, 30_000, 60_000, 300_000])
def test_a_body_in_chunks_arrives_whole_or_is_refused(
    length: int, padding: int, tls_front: Front, login: Login, application: EchoApplication
) -> None:
    """A proxy that gives it a length may not give it one that is too short."""
    before = application.requests
    body = bytes(ord("a") + place % 26 for place in range(length))
    pieces = [body[place : place + 997] for place in range(0, length, 997)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    sent = [*login.bearer.items(), ("A", "a" * padding)]
    answer = send_chunked(tls_front, sent, chunks, FORGED.items())
    assert [seen.body for seen in application.seen[before:]] in ([], [body.decode()])
    # 0: refused and closed while the body was still on its way.
    assert answer.status in ((0, 200, 411) if padding == 0 else (0, 200, 400, 411, 431, 502, 503)), answer.status


def test_a_question_that_caddy_sends_to_the_application_is_cut_off(
    front: Front, login: Login, application: EchoApplication
) -> None:
    """Caddy may open a connection for a question to where its request has got meanwhile, and would take a 200 there."""
    if front.kind.name != "caddy":
        pytest.skip("this proxy asks over connections of their own")
    before = application.requests
    question = (
        "GET /api/authz/forward-auth?role=demo HTTP/1.1\r\nHost: app.example.com\r\nX-Forwarded-Uri: /page\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(front.directory / "token-gateway.sock"))
        connection.sendall(question.encode())
        assert connection.recv(65536) == b""
    assert application.requests == before
    assert front.ask("/page", login.bearer).status == 200
