"""
A second opinion on what a stream of bytes asks for: a strict reader of HTTP/1.1 requests (RFC 9112), plain and slow.

It has the whole stream before it, so nothing depends on how the stream came in pieces. Beside RFC 9112 it knows what
this gateway demands more: one `Host`, the bounds of the head, no CONNECT.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

MAX_HEAD_BYTES = 32_768
MAX_FIELDS = 100
MAX_LENGTH_DIGITS = 18
# The methods that a parser may know (RFC 9110, 5789, 4918, 3253, 3648, 3744, 5323, 2068).
KNOWN_METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS TRACE PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT".split()
)

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)( +)([^ ]+)( +)(HTTP/[0-9]\.[0-9])")
_URI = re.compile(rb"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]+)((?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|" + _QUOTED + rb"))?)*)"
)
_CODING_BEFORE_A_TAB = re.compile(rb"(?i)\ntransfer-encoding:[^\r\n]*\t")
_LOOSE_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class Verdict(Enum):
    """What a server has to do about a request; `EITHER` where RFC 9112 leaves it to read it so, or to refuse it."""

    ANSWERED = "answered"
    EITHER = "either"
    REFUSED = "refused"


@dataclass
class Request:
    """
    One request of a stream.

    Attributes:
        is_last: The connection closes after its answer; None: it may.
        is_refused_in_body: What is wrong came after its head, so a server may have answered it already.
    """

    method: bytes = b""
    target: bytes = b""
    version: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    verdict: Verdict = Verdict.ANSWERED
    is_last: bool | None = False
    is_refused_in_body: bool = False
    why: str = ""

    def doubt(self, why: str) -> None:
        """Leave it to the server."""
        if self.verdict is Verdict.ANSWERED:
            self.verdict, self.why = Verdict.EITHER, why

    def values(self, name: bytes) -> list[bytes]:
        """Give the values of all fields of a name."""
        return [value for found, value in self.fields if found == name]

    def members(self, *names: bytes) -> list[bytes]:
        """Give the members of lists, in lower case, without the empty ones."""
        values = b",".join(value for name in names for value in self.values(name))
        return [member.strip(b" \t").lower() for member in values.split(b",") if member.strip(b" \t")]


@dataclass
class Reading:
    """The requests of a stream, in order; after a refused one nothing counts. `begun` has come in part only."""

    requests: list[Request] = field(default_factory=list)
    begun: Request | None = None


class Malformed(Exception):
    """No server may take this for a request."""


class Incomplete(Exception):
    """More bytes have to come."""


def read(stream: bytes) -> Reading:
    """Give all requests of a stream."""
    reading, cursor = Reading(), _Cursor(stream)
    while True:
        request = Request()
        try:
            cursor.skip_empty_lines(request)
            if cursor.is_at_end:
                return reading
            reading.begun = request
            _read_head(cursor, request)
            _read_body(cursor, request)
        except Malformed as error:
            request.verdict, request.why = Verdict.REFUSED, str(error)
            # The fields are there as soon as the head was good.
            request.is_refused_in_body = bool(request.version) and cursor.is_in_body
        except Incomplete:
            return reading
        reading.requests.append(request)
        reading.begun = None
        if request.verdict is Verdict.REFUSED or request.is_last:
            return reading


class _Cursor:
    def __init__(self, stream: bytes) -> None:
        self.stream, self.place, self.is_in_body = stream, 0, False

    @property
    def is_at_end(self) -> bool:
        return self.place >= len(self.stream)

    def skip_empty_lines(self, request: Request) -> None:
        """Skip the empty lines that RFC 9112 section 2.2 allows before a request; other ends of line may pass."""
        self.is_in_body = False
        while self.stream[self.place : self.place + 1] in (b"\r", b"\n"):
            if self.stream.startswith(b"\r\n", self.place):
                self.place += 2
            else:
                request.doubt("half an end of line")
                self.place += 1

    def line(self) -> bytes:
        """Give a line, which ends by CRLF and has neither CR nor LF in it."""
        end = self.stream.find(b"\n", self.place)
        rest = self.stream[self.place :] if end < 0 else self.stream[self.place : end]
        if b"\r" in rest[:-1] or (end >= 0 and not rest.endswith(b"\r")):
            raise Malformed("a line that does not end by CRLF")
        if end < 0:
            raise Incomplete
        self.place = end + 1
        return rest[:-1]

    def octets(self, number: int) -> bytes:
        """Give so many octets."""
        if len(self.stream) - self.place < number:
            raise Incomplete
        self.place += number
        return self.stream[self.place - number : self.place]


def _read_head(cursor: _Cursor, request: Request) -> None:
    begin = cursor.place
    line = cursor.line()
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise Malformed("no request line")
    method, before, target, behind, version = found.groups()
    if _VISIBLE.fullmatch(target) is None:
        raise Malformed("a target that is not visible ASCII")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        if version not in (b"HTTP/0.9", b"HTTP/2.0"):
            raise Malformed("an unknown version")
        request.doubt("another version")
        request.is_last = None
    if (before, behind) != (b" ", b" ") or method not in KNOWN_METHODS or _URI.fullmatch(target) is None:
        request.doubt("blanks, method or target")
    if not target.startswith(b"/"):
        request.doubt("another form of the target")
    fields = _read_fields(cursor)
    if _CODING_BEFORE_A_TAB.search(cursor.stream, begin, cursor.place):
        request.doubt("a tab behind a coding")
    request.method, request.target, request.fields, request.version = method, target, fields, version
    if len(fields) > MAX_FIELDS or cursor.place - begin > MAX_HEAD_BYTES:
        raise Malformed("too large a head")
    hosts = len(request.values(b"host"))
    if hosts > 1 or (hosts == 0 and version == b"HTTP/1.1"):
        raise Malformed("not one Host")
    if method == b"CONNECT":
        raise Malformed("CONNECT")


def _read_fields(cursor: _Cursor) -> list[tuple[bytes, bytes]]:
    fields = []
    while line := cursor.line():
        name, colon, value = line.partition(b":")
        if not colon or _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise Malformed("no field line")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def _read_body(cursor: _Cursor, request: Request) -> None:
    lengths, codings = request.values(b"content-length"), request.members(b"transfer-encoding")
    length = _length(request, lengths)
    has_codings = bool(request.values(b"transfer-encoding"))
    if has_codings and lengths:
        raise Malformed("framed twice")
    if has_codings and (codings[-1:] != [b"chunked"] or codings.count(b"chunked") != 1):
        raise Malformed("no chunked, not at the end, or twice")
    if has_codings and (len(codings) > 1 or b"," in b",".join(request.values(b"transfer-encoding"))):
        request.doubt("other codings, or empty members")
    _heed_connection(request)
    cursor.is_in_body = True
    if has_codings:
        _read_chunks(cursor, request)
    else:
        request.body = cursor.octets(length)


def _length(request: Request, lengths: list[bytes]) -> int:
    members = {member.strip(b" \t") for value in lengths for member in value.split(b",")}
    if not members:
        return 0
    if len(members) > 1 or not all(re.fullmatch(rb"[0-9]+", member) for member in members):
        raise Malformed("not one length")
    (member,) = members
    if len(lengths) > 1 or b"," in lengths[0]:
        request.doubt("the same length twice")
    if len(member.lstrip(b"0")) > MAX_LENGTH_DIGITS:
        raise Malformed("too great a length")
    return int(member)


def _heed_connection(request: Request) -> None:
    connection, offers = request.members(b"connection"), request.values(b"upgrade")
    of_proxy = request.members(b"proxy-connection")
    if request.version == b"HTTP/1.0" or b"close" in connection:
        request.is_last = None if b"keep-alive" in connection else True
    if b"close" in of_proxy or (b"keep-alive" in of_proxy and request.is_last):
        request.is_last = None
    if request.version == b"HTTP/1.0" and request.values(b"transfer-encoding"):
        request.doubt("chunks in HTTP/1.0")
    if not offers:
        return
    is_offer = b"upgrade" in connection and any(offers) and request.version == b"HTTP/1.1"
    request.is_last = True if is_offer else request.is_last or None


def _read_chunks(cursor: _Cursor, request: Request) -> None:
    while True:
        line = cursor.line()
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            request.doubt("a chunk extension")
            request.is_last = request.is_last or None  # one that was answered at its head ends its connection
            found = _LOOSE_CHUNK_LINE.fullmatch(line)
        if found is None or len(found[1].lstrip(b"0")) > MAX_LENGTH_DIGITS:
            raise Malformed("no chunk size")
        size = int(found[1], 16)
        if size == 0:
            break
        request.body += cursor.octets(size)
        if cursor.octets(1) != b"\r" or cursor.octets(1) != b"\n":
            raise Malformed("no CRLF after a chunk")
    request.trailers = _read_fields(cursor)
    if any(name in (b"content-length", b"transfer-encoding") for name, _ in request.trailers):
        request.is_last = request.is_last or None
        request.doubt("trailers about the frame")  # RFC 9110 section 6.5.1 has no sender send them
    if len(request.trailers) > MAX_FIELDS or sum(len(n) + len(v) for n, v in request.trailers) > MAX_HEAD_BYTES / 2:
        request.doubt("many trailers")
