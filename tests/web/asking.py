"""What the tests of the HTTP surface share: sessions to ask with, raw requests, and a table of every answer."""

import re
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import jwt

from tests.harness import GatewayProcess, Login, TestUser

HTTPS_ISSUER = "https://auth.example.test"
APP_ORIGIN = "https://app.example.test"
PROBLEM = "urn:token-gateway:problem:"
CHALLENGE = 'Bearer realm="token-gateway"'
INVALID_TOKEN = CHALLENGE + ', error="invalid_token"'
RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MAX_BODY_BYTES = 16_384

AUTHZ_PATHS = ("/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/some/path")
METADATA_PATHS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")

# Every path of the gateway and the methods that it has.
METHODS: dict[str, frozenset[str]] = {
    "/auth/login": frozenset({"GET", "HEAD", "POST"}),
    "/auth/login/passkey": frozenset({"POST"}),
    "/auth/refresh": frozenset({"POST"}),
    "/auth/logout": frozenset({"GET", "HEAD", "POST"}),
    "/auth/logout-all": frozenset({"POST"}),
    "/auth/me": frozenset({"GET", "HEAD"}),
    "/auth/change-password": frozenset({"POST"}),
    "/auth/sessions": frozenset({"GET", "HEAD"}),
    "/auth/sessions/{sid}": frozenset({"DELETE"}),
    "/auth/factors": frozenset({"GET", "HEAD"}),
    "/auth/factors/totp": frozenset({"POST"}),
    "/auth/factors/totp/confirm": frozenset({"POST"}),
    "/auth/factors/passkeys/options": frozenset({"POST"}),
    "/auth/factors/passkeys": frozenset({"POST"}),
    "/auth/factors/recovery": frozenset({"POST"}),
    "/auth/factors/fac_unknown": frozenset({"DELETE"}),
    "/auth/tokens": frozenset({"GET", "HEAD", "POST"}),
    "/auth/tokens/pat_unknown": frozenset({"DELETE"}),
    "/api/authz/auth-request": frozenset({"GET", "HEAD"}),
    "/api/authz/forward-auth": frozenset({"GET", "HEAD"}),
    "/.well-known/jwks.json": frozenset({"GET", "HEAD"}),
    "/.well-known/oauth-authorization-server": frozenset({"GET", "HEAD"}),
    "/.well-known/openid-configuration": frozenset({"GET", "HEAD"}),
    "/oauth/token": frozenset({"POST"}),
    "/oauth/introspect": frozenset({"POST"}),
    "/oauth/revoke": frozenset({"POST"}),
    "/status/lists": frozenset({"GET", "HEAD"}),
    "/status/1": frozenset({"GET", "HEAD"}),
    "/livez": frozenset({"GET", "HEAD"}),
    "/readyz": frozenset({"GET", "HEAD"}),
    "/openapi.json": frozenset({"GET", "HEAD"}),
}


@dataclass
class Session(Login):
    """A user of one test who has logged in, and an HTTP client that keeps no cookie."""

    gateway: GatewayProcess
    client: httpx2.Client

    @property
    def sid(self) -> str:
        """The id of the session."""
        return sid_of(self.access_token)

    def is_alive(self) -> bool:
        """Tell whether the gateway still accepts the access token."""
        return self.client.get("/api/authz/auth-request", headers=self.bearer).status_code == 200

    def refresh(self) -> httpx2.Response:
        """Present the refresh token in the body."""
        return self.client.post("/auth/refresh", json={"refresh_token": self.refresh_token})


def client_of(gateway: GatewayProcess) -> httpx2.Client:
    """Give an HTTP client that keeps no cookie: a test sends those that it means to send."""
    return gateway.client(cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])))


def log_in(gateway: GatewayProcess, client: httpx2.Client, user: TestUser | None = None, **headers: str) -> Session:
    """Open a session, its refresh token delivered in the body; for a user of its own, unless one is given."""
    user = user or gateway.add_user()
    body = {"username": user.email, "password": user.password, "delivery": "body"}
    answer = client.post("/auth/login", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status_code == 200, answer.text
    return Session(user, answer.json()["access_token"], answer.json()["refresh_token"], gateway, client)


def sid_of(access_token: str) -> str:
    """Read the `sid` of an access token, unverified."""
    sid: str = jwt.decode(access_token, options={"verify_signature": False})["sid"]
    return sid


def in_latin_1(name: str, value: str) -> dict[bytes, bytes]:
    """Give a header as bytes, since the client would refuse to send what is not ASCII."""
    return {name.encode(): value.encode("latin-1")}


def problem_of(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Give the body of a problem. Fails unless it is that one, and has the form that all have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == PROBLEM + slug
    assert body["status"] == status
    assert isinstance(body["title"], str)
    assert isinstance(body["detail"], str)
    return body


def set_cookies(answer: httpx2.Response) -> dict[str, dict[str, str]]:
    """Give the cookies that an answer sets, by name: `value` and the attributes, those without a value as empty."""
    cookies = {}
    for header in answer.headers.get_list("Set-Cookie"):
        first, *attributes = header.split("; ")
        name, _, value = first.partition("=")
        assert name not in cookies, f"{name} is set twice"
        cookies[name] = {"value": value} | {
            attribute.partition("=")[0]: attribute.partition("=")[2] for attribute in attributes
        }
    return cookies


def comparable(answer: httpx2.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Give what must be equal when two answers are to be the same: all but the time and the id of the request."""
    headers = [(name, value) for name, value in answer.headers.multi_items() if name not in ("date", "x-request-id")]
    return answer.status_code, sorted(headers), answer.content


@dataclass
class RawAnswer:
    """An answer as it came over the wire; header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Give the values of a header."""
        return [value for found, value in self.headers if found == name.lower()]


def send_raw(
    gateway: GatewayProcess,
    request_line: str | bytes,
    *headers: str | bytes,
    body: bytes = b"",
    version: bytes = b"HTTP/1.1",
    timeout: float = 5,
) -> RawAnswer:
    """
    Send a request exactly as it is given (`GET /path` and `Name: value`), and `Connection: close` with it.

    A body is sent without any header that tells its length: give that too.
    """
    lines = [part if isinstance(part, bytes) else part.encode("latin-1") for part in (request_line, *headers)]
    lines[0] += b" " + version
    if not any(line.lower().startswith(b"host:") for line in lines):
        lines.append(b"Host: gateway.test")
    request = b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout) as connection:
        connection.sendall(request)
        octets = b"".join(iter(lambda: connection.recv(65536), b""))
    return parse_raw(octets)


def parse_raw(octets: bytes) -> RawAnswer:
    """Read an answer whose body ends with the connection."""
    head, separator, body = octets.partition(b"\r\n\r\n")
    assert separator, f"no answer: {octets[:200]!r}"
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines]
    return RawAnswer(int(status_line.split(" ")[1]), headers, body)


def first_status(connection: socket.socket, timeout: float = 5) -> int:
    """Give the status of an answer as soon as its first line is there."""
    assert select.select([connection], [], [], timeout)[0], "no answer"
    return int(connection.recv(65536).split(b" ", 2)[1])


@dataclass(frozen=True)
class Case:
    """
    One request and the answer that it must get.

    In texts `{access_token}`, `{refresh_token}`, `{email}`, `{password}` and `{sid}` stand for those of the session
    that asks. A problem has a slug.
    """

    method: str
    path: str
    status: int
    slug: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None

    def __str__(self) -> str:
        """Name the case in the list of tests."""
        return f"{self.method} {self.path} {self.status} {self.slug}".strip()

    def ask(self, session: Session, **headers: str) -> httpx2.Response:
        """Send the request, with more headers if wanted."""
        words = {
            "access_token": session.access_token,
            "refresh_token": session.refresh_token,
            "email": session.user.email,
            "password": session.user.password,
            "sid": session.sid,
        }
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return session.client.request(
            self.method,
            _fill(self.path, words),
            headers=_fill(dict(self.headers), words) | more,
            json=_fill(self.json, words),
            content=self.content,
        )


def _fill(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return value.format_map(words)
    if isinstance(value, dict):
        return {name: _fill(member, words) for name, member in value.items()}
    return value


Answered = Callable[[Case], tuple[Session, httpx2.Response]]
"""Gives the session that asked and the answer that it got."""

BEARER = {"Authorization": "Bearer {access_token}"}
FORGED_BEARER = {"Authorization": "Bearer {access_token}x"}
REFRESH_COOKIE = {"Cookie": "refresh_token={refresh_token}"}
FORGED_COOKIE = {"Cookie": "refresh_token=x{refresh_token}"}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
CREDENTIALS = {"username": "{email}", "password": "{password}"}
BODY_TOKEN = {"refresh_token": "{refresh_token}"}
NEW_PASSWORD = {"current_password": "{password}", "new_password": "quite another sentence"}
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
BIG = b" " * (MAX_BODY_BYTES + 1)


def _cases() -> Iterator[Case]:
    yield Case("POST", "/auth/login", 200, json=CREDENTIALS)
    yield Case("POST", "/auth/login", 400, "malformed-request", JSON, content=b"{")
    yield Case("POST", "/auth/login", 401, "invalid-credentials", json=CREDENTIALS | {"password": "wrong"})
    yield Case("POST", "/auth/login", 403, "cross-site-request", CROSS_SITE, json=CREDENTIALS)
    yield Case("POST", "/auth/login", 415, "unsupported-media-type", TEXT, content=b"a=b")
    yield Case("POST", "/auth/refresh", 200, json=BODY_TOKEN)
    yield Case("POST", "/auth/refresh", 400, "malformed-request", REFRESH_COOKIE, json=BODY_TOKEN)
    yield Case("POST", "/auth/refresh", 401, "refresh-token-missing")
    yield Case("POST", "/auth/refresh", 401, "refresh-token-invalid", json={"refresh_token": "forged"})
    yield Case("POST", "/auth/refresh", 401, "refresh-token-invalid", FORGED_COOKIE)
    yield Case("POST", "/auth/refresh", 403, "cross-site-request", REFRESH_COOKIE | CROSS_SITE)
    yield Case("POST", "/auth/refresh", 415, "unsupported-media-type", TEXT, content=b"a=b")
    yield Case("POST", "/auth/logout", 204, json=BODY_TOKEN)
    yield Case("POST", "/auth/logout", 400, "malformed-request", JSON, content=b"[]")
    yield Case("POST", "/auth/logout", 401, "refresh-token-missing")
    yield Case("POST", "/auth/logout", 403, "cross-site-request", REFRESH_COOKIE | CROSS_SITE)
    yield Case("POST", "/auth/logout", 415, "unsupported-media-type", TEXT, content=b"a=b")
    yield Case("POST", "/auth/logout-all", 200, headers=BEARER)
    yield Case("GET", "/auth/me", 200, headers=BEARER)
    yield Case("HEAD", "/auth/me", 200, headers=BEARER)
    yield Case("POST", "/auth/change-password", 204, headers=BEARER, json=NEW_PASSWORD)
    yield Case("POST", "/auth/change-password", 400, "malformed-request", BEARER, json={})
    wrong = NEW_PASSWORD | {"current_password": "wrong"}
    yield Case("POST", "/auth/change-password", 403, "invalid-credentials", BEARER, json=wrong)
    short = NEW_PASSWORD | {"new_password": "short"}
    yield Case("POST", "/auth/change-password", 422, "password-rejected", BEARER, json=short)
    form = BEARER | {"Content-Type": "application/x-www-form-urlencoded"}
    yield Case("POST", "/auth/change-password", 415, "unsupported-media-type", form, content=b"a=b")
    yield Case("GET", "/auth/sessions", 200, headers=BEARER)
    yield Case("DELETE", "/auth/sessions/{sid}", 204, headers=BEARER)
    yield Case("DELETE", "/auth/sessions/unknown", 404, "not-found", BEARER)
    yield Case("POST", "/auth/login", 400, "malformed-request", json={"pending": "x"})
    yield Case("POST", "/auth/login", 401, "second-factor-invalid", json={"pending": "x", "totp": "123456"})
    yield Case("POST", "/auth/login/passkey", 200)
    yield Case("POST", "/auth/login/passkey", 400, "malformed-request", json={"username": "{email}"})
    yield Case("POST", "/auth/login/passkey", 403, "cross-site-request", CROSS_SITE)
    yield Case("GET", "/auth/factors", 200, headers=BEARER)
    yield Case("POST", "/auth/factors/totp", 200, headers=BEARER)
    yield Case("POST", "/auth/factors/totp", 401, "second-factor-invalid", json={"pending": "x"})
    yield Case("POST", "/auth/factors/totp", 403, "cross-site-request", CROSS_SITE, json={"pending": "x"})
    code = {"id": "fac_unknown", "code": "123456"}
    yield Case("POST", "/auth/factors/totp/confirm", 401, "second-factor-invalid", BEARER, json=code)
    yield Case("POST", "/auth/factors/totp/confirm", 401, "second-factor-invalid", json=code | {"pending": "x"})
    yield Case("POST", "/auth/factors/passkeys/options", 200, headers=BEARER)
    for path in ("/auth/factors/totp/confirm", "/auth/factors/passkeys", "/auth/factors/recovery"):
        yield Case("POST", path, 400, "malformed-request", BEARER, json={"pending": None, "more": 1})
    yield Case("DELETE", "/auth/factors/fac_unknown", 404, "not-found", BEARER)
    yield Case("GET", "/auth/tokens", 200, headers=BEARER)
    yield Case("POST", "/auth/tokens", 200, headers=BEARER, json={"name": "backup"})
    named = {"name": "backup"}
    for members in ({}, {"name": ""}, named | {"days": 0}, named | {"days": 366}, named | {"roles": ["unknown"]}):
        yield Case("POST", "/auth/tokens", 400, "malformed-request", BEARER, json=members)
    yield Case("DELETE", "/auth/tokens/pat_unknown", 404, "not-found", BEARER)
    for method, path in ACCESS_TOKEN_ENDPOINTS:
        yield Case(method, path, 401, "access-token-missing")
        yield Case(method, path, 401, "access-token-invalid", FORGED_BEARER)
        yield Case(method, path + "?access_token=x", 400, "malformed-request", BEARER)
        if method not in ("GET", "HEAD"):
            cookie = {"Cookie": "access_token={access_token}"}
            yield Case(method, path, 403, "cross-site-request", cookie | CROSS_SITE)
    for path in AUTHZ_PATHS:
        yield Case("GET", path, 200, headers=BEARER)
        yield Case("HEAD", path, 200, headers=BEARER)
        yield Case("GET", path, 401, "access-token-missing")
        yield Case("GET", path, 401, "access-token-invalid", FORGED_BEARER)
    yield Case("GET", "/api/authz/auth-request?role=admin", 403, "insufficient-role", BEARER)
    for path in ("/.well-known/jwks.json", *METADATA_PATHS, "/openapi.json", "/livez", "/readyz"):
        yield Case("GET", path, 200)
    for path in ("/.well-known/jwks.json", "/openapi.json"):
        yield Case("GET", path, 304, headers={"If-None-Match": "*"})
    for path, methods in METHODS.items():
        wrong_method = next(method for method in ("POST", "GET", "PUT") if method not in methods)
        yield Case(wrong_method, path, 405, "method-not-allowed")
        if not path.startswith("/api/"):
            yield Case(min(methods), path, 413, "payload-too-large", JSON, content=BIG)
    for path in ("/nothing", "/auth", "/auth/nothing", "/api/authz/nothing", "/.well-known/nothing"):
        yield Case("GET", path, 404, "not-found")


ACCESS_TOKEN_ENDPOINTS = (
    ("POST", "/auth/logout-all"),
    ("GET", "/auth/me"),
    ("POST", "/auth/change-password"),
    ("GET", "/auth/sessions"),
    ("DELETE", "/auth/sessions/{sid}"),
    ("GET", "/auth/factors"),
    ("POST", "/auth/factors/totp"),
    ("POST", "/auth/factors/totp/confirm"),
    ("POST", "/auth/factors/passkeys/options"),
    ("POST", "/auth/factors/passkeys"),
    ("POST", "/auth/factors/recovery"),
    ("DELETE", "/auth/factors/fac_unknown"),
    ("GET", "/auth/tokens"),
    ("POST", "/auth/tokens"),
    ("DELETE", "/auth/tokens/pat_unknown"),
)
CASES = tuple(_cases())
