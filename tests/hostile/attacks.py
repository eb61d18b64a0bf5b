"""Hostile connections to a proxy, one kind after another by chance, and what each of them may at most get."""

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.certificates import SITE
from tests.connections.test_differential import Streams
from tests.harness import Login

FORGED_ADDRESS = "203.0.113.66"
GO_WRITES_BYTES = 4096
MOST_SECONDS = 15.0
HELD_SECONDS = 0.3
LAST = f"GET /.well-known/jwks.json HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n".encode()
TARGETS = ("/auth/login", "/auth/refresh", "/.well-known/jwks.json", "/auth/me", "/livez", "/any")
OFFERS = (
    ("Connection: Upgrade", "Upgrade: websocket"),
    ("connection: upgrade", "upgrade: h2c"),
    ("cOnNeCtIoN: uPgRaDe", "UpGrAdE: WebSocket"),
    ("Connection: keep-alive, Upgrade", "Upgrade: h2c", "UPGRADE: websocket"),
    ("Upgrade: TLS/1.2", "Connection: close, Upgrade"),
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA"),
    ("Upgrade: websocket",),
    ("Connection: upgrade",),
    ("Proxy-Connection: upgrade", "Upgrade: h2c"),
)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [2-5][0-9][0-9] ")


@dataclass
class Attacks:
    """
    Makes hostile connections to one port.

    Attributes:
        opened: How many of each kind.
        requests: Sent by those kinds that wait for their answers.
    """

    port: int
    seed: int
    attacker: Login
    opened: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    answers: int = 0
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take chance from the seed."""
        self._chance = random.Random(self.seed)
        self._streams = Streams(self.seed)
        login = {"username": self.attacker.user.email, "password": self.attacker.user.password}
        self._smuggled = self._post("/auth/login", [], json.dumps(login).encode())
        self._kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "an upgrade with a request in its body": (35, self._upgrade),
            "the same, its head cut at 4,096 octets": (20, self._upgrade_at_edge),
            "trailers": (20, self._trailers),
            "requests in a row, nothing read": (4, self._read_nothing),
            "a slow reader": (4, self._read_slowly),
            "half a head": (5, self._half_head),
            "half a body": (5, self._half_body),
            "mutated requests": (7, self._mutated),
        }

    async def run(self, connections: int, at_once: int) -> None:
        """Open so many connections, *at_once* at a time."""
        left = connections

        async def go_on() -> None:
            nonlocal left
            weights = [weight for weight, _ in self._kinds.values()]
            while left > 0:
                left -= 1
                (name,) = self._chance.choices(list(self._kinds), weights)
                self.opened[name] += 1
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(self._kinds[name][1](), MOST_SECONDS)

        await asyncio.gather(*(go_on() for _ in range(at_once)))

    @staticmethod
    def _head(method: str, target: str, lines: list[str]) -> bytes:
        return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {SITE}", *lines, "", ""]).encode()

    def _post(self, target: str, lines: list[str], body: bytes) -> bytes:
        lines = [*lines, "Content-Type: application/json", f"Content-Length: {len(body)}"]
        return self._head("POST", target, lines) + body

    async def _upgrade(self, padding: int = 0) -> None:
        chance = self._chance
        target, lines = chance.choice(TARGETS), [*chance.choice(OFFERS)]
        # Signed in at the application they would have what it offers to upgrade to, which is none of ours.
        lines += [f"Authorization: Bearer {self.attacker.access_token}"] if target.startswith("/auth/") else []
        lines += [f"A-Padding: {'a' * padding}"] if padding else []
        chance.shuffle(lines)
        body, method = self._smuggled, chance.choice(("POST", "POST", "GET", "PUT"))
        if chance.random() < 0.3:
            head = self._head(method, target, [*lines, "Transfer-Encoding: chunked"])
            request = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            request = self._head(method, target, [*lines, f"Content-Length: {len(body)}"]) + body
        cut = chance.randrange(len(request)) if chance.random() < 0.3 else 0
        await self._count([request[:cut], request[cut:] + LAST], requests=2)

    async def _upgrade_at_edge(self) -> None:
        await self._upgrade(GO_WRITES_BYTES - self._chance.randrange(60, 1400))

    async def _trailers(self) -> None:
        chance = self._chance
        trailers = {
            "X-Forwarded-For": FORGED_ADDRESS,
            "Authorization": f"Bearer {self.attacker.access_token}",
            "Remote-User": "admin@example.com",
            "Remote-Groups": "admin",
            "Content-Length": "44",
            "Host": "evil.test",
        }
        names = chance.sample(list(trailers), chance.randint(1, len(trailers)))
        lines = [f"Trailer: {', '.join(names)}"] if chance.random() < 0.7 else []
        lines += ["Transfer-Encoding: chunked", "Content-Type: application/json", "TE: trailers"]
        body = b"0\r\n" + "".join(f"{name}: {trailers[name]}\r\n" for name in names).encode() + b"\r\n"
        if chance.random() < 0.5:
            content = json.dumps({"username": self.attacker.user.email, "password": "wrong password"}).encode()
            body = b"%x\r\n%s\r\n" % (len(content), content) + body
            await self._count([self._head("POST", "/auth/login", lines) + body, LAST], requests=2)
            return
        head = self._head("GET", "/auth/me", lines)
        received = await self._count([head + body, LAST], requests=2)
        if _STATUS_LINE.findall(received)[:1] == [b"HTTP/1.1 200 "] and b'"email"' in received:
            self.violations.append(f"a trailer logged in: {received[:300]!r}")

    async def _mutated(self) -> None:
        pieces = self._streams.pieces()
        # With HEAD who counts the answers has to know more than their lengths.
        if not any(b"HEAD" in piece for piece in pieces):
            await self._exchange(pieces, seconds=HELD_SECONDS)

    async def _read_nothing(self) -> None:
        request = LAST.replace(b"Connection: close\r\n", b"")
        _, writer = await self._open(receive_bytes=4096)
        writer.write(request * self._chance.randint(20, 200))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writer.drain(), HELD_SECONDS)
        await asyncio.sleep(HELD_SECONDS)
        _reset(writer)

    async def _read_slowly(self) -> None:
        reader, writer = await self._open(receive_bytes=4096)
        writer.write(LAST.replace(b"Connection: close\r\n", b"") * 5)
        for _ in range(10):
            await reader.read(64)
            await asyncio.sleep(HELD_SECONDS / 5)
        _reset(writer)

    async def _half_head(self) -> None:
        request = self._post(self._chance.choice(TARGETS), [f"A: {'b' * 5000}"], b"{}")
        await self._hold(request[: self._chance.randrange(1, len(request) - 10)])

    async def _half_body(self) -> None:
        head = self._head("POST", self._chance.choice(TARGETS), ["Content-Length: 9000", "A: Upgrade: h2c"])
        await self._hold(head + b"x" * self._chance.randrange(8000))

    async def _hold(self, begun: bytes) -> None:
        _, writer = await self._open()
        writer.write(begun)
        await writer.drain()
        await asyncio.sleep(HELD_SECONDS)
        _reset(writer)

    async def _count(self, pieces: list[bytes], *, requests: int) -> bytes:
        received = await self._exchange(pieces, seconds=MOST_SECONDS / 2)
        answers = len(_STATUS_LINE.findall(received))
        self.requests += requests
        self.answers += answers
        if answers > requests:
            self.violations.append(f"{answers} answers to {requests} requests: {received[:1000]!r}")
        return received

    async def _exchange(self, pieces: list[bytes], *, seconds: float) -> bytes:
        """Send pieces, and give what comes until the end, or for so long."""
        reader, writer = await self._open()
        received = b""
        with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                while octets := await reader.read(65536):
                    received += octets
        return received

    async def _open(self, receive_bytes: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opened = socket.socket()
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", self.port))
        except BaseException:
            opened.close()
            raise
        return await asyncio.open_connection(sock=opened, limit=receive_bytes or 65536)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close it as a crash would."""
    opened = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
