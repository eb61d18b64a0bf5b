"""
Random subrequests against a real gateway: 200 only with a valid token, and never an error of the gateway's own.

`make fuzz` sends 100,000 (FUZZ_REQUESTS) with a seed of its own (FUZZ_SEED, printed); `make test` sends 10,000.
"""

import os
import random
import socket
from collections import Counter

import pytest

from tests.harness import GatewayProcess
from tests.proxies.conftest import Signer, log_in, log_out

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "10000"))  # noqa: TID251 - for the test alone
SEED = int(os.environ.get("FUZZ_SEED", "20261122"))  # noqa: TID251 - the same
COOKIE = "__Secure-access_token"
ENDPOINTS = ("/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz")
METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "LOCK"
)  # fmt: skip
PIECES = (
    "/", "//", "/..", "/..;/", "/%2e%2e%2f", "/%00", "/%0d%0a", "/\\", "/auth/login", "/livez", "/a", "?", "&", "=",
    ";", "#", "%", "%ff", "\xff", "role=", "role=demo", "role=admin", "role=demo,admin", "max_auth_age=",
    "max_auth_age=0", "max_auth_age=99999", "access_token=x", "x" * 500, "'", '"', "<", "{}", "|", "~", "*", "+", ",",
)  # fmt: skip
NAMES = (
    "Authorization", "authorization", "AUTHORIZATION", "Proxy-Authorization", "Authorization_", "X-Authorization",
    "Cookie", "Cookie2", "X-Forwarded-For", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "Forwarded",
    "X-Original-Url", "X-Original-Method", "Remote-User", "Remote_User", "X-Auth-Request-User", "Content-Type",
    "Accept", "Origin", "Range", "Sec-Fetch-Site", "If-None-Match", "Expect", "Upgrade", "TE", "User-Agent",
    "X-HTTP-Method-Override",
)  # fmt: skip
SCHEMES = (
    "Bearer ",
    "bearer ",
    "BEARER ",
    "Bearer",
    "Bearer  ",
    "Bearer\t",
    "Basic ",
    "Token ",
    "",
    "Bearer,",
    "DPoP ",
)
JUNK = (
    "",
    " ",
    "\t",
    ",",
    ";",
    "=",
    '"',
    "\xff",
    "\x80",
    "%",
    "null",
    "{}",
    "[]",
    "0",
    "-1",
    "x" * 3000,
    "websocket",
    "h2c",
)


class Fuzzer:
    """Makes random requests out of pieces that have broken somebody, tokens good and bad among them."""

    def __init__(self, seed: int, good: list[str], bad: list[str]) -> None:
        self.chance = random.Random(seed)
        self.good, self.bad = good, bad

    def request(self) -> bytes:
        """Give one request, without a body."""
        chance = self.chance
        endpoint = chance.choice(ENDPOINTS)
        method = chance.choice(METHODS if endpoint.endswith("ext-authz") or chance.random() < 0.05 else ("GET", "HEAD"))
        tail = "".join(chance.choices(PIECES, k=chance.choice((0, 0, 1, 2, 5))))
        if not endpoint.endswith("ext-authz") and tail:
            tail = "?" + tail.lstrip("?").replace("#", "")
        elif tail and not tail.startswith(("/", "?")):
            tail = "/" + tail
        lines = [f"{method} {endpoint}{tail} HTTP/1.1", "Host: gateway.test"]
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
            lines.append(self._header())
        if chance.random() < 0.01:
            lines += ["X: x"] * 120
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _header(self) -> str:
        chance = self.chance
        kind = chance.random()
        if kind < 0.35:
            return f"Authorization: {chance.choice(SCHEMES[:2])}{self._token()}"
        if kind < 0.5:
            return f"Cookie: {chance.choice(('', 'a=b; ', '; ', 'access_token=x; '))}{COOKIE}={self._token()}"
        if kind < 0.7:
            return f"{chance.choice(NAMES[:8])}: {chance.choice(SCHEMES)}{self._token()}{chance.choice(JUNK[:8])}"
        name = chance.choice(NAMES)
        return f"{name}: {''.join(chance.choices(JUNK, k=chance.randrange(4)))}"

    def _token(self) -> str:
        chance = self.chance
        kind = chance.random()
        if kind < 0.35:
            return chance.choice(self.good)
        if kind < 0.6:
            return chance.choice(self.bad)
        token = chance.choice(self.good)
        place = chance.randrange(len(token))
        match chance.randrange(7):
            case 0:
                return token[:place]
            case 1:
                return token[:place] + chance.choice("AZaz09-_.=+/ \xe9") + token[place + 1 :]
            case 2:
                return token + chance.choice(("=", "==", ".", "..", "A", "\xff", ".AAAA", "," + token))
            case 3:
                return ".".join(chance.sample(token.split("."), 3))
            case 4:
                return ".".join(chance.choice(self.good + self.bad).split(".")[part] for part in range(3))
            case 5:
                return chance.choice(("", "null", "undefined", "Bearer", "e30.e30.", "..", "...."))
            case _:
                return token.swapcase()


def carries(request: bytes, good: list[str]) -> bool:
    """Tell whether a good token is in the request where the gateway looks for one, and nothing follows it."""
    for line in request.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        if name.lower() == "authorization" and value.strip(" \t").partition(" ")[2].strip(" ") in good:
            return True
        if name.lower() == "cookie" and any(
            pair.partition("=")[2].strip(' \t"') in good
            for pair in value.split(";")
            if pair.strip(" \t").startswith(COOKIE)
        ):
            return True
    return False


class Connection:
    """A connection that is opened again when the gateway has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._rest = b""

    def ask(self, request: bytes) -> int:
        """Send one request and give the status of its answer."""
        for _ in range(2):
            if self._socket is None:
                self._socket, self._rest = socket.create_connection(("127.0.0.1", self._port), timeout=10), b""
            try:
                self._socket.sendall(request)
                return self._status(is_head=request.startswith(b"HEAD "))
            except (ConnectionError, EOFError):
                self.close()
        raise AssertionError(f"no answer to {request!r}")

    def _status(self, *, is_head: bool) -> int:
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = 0 if is_head else int(next(line for line in lines if line.startswith(b"content-length:"))[15:])
        while len(self._rest) < length:
            self._receive()
        self._rest = self._rest[length:]
        if b"connection: close" in lines:
            self.close()
        return int(lines[0].split(b" ")[1])

    def _receive(self) -> None:
        assert self._socket is not None
        octets = self._socket.recv(65536)
        if not octets:
            raise EOFError
        self._rest += octets

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@pytest.mark.timeout(1200)
def test_only_a_valid_token_gets_200_and_nothing_breaks_the_gateway(asked: GatewayProcess, signer: Signer) -> None:
    """T6, T8."""
    ended = log_in(asked)
    log_out(asked, ended)
    good = [log_in(asked).access_token, log_in(asked, roles=()).access_token, signer.sign()]
    bad = [
        ended.access_token,
        signer.sign(exp=1_700_000_000),
        signer.sign(aud="https://api.example.com"),
        signer.sign(header={"typ": "JWT"}),
        signer.sign(header={"kid": "../../dev/null"}),
        signer.sign(sub=1),
    ]
    fuzzer, connection, found = Fuzzer(SEED, good, bad), Connection(asked.port), Counter[int]()
    print(f"seed {SEED}, {REQUESTS} requests")
    for number in range(REQUESTS):
        request = fuzzer.request()
        status = connection.ask(request)
        found[status] += 1
        context = f"FUZZ_SEED={SEED}, request {number}: {request!r} -> {status}"
        method, target = request.split(b" ")[:2]
        is_wrong_method = b"/ext-authz" not in target and method not in (b"GET", b"HEAD")
        assert status in ((200, 401, 403, 405) if is_wrong_method else (200, 401, 403)), context
        assert status != 200 or carries(request, good), context
    connection.close()
    print(dict(found))
    assert min(found[200], found[401], found[403]) > REQUESTS / 500, found
    assert "traceback" not in asked.log_text()
