"""Answers that go from the protocol to a handler and back: the same as those of the ordinary way, whatever happens."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.app import build_app
from gateway.cli.serve import server_config
from gateway.state import Gateway
from gateway.web.http.envelope import lines_of
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer, free_port, in_gateway, settings_of, wait_until
from tests.telemetry.scraping import Scrape, Series, settled
from tests.web.direct_requests import (
    ASKINGS,
    AUDIENCE,
    ORIGIN,
    Asking,
    Seed,
    Told,
    ask,
    masked,
    read_one,
    sow,
)

COUNTED = (
    "gateway_requests_total",
    "gateway_authz_total",
    "gateway_refreshes_total",
    "gateway_rate_limited_total",
    "gateway_sessions_ended_total",
    "gateway_audit_events_total",
)
CALLS = ("family_rotate", "gcra_take", "presence_look", "token_look", "family_mark", "family_revoke", "HEXISTS")
REQUESTS = sum(asking.times for asking in ASKINGS)


def grown(after: Scrape, before: Scrape) -> dict[Series, float]:
    """Give what was counted of the requests of these tests, and of what they ask Redis."""
    calls = after.since(before, "gateway_redis_seconds_count")
    asked = {series: more for series, more in calls.items() if dict(series[1])["call"] in CALLS}
    own = {
        series: more
        for series, more in after.since(before, *COUNTED).items()
        if ("endpoint", "/readyz") not in series[1]
    }
    return own | asked


def requests_in(counted: dict[Series, float]) -> float:
    return sum(more for series, more in counted.items() if series[0] == "gateway_requests_total")


class Both(NamedTuple):
    """What came of each request both ways, with the lines of the log and what was counted meanwhile."""

    told: dict[str, tuple[Told, Told]]
    log: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    counted: tuple[dict[Series, float], dict[Series, float]]


@pytest.fixture(scope="module")
def both(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    env = quick_environment(
        redis_server.url,
        redis_key_prefix="direct:",
        refresh_limit="3/day",
        trusted_proxies="127.0.0.1",
        allowed_origins=ORIGIN,
        return_hosts="*.example.test",
        audiences=AUDIENCE,
        metrics_address=f"127.0.0.1:{free_port()}",
        issuer="http://gateway.test",
    )
    seeds: dict[tuple[str, bool], Seed] = {}

    async def arrange(opened: Gateway) -> None:
        for number, (asking, directly) in enumerate((asking, way) for asking in ASKINGS for way in (True, False)):
            seeds[asking.name, directly] = seed = await sow(opened, number)
            if asking.arrange is not None:
                await asking.arrange(opened, seed)

    process = GatewayProcess(env, tmp_path_factory.mktemp("direct") / "gateway.log").start()
    in_gateway(env, arrange)
    told: dict[bool, dict[str, Told]] = {}
    log, counted = [], []
    for directly in (True, False):
        before, size = (
            settled(process, lambda scrape: scrape.get("gateway_workers") == 1, "the metrics"),
            process.log_size(),
        )
        told[directly] = {
            asking.name: ask(process, asking, seeds[asking.name, directly], directly=directly) for asking in ASKINGS
        }
        after = settled(process, lambda scrape: requests_in(grown(scrape, before)) >= REQUESTS, "all requests")  # noqa: B023 - used at once
        log.append(process.log_lines(size))
        counted.append(grown(after, before))
    yield Both(
        {name: (told[True][name], told[False][name]) for name in told[True]}, (log[0], log[1]), (counted[0], counted[1])
    )
    process.stop()


@pytest.mark.redis
@pytest.mark.parametrize("asking", ASKINGS, ids=str)
def test_an_answer_is_the_same_both_ways(both: Both, asking: Asking) -> None:
    direct, ordinary = both.told[asking.name]
    assert direct.answers == ordinary.answers
    assert [answer[0] for answer in direct.answers][-1:] == ([asking.status] if asking.status else [])


@pytest.mark.redis
@pytest.mark.parametrize("asking", [asking for asking in ASKINGS if asking.status], ids=str)
def test_the_log_says_the_same_both_ways(both: Both, asking: Asking) -> None:
    def said(way: int) -> list[str]:
        request_id = both.told[asking.name][way].request_id
        lines = [line for line in both.log[way] if line.get("request_id") == request_id]
        told = [
            {name: value for name, value in line.items() if name not in ("time", "milliseconds", "request_id", "sid")}
            for line in lines
        ]
        return [masked(_without_frames(json.dumps(line))) for line in told]

    assert said(0) == said(1)
    is_told = asking.status != 200 or "refresh" in asking.request
    assert bool(said(0)) is is_told


def _without_frames(line: str) -> str:
    """Give a line of the log without where in the code an error was: the frames around the handler differ."""
    return json.dumps({**json.loads(line), "traceback": ""})


@pytest.mark.redis
def test_who_is_gone_before_his_body_has_a_line_in_the_log_too(both: Both) -> None:
    for log in both.log:
        [line] = [line for line in log if line.get("path") == "/auth/refresh" and line.get("status") == 0]
        assert "problem" not in line


@pytest.mark.redis
def test_both_ways_count_the_same_and_ask_redis_as_often(both: Both) -> None:
    direct, ordinary = both.counted
    assert direct == ordinary
    print(f"{REQUESTS} requests each way, {len(ASKINGS)} kinds; {len(direct)} series grew alike")
    assert sum(more for series, more in direct.items() if series[0] == "gateway_redis_seconds_count") > len(ASKINGS) / 2


class Counting:
    """The application as uvicorn sees it, which counts what it is asked."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._app = build_app(settings_of(settings))
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request, and hand it on."""
        self.asked += scope["type"] == "http"
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def counting(redis_server: RedisServer) -> Iterator[tuple[Counting, int]]:
    """Give an application and the port where it is served, in this process."""
    app = Counting(quick_environment(redis_server.url, redis_key_prefix="direct-ways:", port=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(server_config(app, keep_alive_seconds=75))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: server.started, what="the server")
        yield app, listener.getsockname()[1]
        server.should_exit = True
        thread.join(30)


REFRESH, LOOK = "POST /auth/refresh HTTP/1.1\r\nHost: x\r\n", "GET /api/authz/forward-auth HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.redis
@pytest.mark.parametrize(
    ("request_text", "is_direct"),
    [
        (REFRESH + "\r\n", True),
        (REFRESH + "Cookie: refresh_token=x\r\nOrigin: https://elsewhere.example\r\n\r\n", True),
        (REFRESH + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", True),
        (LOOK + "\r\n", True),
        (LOOK + "Content-Length: 0\r\n\r\n", True),
        (LOOK + "Content-Length: 2\r\n\r\n{}", False),
        (LOOK.replace("GET", "OPTIONS") + "\r\n", False),
        (LOOK.replace("forward-auth", "ext-authz") + "\r\n", False),
        (REFRESH + "Connection: close\r\n\r\n", False),
        (REFRESH + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", False),
        (REFRESH + "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", False),
        (REFRESH + "Content-Length: 16385\r\n\r\n" + " " * 16_385, False),
        (REFRESH + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False),
        (REFRESH.replace("1.1", "1.0") + "Connection: keep-alive\r\n\r\n", False),
        (REFRESH.replace("refresh", "refresh#x") + "\r\n", False),
        (REFRESH.replace("refresh", "%72efresh") + "\r\n", False),
        (REFRESH.replace("POST", "OPTIONS") + "\r\n", False),
    ],
)
def test_plain_requests_go_directly_and_others_do_not(
    counting: tuple[Counting, int], request_text: str, is_direct: bool
) -> None:
    """Else the tests of both ways would compare one with itself."""
    app, port = counting
    before = app.asked
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request_text.encode())
        connection.recv(65_536)
    assert app.asked - before == (0 if is_direct else 1)


WAYS = ("", "Connection: close\r\n")


def refresh_of(token: str, way: str = "") -> tuple[bytes, bytes]:
    """Give head and body of a refresh."""
    body = json.dumps({"refresh_token": token}).encode()
    return f"{REFRESH}{way}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body


def seeds_of(gateway: GatewayProcess, count: int) -> list[str]:
    """Give refresh tokens of as many users of their own."""

    async def work(opened: Gateway) -> list[str]:
        return [(await sow(opened, time.monotonic_ns())).refresh_token for _ in range(count)]

    return in_gateway(gateway.env, work)


def connect(gateway: GatewayProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=5)


@pytest.mark.redis
def test_redis_away_is_told_the_same_both_ways_and_quickly(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)

    async def work(opened: Gateway) -> Seed:
        return await sow(opened, 1)

    seed = in_gateway(gateway.env, work)
    server.kill()
    asked = [asking for asking in ASKINGS if asking.name in ("cookie", "body", "browser", "script")]
    for asking in asked:
        begun = time.monotonic()
        direct, ordinary = (ask(gateway, asking, seed, directly=directly) for directly in (True, False))
        assert direct.answers == ordinary.answers
        [(status, headers, _)] = direct.answers
        assert (status, "retry-after" in dict(headers)) == (503, True)
        assert time.monotonic() - begun < 4

    def said() -> list[dict[str, Any]]:
        return [line for line in gateway.log_lines() if line.get("status") == 503]

    wait_until(lambda: len(said()) == 2 * len(asked), what="a line for each")
    assert {line["problem"] for line in said()} == {"store-unavailable"}


@pytest.mark.redis
def test_who_hangs_up_while_redis_is_asked_leaves_nothing_behind(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    for done, way in enumerate(WAYS, start=1):
        token, other = seeds_of(gateway, 2)
        with held(server), connect(gateway) as connection:
            connection.sendall(b"".join(refresh_of(token, way)))
            time.sleep(0.1)
            connection.close()
        wait_until(lambda: len(refreshes_in(gateway)) == 2 * done - 1, what="its line")  # noqa: B023 - used at once
        with connect(gateway) as connection:
            connection.sendall(b"".join(refresh_of(other, way)))
            assert read_one(connection).status == 200
        wait_until(lambda: len(refreshes_in(gateway)) == 2 * done, what="the line of the other")  # noqa: B023 - likewise
    assert {(line["status"], line["cause"]) for line in refreshes_in(gateway)} == {(200, "rotated")}
    assert "Traceback" not in gateway.log_text()


@pytest.mark.redis
@pytest.mark.parametrize("moment", ["in the body", "at Redis"])
def test_a_gateway_that_is_told_to_stop_answers_what_it_has_begun(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess], moment: str
) -> None:
    """F22."""
    server = own_redis()
    gateway = make_gateway(redis_url=server.url)
    assert gateway.process is not None
    process = gateway.process
    asked = [refresh_of(token, way) for token, way in zip(seeds_of(gateway, len(WAYS)), WAYS, strict=True)]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(gateway)) for _ in asked]
        with held(server):
            for connection, (head, body) in zip(connections, asked, strict=True):
                connection.sendall(head + (body[:10] if moment == "in the body" else body))
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        for connection, (_, body) in zip(connections, asked, strict=True):
            if moment == "in the body":
                connection.sendall(body[10:])
            answer = read_one(connection)
            assert (answer.status, answer.values("connection")) == (200, ["close"])
            assert connection.recv(1) == b""
    wait_until(lambda: process.poll() is not None, 3, "the end")


@contextlib.contextmanager
def held(server: RedisServer) -> Iterator[None]:
    """Let Redis answer nobody for a while."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


def refreshes_in(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines() if line.get("path") == "/auth/refresh"]


@pytest.mark.redis
def test_nothing_else_of_a_connection_is_looked_at_before_the_answer(gateway: GatewayProcess) -> None:
    """A pipeline of refreshes, each of the same token, and quick answers: answered in their order, and the last too."""
    [token] = seeds_of(gateway, 1)
    one = b"".join(refresh_of(token))
    quick = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"
    bodies = b""
    with connect(gateway) as connection:
        connection.sendall((one + quick) * 20)
        while bodies.count(b"HTTP/1.1 200") < 40:
            octets = connection.recv(65_536)
            assert octets
            bodies += octets
    kinds = ["refresh" if b'"access_token"' in part else "keys" for part in bodies.split(b"HTTP/1.1 200")[1:]]
    assert kinds == ["refresh", "keys"] * 20


def test_a_header_that_would_be_two_lines_is_not_sent() -> None:
    """What uvicorn looks at in the ordinary way."""
    headers = [(b"content-length", b"0"), (b"Location", b"/x")]
    assert lines_of(headers, b"") == b"content-length: 0\r\nlocation: /x\r\n\r\n"
    for value in (b"/x\r\nSet-Cookie: a=b", b"/x\nb: c", b"/x\r"):
        with pytest.raises(ValueError, match="the end of a line"):
            lines_of([*headers, (b"x", value)], b"")
