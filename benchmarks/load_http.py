"""A small HTTP/1.1 client for the load test: one keep-alive connection, one request at a time, causes by name."""

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass

import httptools

# Less than the 5 s after which the gateway closes an idle connection, so that no request meets a closing one.
IDLE_SECONDS = 4.0
MAX_CAUSE_CHARACTERS = 80


@dataclass(frozen=True)
class Endpoint:
    """Where requests go: one address of the host that the URL names, plain or by TLS."""

    address: str
    port: int
    host: str
    authority: str
    tls: ssl.SSLContext | None


@dataclass(frozen=True)
class Answer:
    """A whole answer; the names of its headers are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Unanswered(Exception):
    """
    No answer came.

    Args:
        cause: Why, in a few words, such as `connection refused`.
        is_late: The time for it was up; else something ended it before.
    """

    def __init__(self, cause: str, *, is_late: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_late = is_late


class Client:
    """One client with a connection of its own, which is opened when it is needed and kept for the next request."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._connection: _Connection | None = None
        self._fixed = f" HTTP/1.1\r\nHost: {endpoint.authority}\r\nUser-Agent: token-gateway-load\r\n".encode()
        self.opened_connections = 0

    async def ask(self, target: str, headers: bytes = b"", body: bytes | None = None) -> Answer:
        """
        Send a GET, or with *body* a POST of JSON, and give the answer. Redirects are not followed.

        Args:
            headers: Further header lines, each with its line end.

        Raises:
            Unanswered: There is none, for what reason ever, the time for it being up included. Nothing is sent again.
        """
        request = b"%s %s%s%s" % (b"GET" if body is None else b"POST", target.encode(), self._fixed, headers)
        if body is not None:
            request += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        answer = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = await self._connected()
                answer = await connection.ask(request + b"\r\n" + (body or b""))
        except TimeoutError as error:
            raise Unanswered(f"no answer within {self._timeout_seconds:g} s", is_late=True) from error
        except OSError as error:
            raise Unanswered(cause_of(error)) from error
        finally:
            if answer is None:
                self.close()
        return answer

    def close(self) -> None:
        """Close the connection, whatever it is at."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self) -> "_Connection":
        if self._connection is not None and not self._connection.is_usable():
            self.close()
        if self._connection is None:
            to = self._endpoint
            name = {"ssl": to.tls, "server_hostname": to.host} if to.tls else {}
            loop = asyncio.get_running_loop()
            self.opened_connections += 1
            _, self._connection = await loop.create_connection(_Connection, to.address, to.port, **name)
        return self._connection


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self._used_at = time.monotonic()

    def is_usable(self) -> bool:
        """Tell whether it is open and was not idle for so long that the gateway may be about to close it."""
        return self._transport is not None and time.monotonic() - self._used_at < IDLE_SECONDS

    async def ask(self, request: bytes) -> Answer:
        if self._transport is None:
            raise Unanswered("closed without an answer")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("an answer that is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        begun = "within the answer" if self._headers else "without an answer"
        self._end(cause_of(exc) if exc else f"closed {begun}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        answer = Answer(self._parser.get_status_code(), self._headers, self._body)
        self._headers, self._body = {}, b""
        if answer.status < 200:  # an interim answer: the real one is to come
            return
        self._used_at = time.monotonic()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)
        if not self._parser.should_keep_alive():
            self.close()

    def _end(self, cause: str) -> None:
        self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Unanswered(cause))


def cause_of(error: BaseException) -> str:
    """Give the cause of a failed connection in a few words."""
    match error:
        case ssl.SSLCertVerificationError():
            cause = f"TLS: {error.verify_message}"
        case ssl.SSLError():
            cause = f"TLS: {error.reason or error}"
        case ConnectionRefusedError():
            cause = "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            cause = "connection reset"
        case socket.gaierror():
            cause = "no such host"
        case OSError(errno=int(number)):
            cause = os.strerror(number).lower()
        case _:
            cause = str(error) or type(error).__name__
    return cause[:MAX_CAUSE_CHARACTERS]
