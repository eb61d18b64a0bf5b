"""
Connections: deadlines and limits that uvicorn does not have, in a small subclass of its httptools protocol.

Why httptools: it refuses bare line feeds, folded headers and a body framed twice, which h11 lets through, and it
is about three times as quick; what it lacks (size and number of headers, one `Host`, deadlines) is added here.
Allowed subrequests, the JWKS, and logins that there is no room for are answered here, from memory, as soon as their
head is read: routes, middleware and a task for each request would take several times as long as the answer itself
(`gateway.state.QuickAnswer`).
A connection whose request head is not complete is half open; the oldest of these give way when there are too many.
"""

import asyncio
import re
import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.state import QuickAnswer

HEAD_DEADLINE_SECONDS = 5.0
BODY_DEADLINE_SECONDS = 10.0
SWEEP_SECONDS = 0.5
MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
MAX_REQUEST_LINE_BYTES = 100
MAX_HALF_OPEN = 4096
MAX_OPEN = 20_000
AUTHZ_PREFIX = b"/api/authz/"

_NOT_PLAIN = frozenset({b"transfer-encoding", b"expect"})

# The parser takes what follows an offer to upgrade for another protocol and drops the body; to ignore the offer is
# allowed (RFC 9110 section 7.8). Both names have seven letters.
_UPGRADE = re.compile(rb"(?<=\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)
_HEAD = (
    b"content-type: application/problem+json\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
    b"connection: close\r\n"
)
_MALFORMED = (
    b'{"type":"urn:token-gateway:problem:malformed-request","title":"The request cannot be understood","status":400,'
    b'"detail":"Not HTTP/1.1 as it should be: one Host, at most 100 headers and 16384 bytes of them"}'
)
_DENIED = (
    b'{"type":"urn:token-gateway:problem:access-token-invalid","title":"The access token is not valid","status":401,'
    b'"detail":"The access token is not valid"}'
)
_FULL = (
    b'{"type":"urn:token-gateway:problem:overloaded","title":"Too many connections","status":503,'
    b'"detail":"Too many connections"}'
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with bounds on the head of a request and on the time that head and body may take."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        shared = vars(self.server_state)
        self._half_open: dict[BoundedProtocol, float] = shared.setdefault("half_open", {})
        self._receiving: dict[BoundedProtocol, float] = shared.setdefault("receiving", {})
        self._quick_answers: dict[bytes, QuickAnswer] = self.app_state.get("quick_answers", {})
        self._in_head = True
        self._in_body = False
        self._is_answered = False
        self._head_bytes = 0
        self._request_line = b""
        if not shared.setdefault("is_swept", False):
            shared["is_swept"] = True
            self.loop.call_later(SWEEP_SECONDS, _sweep, self.loop, shared)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection as half open."""
        super().connection_made(_GatheringTransport(transport, self.loop))
        if len(self.connections) > MAX_OPEN:
            self._answer(b"503 Service Unavailable", b"retry-after: 1\r\n", _FULL)
            return
        self._half_open[self] = time.monotonic()
        if len(self._half_open) > MAX_HALF_OPEN:
            next(iter(self._half_open)).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._half_open.pop(self, None)
        self._receiving.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that is not complete may not be longer than the limit."""
        if self.transport.is_closing():
            return
        if self._in_head:
            if not self._head_bytes:
                self._request_line = data[:MAX_REQUEST_LINE_BYTES]
            if b"pgrade" in data or b"PGRADE" in data:
                head, end, body = data.partition(b"\r\n\r\n")
                data = _UPGRADE.sub(b"Ignored", head) + end + body
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes:
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("")
            elif self not in self._half_open:
                self._half_open[self] = time.monotonic()
        elif self._in_body and self not in self._receiving:
            self._receiving[self] = time.monotonic()

    def on_headers_complete(self) -> None:
        """Let a request through whose head keeps the limits; an error here becomes a 400 and ends the connection."""
        self._half_open.pop(self, None)
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if len(names) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            raise ValueError("the head is too large")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            raise ValueError("not one Host")
        self._in_head, self._in_body = False, True
        path, _, query = self.url.partition(b"?")
        method = self.parser.get_method()
        quick_answer = self._quick_answers.get(method + b" " + path)
        if quick_answer is not None and self._is_plain(names):
            self.scope |= {"method": method.decode(), "path": path.decode(), "query_string": query}
            self._is_answered = self._answer_quickly(quick_answer)
        if not self._is_answered:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Drop the body of a request that has its answer."""
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the head of another request."""
        self._in_head, self._in_body, self._head_bytes = True, False, 0
        self._receiving.pop(self, None)
        if self._is_answered:
            self._is_answered = False
            self.on_response_complete()
        else:
            super().on_message_complete()

    def _is_plain(self, names: list[bytes]) -> bool:
        """Tell whether nothing is special about it, and its connection stays open and owes no answer."""
        return (
            self.parser.should_keep_alive()
            and getattr(self.cycle, "response_complete", True)
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and b"#" not in self.url
            and _NOT_PLAIN.isdisjoint(names)
        )

    def _answer_quickly(self, quick_answer: QuickAnswer) -> bool:
        """Answer from memory and tell whether that was possible; no task and no response cycle are made for it."""
        try:
            answer = quick_answer(cast(dict[str, Any], self.scope))
        except Exception:
            return False  # the ordinary way meets the error again, and answers and logs it
        if answer is None:
            return False
        status, rest = answer
        date = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(STATUS_LINE[status] + date + rest)
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request; a subrequest is denied instead, since proxies turn a 400 into a 500."""
        # The parser tells no URL of a line that it cannot read.
        target = self._request_line.partition(b" ")[2]
        if target.startswith(AUTHZ_PREFIX) or getattr(self, "url", b"").startswith(AUTHZ_PREFIX):
            challenge = b'www-authenticate: Bearer realm="token-gateway", error="invalid_token"\r\n'
            self._answer(b"401 Unauthorized", challenge, _DENIED)
        else:
            self._answer(b"400 Bad Request", b"", _MALFORMED)

    def _answer(self, status: bytes, headers: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 " + status + b"\r\n" + _HEAD + headers
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


class _GatheringTransport(asyncio.Transport):
    """
    Sends what is written within one turn of the event loop by one system call.

    uvicorn writes head and body of an answer apart, which costs a call and wakes the client once more.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        written, self._written = self._written, []
        if written and not self._transport.is_closing():  # the client may have hung up within this turn
            self._transport.write(b"".join(written))


def _sweep(loop: asyncio.AbstractEventLoop, shared: dict[str, Any]) -> None:
    """Close what has taken too long. Both collections are in the order in which the waiting began."""
    now = time.monotonic()
    for waiting, deadline_seconds in (
        (shared["half_open"], HEAD_DEADLINE_SECONDS),
        (shared["receiving"], BODY_DEADLINE_SECONDS),
    ):
        late = []
        for connection, begun in waiting.items():
            if now - begun < deadline_seconds:
                break
            late.append(connection)
        for connection in late:
            waiting.pop(connection, None)
            connection.transport.close()
    loop.call_later(SWEEP_SECONDS, _sweep, loop, shared)
