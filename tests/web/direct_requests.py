"""Requests that go the direct way, or with `Connection: close` the ordinary one; what each takes, and what comes."""

import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from string import Template

from gateway.sessions import new_family_id
from gateway.state import Gateway
from tests.harness import GatewayProcess
from tests.web.asking import MAX_BODY_BYTES, RawAnswer, parse_raw

AUDIENCE = "https://wiki.example.test"
ORIGIN = "https://app.example.test"
_CLOSE = "Connection: close"
_MASKED = tuple(
    (re.compile(form), word)
    for form, word in (
        (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "JWT"),
        (r"(gwp_)?[A-Za-z0-9_-]{92}", "OPAQUE"),
        (r"usr_[A-Za-z0-9_-]{22}|user\d+@example\.com|user\d+%40example\.com", "USER"),
        (r"pat_[A-Za-z0-9_-]{22}", "TOKEN"),
        (r"192\.0\.2\.\d+", "ADDRESS"),
        (r"(?<=Max-Age=)[1-9]\d+|(?<=;t=)\d+", "SECONDS"),
    )
)


@dataclass(frozen=True)
class Seed:
    """A user with a session, and what it takes to ask as him; `address` is where he is."""

    user_id: str
    sid: str
    refresh_token: str
    cookie: str
    personal_token: str
    address: str


Arrange = Callable[[Gateway, Seed], Awaitable[object]]


async def sow(gateway: Gateway, number: int) -> Seed:
    """Make a user with a session and a personal token, who has never logged in."""
    user = await gateway.users.add(f"user{number}@example.com", "Ann", ("staff",), "no hash at all")
    opened = await gateway.families.open(user.user_id, 1, new_family_id(), "192.0.2.1", "Firefox")
    token, _ = await gateway.personal_tokens.create(user.user_id, "backup", None)
    cookie = gateway.families.cookie_of(user.user_id, opened)
    return Seed(user.user_id, opened.family_id, opened.refresh_token, cookie, token, f"192.0.2.{number}")


async def _use_it_up(gateway: Gateway, seed: Seed) -> None:
    token = gateway.families.parse(seed.refresh_token)
    for _ in range(2):
        token = gateway.families.parse((await gateway.families.rotate(token)).refresh_token)


async def _lose_it(gateway: Gateway, seed: Seed) -> None:
    for kind in ("families", "tokens"):
        await gateway.store.execute("DEL", gateway.store.key(f"{kind}:{{{seed.user_id}}}"))


async def _revoke_it(gateway: Gateway, seed: Seed) -> None:
    await gateway.end_families(seed.user_id, (seed.sid,))


async def _disable(gateway: Gateway, seed: Seed) -> None:
    await gateway.store.execute("HSET", gateway.store.key(f"user:{{{seed.user_id}}}"), "is_active", "0")


async def _spoil(gateway: Gateway, seed: Seed) -> None:
    await gateway.store.execute("HSET", gateway.store.key(f"user:{{{seed.user_id}}}"), "name", b"\xff")


@dataclass(frozen=True)
class Asking:
    """
    One request, or the same several times.

    In lines and body `$refresh_token` and the like stand for what the seed has. With status 0 the client is gone when
    he has sent half of the body, and there is no answer.
    """

    name: str
    status: int
    request: str = "POST /auth/refresh"
    lines: tuple[str, ...] = ()
    body: str = ""
    arrange: Arrange | None = None
    times: int = 1
    pieces: int = 1

    def __str__(self) -> str:
        """Name it in the list of tests."""
        return self.name


@dataclass
class Told:
    """What came back of one asking, of each time, and the id of the last request."""

    answers: list[tuple[int, list[tuple[str, str]], str]] = field(default_factory=list)
    request_id: str = ""


JSON = ("Content-Type: application/json",)
TOKEN = '{"refresh_token":"$refresh_token"}'
COOKIE = ("Cookie: refresh_token=$refresh_token",)
BROWSER = "Cookie: gateway_session=$cookie"
SCRIPT = "Authorization: Bearer $personal_token"
NAVIGATION = ("Accept: text/html", "X-Original-Method: GET", f"X-Original-URL: {ORIGIN}/wiki")
LED = (
    "Accept: text/html",
    "X-Forwarded-Method: GET",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: app.example.test",
    "X-Forwarded-Uri: /wiki",
)
AUTH_REQUEST, FORWARD = "GET /api/authz/auth-request", "GET /api/authz/forward-auth"

ASKINGS = (
    Asking("cookie", 200, lines=COOKIE),
    Asking("cookie-and-no-body-told", 200, lines=(*COOKIE, "Content-Length: 0")),
    Asking("cookie-of-an-allowed-origin", 200, lines=(*COOKIE, f"Origin: {ORIGIN}")),
    Asking("cookie-of-another-origin", 403, lines=(*COOKIE, "Origin: https://elsewhere.example")),
    Asking("cookie-across-sites", 403, lines=(*COOKIE, "Sec-Fetch-Site: cross-site")),
    Asking("cookie-sent-twice", 400, lines=COOKIE * 2),
    Asking("cookie-used-up", 401, lines=COOKIE, arrange=_use_it_up),
    Asking("cookie-forged", 401, lines=("Cookie: refresh_token=x$refresh_token",)),
    Asking("cookie-with-a-trace", 200, lines=(*COOKIE, f"traceparent: 00-{'a' * 32}-{'b' * 16}-01")),
    Asking("body", 200, lines=JSON, body=TOKEN),
    Asking("body-in-pieces", 200, lines=JSON, body=TOKEN, pieces=20),
    Asking(
        "form", 200, lines=("Content-Type: application/x-www-form-urlencoded",), body="refresh_token=$refresh_token"
    ),
    Asking("body-and-cookie", 400, lines=(*COOKIE, *JSON), body=TOKEN),
    Asking("body-again", 200, lines=JSON, body=TOKEN, times=2),
    Asking("body-limited", 429, lines=JSON, body=TOKEN, times=4),
    Asking("body-used-up", 401, lines=JSON, body=TOKEN, arrange=_use_it_up),
    Asking("body-unknown", 401, lines=JSON, body=TOKEN, arrange=_lose_it),
    Asking("body-revoked", 401, lines=JSON, body=TOKEN, arrange=_revoke_it),
    Asking("body-of-a-disabled-user", 401, lines=JSON, body=TOKEN, arrange=_disable),
    Asking("body-of-an-unreadable-user", 500, lines=(*JSON, f"Origin: {ORIGIN}"), body=TOKEN, arrange=_spoil),
    Asking("nothing", 401),
    Asking("no-json", 400, lines=JSON, body="{"),
    Asking("another-type", 415, lines=("Content-Type: text/plain",), body="x"),
    Asking("in-the-query", 400, request="POST /auth/refresh?refresh_token=x"),
    Asking("as-large-as-may-be", 401, lines=JSON, body="{}" + " " * (MAX_BODY_BYTES - 2)),
    Asking("too-large", 413, lines=JSON, body=" " * (MAX_BODY_BYTES + 1)),
    Asking("gone-in-the-middle", 0, lines=JSON, body=TOKEN),
    Asking("browser", 200, AUTH_REQUEST, (BROWSER,)),
    Asking("browser-with-the-role", 200, FORWARD + "?role=staff", (BROWSER,)),
    Asking("browser-without-the-role", 403, AUTH_REQUEST + "?role=admin", (BROWSER, *NAVIGATION)),
    Asking("browser-for-an-application", 200, AUTH_REQUEST + f"?token={AUDIENCE}", (BROWSER,)),
    Asking("browser-whose-other-cookies-are-wanted", 200, AUTH_REQUEST + "?cookies=others", (BROWSER + "; a=b",)),
    Asking("browser-with-a-body", 200, AUTH_REQUEST, (BROWSER,), body="GET / HTTP/1.1"),
    Asking("browser-unknown", 401, AUTH_REQUEST, (BROWSER, *NAVIGATION), arrange=_lose_it),
    Asking("browser-unknown-led", 302, FORWARD, (BROWSER, *LED), arrange=_lose_it),
    Asking("browser-revoked", 401, AUTH_REQUEST, (BROWSER,), arrange=_revoke_it),
    Asking("browser-disabled", 401, AUTH_REQUEST, (BROWSER,), arrange=_disable),
    Asking("browser-of-an-unreadable-user", 401, AUTH_REQUEST, (BROWSER,), arrange=_spoil),
    Asking("browser-forged", 401, AUTH_REQUEST, ("Cookie: gateway_session=x$cookie",)),
    Asking("browser-without-anything", 401, FORWARD),
    Asking("script", 200, AUTH_REQUEST, (SCRIPT,)),
    Asking("script-unknown", 401, AUTH_REQUEST + "?challenge=basic", (SCRIPT,), arrange=_lose_it),
    Asking("script-forged", 401, FORWARD, (SCRIPT + "x",)),
)


def ask(gateway: GatewayProcess, asking: Asking, seed: Seed, *, directly: bool) -> Told:
    """Send it on one connection."""
    words, told = asdict(seed), Told()
    body = Template(asking.body).safe_substitute(words).encode()
    lines = [f"X-Forwarded-For: {seed.address}", *(Template(line).safe_substitute(words) for line in asking.lines)]
    if not any(line.startswith("Host:") for line in lines):
        lines.append("Host: gateway.test")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    for _ in range(asking.times):
        head = "\r\n".join([f"{asking.request} HTTP/1.1", *lines, *([] if directly else [_CLOSE]), "", ""]).encode()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces_of(head, body if asking.status else body[: len(body) // 2], asking.pieces):
                connection.sendall(piece)
            if asking.status:
                answer = read_one(connection)
                told.request_id = dict(answer.headers)["x-request-id"]
                told.answers.append(_comparable(answer))
    return told


def pieces_of(head: bytes, body: bytes, pieces: int) -> list[bytes]:
    """Give the whole, or head and body apart, the latter in so many pieces."""
    if pieces == 1:
        return [head + body]
    size = -(-len(body) // pieces)
    return [head, *(body[begin : begin + size] for begin in range(0, len(body), size))]


def read_one(connection: socket.socket) -> RawAnswer:
    """Read one answer, whose length it says itself, and nothing behind it."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        octets += _more(connection, octets)
    head, _, body = octets.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    while len(body) < length:
        body += _more(connection, octets)
    assert len(body) == length, "something follows the answer"
    return parse_raw(head + b"\r\n\r\n" + body)


def _more(connection: socket.socket, before: bytes) -> bytes:
    octets = connection.recv(65_536)
    assert octets, f"the connection ended after {before!r}"
    return octets


def _comparable(answer: RawAnswer) -> tuple[int, list[tuple[str, str]], str]:
    headers = [
        (name, masked(value)) for name, value in answer.headers if name not in ("date", "x-request-id", "connection")
    ]
    return answer.status, sorted(headers), masked(answer.body.decode())


def masked(text: str) -> str:
    """Give a text without what is of one request alone."""
    for form, word in _MASKED:
        text = form.sub(word, text)
    return text
