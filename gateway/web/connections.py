"""
Connections: deadlines and limits that uvicorn does not have, in a small subclass of its httptools protocol.

Why httptools: it refuses bare line feeds, folded headers and a body framed twice, which h11 lets through, and it
is about three times as quick; what it lacks is added here: size and number of headers, one `Host`, deadlines, trailers
that are no headers, and bounds on what one client may have answered at a time.

The parser sees a stream, so nothing is decided by where a read ends: what a request is, and whether another one follows
it, is what the parser says. It is given the bytes in pieces, none of them of two requests, and the next request only
when the one before has its answer and the client reads.

Allowed subrequests, the JWKS, signed status lists, and logins that there is no room for are answered here, from memory,
as soon as their head is read: routes, middleware and a task for each request would take several times as long as the
answer itself (`gateway.state.QuickAnswer`). Refreshes, and subrequests that memory does not answer, are a task each as
soon as their body is read, and go from here to their handler (`gateway.state.DirectAnswer`).

One file, since it is one state machine: a connection and what it waits for.
"""

import asyncio
import re
import time
import weakref
from functools import partial
from typing import Any, NamedTuple, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.errors import (
    AccessTokenInvalid,
    GatewayError,
    HeadersTooLarge,
    MalformedRequest,
    SubrequestHeadersTooLarge,
    TooManyConnections,
)
from gateway.state import DirectAnswer, QuickAnswer
from gateway.telemetry import CONNECTIONS, Answers, Metrics, endpoint_of
from gateway.web.admission import Admission, Caps, Connection, file_limits
from gateway.web.http import MAX_BODY_BYTES, count_answer, peer_key, problem_lines, refuse_quickly

MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100
MAX_PIECE_BYTES = 4096
MAX_PIECES_OF_A_TURN = 32
MAX_BEGINNING_BYTES = 100
DRAIN_BODY_SECONDS = 3.0
AUTHZ_PREFIX = b"/api/authz/"
CHUNK_FRAMING_BYTES = len(b"1\r\n\r\n")  # what the smallest chunk needs around each byte of a body
REQUEST_LINE_BYTES = len(b"  HTTP/1.1\r\n")
FIELD_BYTES = len(b": \r\n")
SURELY_SMALL_HEAD_BYTES = MAX_HEAD_BYTES - MAX_HEADERS  # as sent: the blank before a value counts, sent or not

_EMPTY_LINE = b"\r\n\r\n"
_find_empty_line = re.compile(_EMPTY_LINE).search  # takes two thirds of what `bytes.find` takes
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_NOT_HTTP = "Not HTTP/1.1 as it should be"


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with bounds on what comes in, on what goes out, and on the time that each may take."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        shared = vars(self.server_state)
        if "admission" not in shared:
            caps = Caps.for_files(file_limits()[0])
            shared["admission"] = Admission(self.loop, caps, self.timeout_keep_alive)
        self.address_key = ""
        self._admission: Admission = shared["admission"]
        if "quick_answers" not in shared:
            gateway = self.app_state.get("gateway")
            shared["metrics"] = metrics = gateway.metrics if gateway is not None else Metrics()
            metrics.gauges[CONNECTIONS] = partial(len, self.connections)
            shared["quick_answers"] = {
                request: _Quick(answer, metrics.answers[endpoint_of(request.decode().partition(" ")[2])])
                for request, answer in self.app_state.get("quick_answers", {}).items()
            }
        self._metrics: Metrics = shared["metrics"]
        self._quick_answers: dict[bytes, _Quick] = shared["quick_answers"]
        self._direct_answers: dict[bytes, DirectAnswer] = self.app_state.get("direct_answers", {})
        self._waits_for_body: DirectAnswer | None = None
        self._begun = 0.0
        self._in_head = False
        self._in_body = False
        self._is_answered = False
        self._is_ended = False
        self._is_last = False
        self._framing = b""
        self._goes_on_soon = False
        self._unread_bytes = 0
        self._body_left_bytes = 0
        self._begins_with = b""
        self._tail = b""
        self._unfed = b""
        self._dated: list[tuple[bytes, bytes]] = []
        self._date_lines = b""
        self._idle: dict[Connection, float] = self._admission.idle
        self._half_open: dict[Connection, float] = self._admission.half_open
        self._receiving: dict[Connection, float] = self._admission.receiving

    # ------------------------------------------------------------------------------------------------------ connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let the connection in, where there is room for it, and count it as half open."""
        self._outgoing = _GatheringTransport(transport, self)
        self._is_closing = transport.is_closing
        super().connection_made(self._outgoing)
        self.flow = _Flow(self.transport, self)
        gateway = self.app_state.get("gateway")
        if self.client is not None and gateway is not None:
            self.address_key = peer_key(self.client[0], gateway.trusted_networks)
        if not self._admission.admit(self, len(self.connections)):
            self._is_ended = True
            status, rest = problem_lines({"path": "", "state": self.app_state}, TooManyConnections())
            self.transport.write(STATUS_LINE[status] + self._date() + b"connection: close\r\n" + rest)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._admission.forget(self)
        self._unfed = b""
        super().connection_lost(exc)
        if self._waits_for_body is not None:  # for good: the ordinary way notes that there was no answer
            self._waits_for_body = None
            self._start_asgi_task(self.cycle, self.app)

    def shutdown(self) -> None:
        """End an idle connection; one whose request is still arriving has `DRAIN_BODY_SECONDS` for the rest of it."""
        super().shutdown()
        if self._in_body:
            self.loop.call_later(DRAIN_BODY_SECONDS, self._end_in_body)

    def _end_in_body(self) -> None:
        if self._in_body:
            self.transport.close()

    def sends_its_last(self) -> None:
        """Wait for the rest of what was answered to be taken, and not for ever."""
        if self in self.connections:
            self._admission.sending.setdefault(self, time.monotonic())

    def pause_writing(self) -> None:
        """Read nothing more while what was answered is not taken, and not for ever."""
        super().pause_writing()
        self._admission.sending.setdefault(self, time.monotonic())
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Go on: what was answered is on its way."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._admission.sending.pop(self, None)
            self._go_on()

    @property
    def is_held(self) -> bool:
        """Tell whether the client has to wait with more: he does not read, or has more unanswered than one request."""
        is_held = self.flow.write_paused or bool(self._unfed) or self._is_ended
        return is_held and self not in self._admission.lingering

    # --------------------------------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        """Take what one read brought; a client whose turn it is not waits with it."""
        if self._is_ended or self._is_closing():
            return
        if self._unfed or self._is_owed:
            self._unfed += data
            self.flow.pause_reading()
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Give the parser pieces, none of them of two requests; hold the rest while an answer is owed; send answers."""
        begin = pieces = 0
        while True:
            end = self._end_of_piece(data, begin)
            self._feed_piece(data[begin:end] if end - begin < len(data) else data)
            begin, pieces = end, pieces + 1
            if begin == len(data) or self._is_ended or self._is_closing():
                break
            is_owed = self._is_owed
            if is_owed or pieces == MAX_PIECES_OF_A_TURN:
                self._unfed = data[begin:]
                self.flow.pause_reading()
                if not is_owed:
                    self._go_on_soon()
                break
        self._outgoing.flush()

    def _end_of_piece(self, data: bytes, begin: int) -> int:
        """
        Give where the next piece ends: at the end of the message, or before it.

        A head, and a body in chunks, ends with an empty line, whose four octets may come in two reads. To cut where no
        message ends does no harm.
        """
        most = begin + MAX_PIECE_BYTES
        if most > len(data):
            most = len(data)
        if self._body_left_bytes:
            return min(most, begin + self._body_left_bytes)
        if self._tail and (self._in_head or self._in_body):
            spanning = (self._tail + data[begin : begin + len(_EMPTY_LINE) - 1]).find(_EMPTY_LINE)
            if spanning >= 0:
                return begin + spanning + len(_EMPTY_LINE) - len(self._tail)
        empty_line = _find_empty_line(data, begin, most)
        return empty_line.end() if empty_line is not None else most

    @property
    def _is_owed(self) -> bool:
        """Tell whether, between two requests, the client must wait for the answer to the first, or read others."""
        if self._in_head or self._in_body:
            return False
        cycle = self.cycle
        return self.flow.write_paused or (cycle is not None and not cycle.response_complete)  # type: ignore[redundant-expr]

    def _go_on_soon(self) -> None:
        """Let others have their turn first."""
        if not self._goes_on_soon:
            self._goes_on_soon = True
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take up what was held, if nothing is owed any more, or read on."""
        self._goes_on_soon = False
        if self._is_closing() or self._is_ended or self._is_owed:
            return
        held, self._unfed = self._unfed, b""
        if held:
            self._feed(held)
        self.flow.resume_reading()

    def _feed_piece(self, piece: bytes) -> None:
        if not self._in_body:
            self._begins_with = self._begins_with[:MAX_BEGINNING_BYTES] + piece if self._in_head else piece
        self._unread_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # What follows would be another protocol for it; `on_headers_complete` has seen to the answer.
            if not self._framing:
                self._take_no_more()
                return
            self.parser, self._framing = _parser_of_body(self, self._framing), b""
        except httptools.HttpParserError as error:
            self._refuse(_refusal_in(error))
            return
        if not (self._in_head or self._in_body):
            return
        self._tail = (self._tail + piece)[1 - len(_EMPTY_LINE) :]
        if self._in_head:
            if self._unread_bytes > MAX_HEAD_BYTES + MAX_PIECE_BYTES:
                self._refuse(self._too_large())
            else:
                self._admission.wait_for_head(self)
        elif self._unread_bytes > MAX_HEAD_BYTES:
            self._refuse(MalformedRequest(_NOT_HTTP, "more framing and trailers than body"))
        else:
            self._receiving.setdefault(self, time.monotonic())

    # ---------------------------------------------------------------------------------------------------------- parser

    def _take_no_more(self) -> None:
        self._is_ended = True
        self.flow.pause_reading()

    def on_message_begin(self) -> None:
        """Expect the head of a request; uvicorn hears of it when it is there."""
        self.url, self.headers = b"", []
        self._in_head = True
        self._idle.pop(self, None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the head; what comes after the head, a trailer, is none (RFC 9110 section 6.5.1)."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Let a request through whose head keeps the limits; an error here refuses it and ends the connection."""
        if self in self._half_open:
            self._admission.head_arrived(self)
        fields = dict(self.headers)
        method = self.parser.get_method()
        self._refuse_head(method, fields)
        path, _, query = self.url.partition(b"?")
        line = method + b" " + path
        quick = self._quick_answers.get(line) or self._quick_answers.get(line[: line.rfind(b"/") + 1] + b"*")
        direct = self._direct_answers.get(line)
        is_plain = (quick is not None or direct is not None) and self._is_plain(fields)
        if quick is None or not is_plain or not self._answer_quickly(quick, method, path, query, fields):
            if direct is not None and is_plain and self._fits(method, fields):
                self._answer_with_body(direct, method, path, query, fields)
            else:
                self._hand_on(fields)
        self._in_head, self._in_body, self._unread_bytes, self._tail = False, True, 0, b""
        if b"content-length" in fields:
            self._body_left_bytes = int(fields[b"content-length"])

    def _begin_scope(self, fields: dict[bytes, bytes]) -> None:
        """Let uvicorn begin a request whose head is there, and make its scope."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = b"expect" in fields and any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        # uvicorn hands on nothing of a fragment.
        cast(dict[str, Any], self.scope)["gateway.has_fragment"] = b"#" in url

    def _hand_on(self, fields: dict[bytes, bytes]) -> None:
        """Let a request go the ordinary way."""
        self._begin_scope(fields)
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False
            self._is_last = True
            self._framing = b"".join(
                b"%s: %s\r\n" % field for field in self.headers if field[0] in _FRAMING and field[1].strip(b"0")
            )

    def on_body(self, body: bytes) -> None:
        """Drop the body of a request that has its answer."""
        self._body_left_bytes = max(0, self._body_left_bytes - len(body))
        self._unread_bytes = max(0, self._unread_bytes - (CHUNK_FRAMING_BYTES + 1) * len(body))
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect another request, but after an offer to upgrade, which ends the message for its parser too early."""
        if self._framing:
            return
        if self._is_last:
            self._take_no_more()
        self._in_body, self._unread_bytes, self._body_left_bytes, self._tail = False, 0, 0, b""
        self._receiving.pop(self, None)
        if self._is_answered:
            self._is_answered = False
            self.on_response_complete()
        else:
            super().on_message_complete()
            if self._waits_for_body is not None:
                direct, self._waits_for_body = self._waits_for_body, None
                self._start_asgi_task(self.cycle, partial(self._answer_directly, direct))

    def _refuse_head(self, method: bytes, fields: dict[bytes, bytes]) -> None:
        """Raise why this head is not taken: too large, not one `Host`, or a tunnel."""
        if len(self.headers) > MAX_HEADERS or (
            self._unread_bytes > SURELY_SMALL_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES
        ):
            raise self._too_large()
        version = self.parser.get_http_version()
        if version != "1.1" and version != "1.0":
            raise MalformedRequest(_NOT_HTTP, f"HTTP/{version}")
        is_missing = b"host" not in fields and version == "1.1"
        if is_missing or (len(fields) < len(self.headers) and self._hosts() > 1):
            raise MalformedRequest(_NOT_HTTP + ": one Host", "not one Host")
        if version == "1.0" and b"transfer-encoding" in fields:
            raise MalformedRequest(_NOT_HTTP, "chunks in HTTP/1.0")  # RFC 9112 section 6.1
        if method == b"CONNECT":
            raise MalformedRequest("There is no CONNECT here")

    def _head_bytes(self) -> int:
        return REQUEST_LINE_BYTES + len(self.url) + sum(len(n) + len(v) + FIELD_BYTES for n, v in self.headers)

    def _hosts(self) -> int:
        return sum(name == b"host" for name, _ in self.headers)

    def _too_large(self) -> GatewayError:
        error = SubrequestHeadersTooLarge if self._is_subrequest else HeadersTooLarge
        sizes = [(len(self.url), b"the URL"), *((len(name) + len(value), name) for name, value in self.headers)]
        largest_bytes, largest = max(sizes)
        what = f"{len(self.headers)} fields, the largest {largest[:100].decode('latin-1')}: {largest_bytes} bytes"
        return error(f"At most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} header fields", what)

    # --------------------------------------------------------------------------------------------------------- answers

    def _is_plain(self, fields: dict[bytes, bytes]) -> bool:
        """Tell whether nothing is special about it, and its connection stays open; it owes no answer, says `_feed`."""
        return (
            self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and b"#" not in self.url
            and b"transfer-encoding" not in fields
            and b"expect" not in fields
        )

    def _answer_quickly(
        self, quick: "_Quick", method: bytes, path: bytes, query: bytes, fields: dict[bytes, bytes]
    ) -> bool:
        """Answer from memory and tell whether that was possible; no task and no response cycle are made for it."""
        begun = time.monotonic()
        scope: Scope = {
            "type": "http",
            "client": self.client,
            "method": method.decode(),
            "path": path.decode(),
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state,
        }
        if len(fields) == len(self.headers):
            scope["gateway.fields"] = fields
        try:
            answer = quick.answer(scope)
        except Exception:
            return False  # the ordinary way meets the error again, and answers and logs it
        if answer is None:
            return False
        status, rest = answer
        self._outgoing.gather(STATUS_LINE[status] + self._date() + rest)
        self._is_answered = True
        quick.answers[status].observe(time.monotonic() - begun)
        return True

    def _fits(self, method: bytes, fields: dict[bytes, bytes]) -> bool:
        """Tell whether a body can be waited for as a whole; that of a GET means nothing, and need not be."""
        length_bytes = int(fields.get(b"content-length", b"0"))
        return length_bytes <= (MAX_BODY_BYTES if method == b"POST" else 0) and self.parser.get_http_version() == "1.1"

    def _answer_with_body(
        self, direct: DirectAnswer, method: bytes, path: bytes, query: bytes, fields: dict[bytes, bytes]
    ) -> None:
        """Keep what uvicorn keeps of a request under way, whose body comes next, and begin no task yet."""
        self._waits_for_body, self._begun = direct, time.monotonic()
        self._begin_scope(fields)
        self.scope |= {"method": method.decode(), "path": path.decode(), "raw_path": path, "query_string": query}
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )

    async def _answer_directly(self, direct: DirectAnswer, scope: Any, receive: Any, send: Any) -> None:
        """Answer as one ASGI application would, in one piece; who has hung up by then is not answered any more."""
        cycle: Any = self.cycle
        if cycle.disconnected:
            await self.app(scope, receive, send)
            return
        body, cycle.body = bytes(cycle.body), bytearray()
        status, rest = await direct(scope, body, self._begun)
        if cycle.disconnected:
            return
        closing = b"" if cycle.keep_alive else b"connection: close\r\n"
        self._outgoing.gather(STATUS_LINE[status] + self._date() + closing + rest)
        self._outgoing.flush()
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Take up what waits, or be idle until more comes."""
        self.server_state.total_requests += 1
        if not self._is_closing():
            self._idle[self] = time.monotonic()
            if self.flow.read_paused:
                self._go_on_soon()

    @property
    def _is_subrequest(self) -> bool:
        # The parser tells no URL of a line that it cannot read to its end.
        target = self._begins_with.partition(b" ")[2]
        return self._target.startswith(AUTHZ_PREFIX) or target.startswith(AUTHZ_PREFIX)

    @property
    def _target(self) -> bytes:
        """Give what the parser has told of the request's URL."""
        return self.url if self._in_head or self._in_body else b""

    def _refuse(self, error: GatewayError) -> None:
        """Answer what is no request and take no more; a subrequest by 401, since proxies know no 400."""
        self._admission.head_arrived(self)
        self._admission.receiving.pop(self, None)
        self._is_ended, self._unfed = True, b""
        if self._in_body and (self._is_answered or getattr(self.cycle, "response_started", False)):
            self.transport.close()  # it has an answer, whatever is wrong with the rest of it
            return
        if self._in_body and self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._is_subrequest and isinstance(error, MalformedRequest):
            error = AccessTokenInvalid("malformed-request", reason=error.cause or error.detail)
        path = self._target.partition(b"?")[0].decode("latin-1")
        scope = {
            **{"type": "http", "method": "", "path": path},
            **{"headers": self.headers or [], "client": self.client, "state": self.app_state},
        }
        status, rest = refuse_quickly(scope, error)
        count_answer(self._metrics, endpoint_of(path), status, 0.0, error)
        refusal = STATUS_LINE[status] + self._date() + b"connection: close\r\n" + rest
        self._end_with(refusal)

    def _end_with(self, answer: bytes) -> None:
        """Send the last answer and wait for the client's end: closing while he still sends would cut it off."""
        self._admission.idle.pop(self, None)
        self._admission.lingering[self] = time.monotonic()
        self.transport.write(answer)
        self.transport.write_eof()
        self.flow.resume_reading()

    def _date(self) -> bytes:
        headers = self.server_state.default_headers  # a new list each second
        if headers is not self._dated:
            self._dated, self._date_lines = headers, b"".join(b"%s: %s\r\n" % header for header in headers)
        return self._date_lines


def _refusal_in(error: httptools.HttpParserError) -> GatewayError:
    """Give what was raised while the parser called, without the frames, which would hold the connection; else a 400."""
    refusal = error.__context__
    if isinstance(refusal, GatewayError):
        return refusal.with_traceback(None)
    return MalformedRequest(_NOT_HTTP, str(error))


class _BodyAlone:
    """What is heard of a parser that reads a body and nothing else."""

    def __init__(self, connection: BoundedProtocol) -> None:
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete


def _parser_of_body(connection: BoundedProtocol, framing: bytes) -> httptools.HttpRequestParser:
    """
    Give a parser for the body of a request that offers to upgrade, which is not taken (RFC 9110 section 7.8).

    The parser of such a request ends it with its head, and the body would be read as the next one.

    Args:
        framing: The header lines that say how long the body is.
    """
    parser = httptools.HttpRequestParser(_BodyAlone(connection))
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n")
    return parser


class _Quick(NamedTuple):
    """What answers a request from memory, and where its answers are counted."""

    answer: QuickAnswer
    answers: Answers


class _Flow(FlowControl):
    """Reads on only when nothing holds the client: uvicorn would after each answer, and when a handler reads."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        super().__init__(transport)
        self._protocol = weakref.ref(protocol)

    def resume_reading(self) -> None:
        protocol = self._protocol()
        if protocol is not None and not protocol.is_held:
            super().resume_reading()


class _GatheringTransport(asyncio.Transport):
    """
    Sends what is written within one turn of the event loop by one system call.

    uvicorn writes head and body of an answer apart, which costs a call and wakes the client once more. What is answered
    as a whole is sent by who gathered it, before any task goes on.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport = transport
        self._loop = protocol.loop
        self._protocol = weakref.ref(protocol)
        self._written: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def gather(self, data: bytes) -> None:
        """Keep what *flush* is going to send, which the caller sees to."""
        self._written.append(data)

    def write_eof(self) -> None:
        self.flush()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        protocol = self._protocol()
        if protocol is not None:
            protocol.sends_its_last()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def flush(self) -> None:
        """Send what was written."""
        written = self._written
        if not written:
            return
        self._written = []
        if not self._transport.is_closing():  # the client may have hung up within this turn
            self._transport.write(written[0] if len(written) == 1 else b"".join(written))
