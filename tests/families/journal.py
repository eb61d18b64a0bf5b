"""Clients over raw sockets, who can hang up at any moment, and what each of them has seen."""

import asyncio
import base64
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.accounts.users import User
from gateway.sessions.families import new_family_id
from gateway.state import Gateway
from tests.families.proxy import RESET_ON_CLOSE
from tests.harness import GatewayProcess

ANSWER_SECONDS = 15.0
ATTEMPTS = 10


@dataclass(frozen=True)
class Answer:
    """A whole answer; the names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """Its JSON object."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def slug(self) -> str:
        """The slug of the problem that it tells."""
        return str(self.document["type"]).rpartition(":")[2]


class Connection:
    """One keep-alive connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a loopback port."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read the answer. Raises `EOFError` or `OSError` when the gateway dies meanwhile."""
        self.send(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self.read()

    def send(self, octets: bytes) -> None:
        """Send a request, or a part of it."""
        self._writer.write(octets)

    async def read(self) -> Answer:
        """Read one answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split(" ", 2)[1]), headers, body)

    async def read_some(self, count: int) -> None:
        """Read the first bytes of an answer, at most so many."""
        await self._reader.read(count)

    async def hang_up(self, *, reset: bool) -> None:
        """Close without reading the rest: with a reset, or in the orderly way."""
        if reset:
            endpoint: socket.socket = self._writer.get_extra_info("socket")
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._writer.transport.abort()
        await self.close()

    async def close(self) -> None:
        """Close, whatever state it is in."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass


def request(method: str, path: str, *headers: str, access_token: str = "", **members: str) -> bytes:
    """Give the bytes of a request with a JSON body, if there are members, and a Bearer token, if there is one."""
    body = json.dumps(members).encode() if members else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if access_token:
        lines.append(f"Authorization: Bearer {access_token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def refresh_request(refresh_token: str) -> bytes:
    """Give the bytes of POST /auth/refresh."""
    return request("POST", "/auth/refresh", refresh_token=refresh_token)


def claims_of(access_token: str) -> dict[str, Any]:
    """Give the claims of an access token, unverified."""
    payload = access_token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@dataclass
class Journal:
    """
    What one client has seen of its session.

    Attributes:
        refresh_token: The newest that it has got.
        successors: What each presented token was answered with (I3: never two).
        answers_503: How often it was told to try again: on a busy machine that is no fault.
    """

    user_id: str
    email: str
    session_id: str
    refresh_token: str
    access_token: str = ""
    successors: dict[str, str] = field(default_factory=dict)
    answers_503: int = 0

    @classmethod
    async def log_in(cls, parts: Gateway, user: User) -> "Journal":
        """Open a session for a user, without the password."""
        opened = await parts.families.open(user.user_id, user.password_version, new_family_id(), "192.0.2.1", "Test")
        return cls(user.user_id, user.email, opened.family_id, opened.refresh_token)

    def take(self, presented: str, answer: Answer) -> list[str]:
        """Note the answer to a refresh with *presented*, and give what is wrong with it: nothing, if all is well."""
        if answer.status == 503:
            self.answers_503 += 1
            return []
        if answer.status != 200:
            return [f"{self.session_id}: logged out: {answer.status} {answer.body!r}"]
        document = answer.document
        claims, successor = claims_of(document["access_token"]), document["refresh_token"]
        wrong = []
        if (claims["sub"], claims["sid"], claims["email"]) != (self.user_id, self.session_id, self.email):
            wrong.append(f"{self.session_id}: answered with somebody else's: {claims}")
        if self.successors.setdefault(presented, successor) != successor:
            wrong.append(f"{self.session_id}: a second successor of one token")
        self.refresh_token, self.access_token = successor, document["access_token"]
        return wrong

    async def refresh(self, gateway: GatewayProcess, presented: str = "") -> list[str]:
        """
        Refresh on a connection of its own, with the newest token or *presented*, and give what is wrong.

        Asks again when it is told to.
        """
        presented = presented or self.refresh_token
        for _ in range(ATTEMPTS):
            answer = await ask_once(gateway, refresh_request(presented))
            if answer.status != 503:
                break
            self.answers_503 += 1
            await asyncio.sleep(0.2)
        return self.take(presented, answer) if answer.status != 503 else [f"{self.session_id}: 503 again and again"]


async def ask_once(gateway: GatewayProcess, octets: bytes) -> Answer:
    """Ask on a connection of its own."""
    connection = await Connection.open(gateway.port)
    try:
        return await connection.ask(octets)
    finally:
        await connection.close()


async def open_connections(gateways: Iterable[GatewayProcess], count: int) -> list[Connection]:
    """Give *count* connections to each gateway, in turn."""
    return [await Connection.open(gateway.port) for _ in range(count) for gateway in gateways]


def generation_of(refresh_token: str) -> int:
    """Give the generation that a refresh token names."""
    return int.from_bytes(base64.urlsafe_b64decode(refresh_token)[33:37], "big")
