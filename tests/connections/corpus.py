"""What is sent on the wire, and the status of its first answer; 0: there is none, since more has to come."""

from collections.abc import Iterator

GOOD = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
MALFORMED = (400,)
TOO_LARGE = (431,)


def get(fields: bytes = b"", target: bytes = b"/livez", version: bytes = b"HTTP/1.1") -> bytes:
    """Give a GET with more field lines."""
    return b"GET " + target + b" " + version + b"\r\nHost: x\r\n" + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"", target: bytes = b"/livez", version: bytes = b"HTTP/1.1") -> bytes:
    """Give a POST with more field lines, those that frame its body included."""
    return b"POST " + target + b" " + version + b"\r\nHost: x\r\n" + fields + b"\r\n" + body


def with_length(body: bytes) -> bytes:
    """Give the field line that frames a body."""
    return b"Content-Length: %d\r\n" % len(body)


def chunks(body: bytes) -> bytes:
    """Give a body in chunks of 16 octets, without the last chunk."""
    pieces = [body[place : place + 16] for place in range(0, len(body), 16)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


OFFER = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
FRAMED = with_length(SMUGGLED)
ALLOWED = (200, 405)

# What is a request, and answered as such.
REQUESTS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "a good request": (GOOD, (200,)),
    "HEAD": (GOOD.replace(b"GET", b"HEAD"), (200,)),
    "absolute form": (get(target=b"http://evil.test/livez"), (200,)),
    "any Host": (b"GET /livez HTTP/1.1\r\nHost: a/admin?\r\n\r\n", (200,)),
    "HTTP/1.0 without Host": (b"GET /livez HTTP/1.0\r\n\r\n", (200,)),
    "an empty line before it": (b"\r\n" + GOOD, (200,)),
    "blanks around a value": (get(b"A: \t b \t \r\n"), (200,)),
    "an empty value": (get(b"A:\r\n"), (200,)),
    "octets beyond ASCII in a value": (get(b"A: \xe9\xff\r\n"), (200,)),
    "a hundred fields": (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 99 + b"\r\n", (200,)),
    "a head of 31 KiB": (get(b"A: " + b"b" * 31_000 + b"\r\n"), (200,)),
    "a body that looks like a request": (post(FRAMED, SMUGGLED), ALLOWED),
    "a body in chunks that looks like a request": (post(CHUNKED, chunks(SMUGGLED) + b"0\r\n\r\n"), ALLOWED),
    "a body of a GET that looks like a request": (get(FRAMED) + SMUGGLED, (200,)),
    "a body of a subrequest that looks like one": (get(FRAMED, b"/api/authz/forward-auth") + SMUGGLED, (401,)),
    "a body of the JWKS that looks like a request": (get(FRAMED, b"/.well-known/jwks.json") + SMUGGLED, (200,)),
    "a length with zeros before it": (post(b"Content-Length: 0005\r\n", b"hello"), ALLOWED),
    "chunk extensions": (post(CHUNKED, b'5;a=b;c="d;\\"e"\r\nhello\r\n0;x\r\n\r\n'), ALLOWED),
    "a chunk size with zeros before it": (post(CHUNKED, b"0000000000000005\r\nhello\r\n000\r\n\r\n"), ALLOWED),
    "trailers": (
        post(CHUNKED, b"5\r\nhello\r\n0\r\nX-Forwarded-For: 203.0.113.9\r\nAuthorization: Bearer x\r\nHost: y\r\n\r\n"),
        ALLOWED,
    ),
    "trailers that are announced": (
        post(CHUNKED + b"Trailer: Remote-User\r\n", b"5\r\nhello\r\n0\r\nRemote-User: admin@example.com\r\n\r\n"),
        ALLOWED,
    ),
    "trailers about the frame and the connection": (
        post(
            CHUNKED,
            b"0\r\nContent-Length: 44\r\nTransfer-Encoding: identity\r\n" + OFFER + b"\r\n",
        ),
        (*ALLOWED, 400),
    ),
    "an upgrade": (get(OFFER), (200,)),
    "an upgrade without a body, by length": (post(OFFER + b"Content-Length: 0\r\n"), (*ALLOWED, 400)),
    "an upgrade in other letters": (get(b"cOnNeCtIoN: uPgRaDe\r\nUpGrAdE: WebSocket\r\n"), (200,)),
    "an upgrade to h2c": (
        get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"),
        (200,),
    ),
    "an upgrade offered twice": (get(OFFER + b"Upgrade: h2c\r\n"), (200,)),
    "an upgrade in two lines of Connection": (get(b"Connection: keep-alive\r\n" + OFFER), (200,)),
    "an upgrade and a close": (get(b"Upgrade: a\r\nConnection: close, Upgrade\r\n"), (200,)),
    "an upgrade and what may be another protocol": (get(OFFER) + b"\x81\x85\x00\x00\x00\x00hello" + SMUGGLED, (200,)),
    "an upgrade with a body": (post(OFFER + FRAMED, SMUGGLED), ALLOWED),
    "an upgrade with a body, framed first": (post(FRAMED + OFFER, SMUGGLED), ALLOWED),
    "an upgrade with a body in chunks": (post(OFFER + CHUNKED, chunks(SMUGGLED) + b"0\r\n\r\n"), ALLOWED),
    "an upgrade with a body, and another request": (post(OFFER + FRAMED, SMUGGLED) + SMUGGLED, ALLOWED),
    "an upgrade with a body that is empty chunks": (post(OFFER + CHUNKED, b"0\r\n\r\n" + SMUGGLED), ALLOWED),
    "an upgrade with a body of a GET": (get(OFFER + FRAMED) + SMUGGLED, (200,)),
    "an upgrade with a body, in other letters": (
        post(b"conNECTION: keep-alive , UPgrade\r\nUpGrAdE:h2c\r\n" + FRAMED, SMUGGLED),
        ALLOWED,
    ),
    "an upgrade with a body, offered twice": (post(OFFER + b"UPGRADE: h2c\r\n" + FRAMED, SMUGGLED), ALLOWED),
    "an upgrade with a body at the login": (post(OFFER + FRAMED, SMUGGLED, b"/auth/login"), (400, 415)),
    "an upgrade with a body at the JWKS": (get(OFFER + FRAMED, b"/.well-known/jwks.json") + SMUGGLED, (200,)),
    "an upgrade with a body at a subrequest": (
        get(OFFER + FRAMED, b"/api/authz/forward-auth?role=demo") + SMUGGLED,
        (401,),
    ),
    "an upgrade with a body at Envoy's subrequest": (
        post(OFFER + CHUNKED, b"0\r\n\r\n" + SMUGGLED, b"/api/authz/ext-authz/any"),
        (401,),
    ),
    "an upgrade of a subrequest": (get(OFFER, b"/api/authz/auth-request"), (401,)),
    "an upgrade of the JWKS": (get(OFFER, b"/.well-known/jwks.json"), (200,)),
    "an upgrade in HTTP/1.0": (get(OFFER, version=b"HTTP/1.0"), (200,)),
    "Upgrade without Connection": (get(b"Upgrade: websocket\r\n"), (200,)),
    "Connection without Upgrade": (get(b"Connection: upgrade\r\n"), (200,)),
    "Connection without Upgrade, and a body": (post(b"Connection: upgrade\r\n" + FRAMED, SMUGGLED), ALLOWED),
    "Upgrade in a value": (post(b"A: b: Upgrade: c\r\n" + FRAMED, SMUGGLED), ALLOWED),
    "Upgrade in the target": (get(target=b"/livez?Upgrade:"), (200,)),
    "Upgrade in a body": (post(with_length(OFFER + b"\r\n" + SMUGGLED), OFFER + b"\r\n" + SMUGGLED), ALLOWED),
    "names like Upgrade": (post(b"Upgrade-Insecure-Requests: 1\r\nX-Upgrade: h2c\r\n" + FRAMED, SMUGGLED), ALLOWED),
    "a close, then more": (get(b"Connection: close\r\n") + SMUGGLED, (200,)),
    "a body that is read after its answer": (post(FRAMED, SMUGGLED, b"/early"), (404,)),
    "an announced body": (post(b"Expect: 100-continue\r\n" + FRAMED, SMUGGLED), ALLOWED),
    "HTTP/1.0, then more": (b"GET /livez HTTP/1.0\r\n\r\n" + SMUGGLED, (200,)),
    "two requests": (GOOD + post(FRAMED, SMUGGLED), (200,)),
    "half a head": (GOOD[:-2], (0,)),
    "a head whose body is late": (post(FRAMED, SMUGGLED[:-1]), (0, 405)),
}

# What is no request, or none that is taken: the first answer is the last, and the connection is closed.
REFUSED: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "no Host": (b"GET /livez HTTP/1.1\r\n\r\n", MALFORMED),
    "two Hosts": (get(b"Host: y\r\n"), MALFORMED),
    "line feeds alone": (b"GET /livez HTTP/1.1\nHost: x\n\n", MALFORMED),
    "one line feed alone": (b"GET /livez HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", MALFORMED),
    "a line feed alone at the end": (b"GET /livez HTTP/1.1\r\nHost: x\r\n\n", MALFORMED),
    "a folded field": (get(b"A: b\r\n c\r\n"), MALFORMED),
    "a folded field before the first": (b"GET /livez HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n", MALFORMED),
    "an Upgrade folded": (post(b"Connection: Upgrade\r\nUpgrade:\r\n h2c\r\n" + FRAMED, SMUGGLED), MALFORMED),
    "white space before the colon": (b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n", MALFORMED),
    "a field without a name": (get(b": b\r\n"), MALFORMED),
    "a field without a colon": (get(b"A\r\n"), MALFORMED),
    "a field with NUL": (get(b"A: b\x00c\r\n"), MALFORMED),
    "a name beyond ASCII": (get(b"\xe9: b\r\n"), MALFORMED),
    "a carriage return alone": (get(b"A: b\rC: d\r\n"), MALFORMED),
    "length and chunks": (post(b"Content-Length: 3\r\n" + CHUNKED, b"0\r\n\r\n"), MALFORMED),
    "chunks and length": (post(CHUNKED + FRAMED, SMUGGLED), MALFORMED),
    "two lengths": (post(b"Content-Length: 0\r\nContent-Length: 3\r\n", b"abc"), MALFORMED),
    "a list of lengths": (post(b"Content-Length: 0, 3\r\n", b"abc"), MALFORMED),
    "a negative length": (post(b"Content-Length: -1\r\n"), MALFORMED),
    "a length with a plus": (post(b"Content-Length: +3\r\n", b"abc"), MALFORMED),
    "a length that is no number": (post(b"Content-Length: 1x\r\n", b"a"), MALFORMED),
    "an empty length": (post(b"Content-Length:\r\n"), MALFORMED),
    "a length beyond 64 bits": (post(b"Content-Length: 18446744073709551617\r\n", b"a"), MALFORMED),
    "a chunk size that is no number": (post(CHUNKED, b"zz\r\n\r\n"), MALFORMED),
    "a chunk size with a prefix": (post(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"), MALFORMED),
    "a chunk size beyond 64 bits": (post(CHUNKED, b"10000000000000005\r\nhello\r\n0\r\n\r\n"), MALFORMED),
    "a chunk that is longer than it says": (post(CHUNKED, b"4\r\nhello\r\n0\r\n\r\n"), MALFORMED),
    "a line feed alone after a chunk size": (post(CHUNKED, b"5\nhello\r\n0\r\n\r\n"), MALFORMED),
    "a line feed alone after a chunk": (post(CHUNKED, b"5\r\nhello\n0\r\n\r\n"), MALFORMED),
    "a line feed alone in a chunk extension": (post(CHUNKED, b"5;a\nhello\r\n0\r\n\r\n"), MALFORMED),
    "a trailer that is no field": (post(CHUNKED, b"0\r\nA b\r\n\r\n"), MALFORMED),
    "a trailer that is folded": (post(CHUNKED, b"0\r\nA: b\r\n c\r\n\r\n"), MALFORMED),
    "chunks that go wrong after the answer": (post(CHUNKED, b"5\r\nhello\r\nzz\r\n" + GOOD, b"/early"), (404, 400)),
    "trailers that go wrong after the answer": (post(CHUNKED, b"0\r\nA b\r\n\r\n" + GOOD, b"/early"), (404, 400)),
    "chunked twice": (post(CHUNKED + CHUNKED, b"0\r\n\r\n"), MALFORMED),
    "chunked, then another coding": (post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), MALFORMED),
    "identity": (post(b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"), MALFORMED),
    "nearly chunked": (post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), MALFORMED),
    "an empty coding": (post(b"Transfer-Encoding:\r\n" + FRAMED, SMUGGLED), MALFORMED),
    "no version": (b"GET /livez\r\n\r\n", MALFORMED),
    "an unknown method": (b"HACK /livez HTTP/1.1\r\nHost: x\r\n\r\n", MALFORMED),
    "a method in small letters": (b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n", MALFORMED),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", MALFORMED),
    "HTTP/2 with prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9, MALFORMED),
    "a path that is not ASCII": (b"GET /liv\xc3\xa9z HTTP/1.1\r\nHost: x\r\n\r\n", MALFORMED),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", MALFORMED),
    "CONNECT, and a request in its tunnel": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED, MALFORMED),
    "CONNECT with a body": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n" + FRAMED + b"\r\n" + SMUGGLED, MALFORMED),
    "a subrequest with two Hosts": (get(b"Host: y\r\n", b"/api/authz/forward-auth"), (401,)),
    "a hundred and one fields": (get(b"A: b\r\n" * 100), TOO_LARGE),
    "2 000 fields": (get(b"A: b\r\n" * 2_000), TOO_LARGE),
    "a head of 34 KiB": (get(b"A: " + b"b" * 34_000 + b"\r\n"), TOO_LARGE),
    "a head of 200 KiB": (get(b"A: " + b"b" * 200_000 + b"\r\n"), TOO_LARGE),
    "a head that does not end": (get(b"A: " + b"b" * 34_000)[:-2], TOO_LARGE),
    "a query of 40 KiB": (get(target=b"/livez?" + b"b" * 40_000), TOO_LARGE),
    "a head of 34 KiB at a subrequest": (get(b"A: " + b"b" * 34_000 + b"\r\n", b"/api/authz/auth-request"), (403,)),
    "a hundred and one fields at a subrequest": (get(b"A: b\r\n" * 100, b"/api/authz/ext-authz/a"), (403,)),
}  # fmt: skip

CASES = REQUESTS | REFUSED
SAMPLED_FROM_BYTES = 1000
EDGE = 4096


def offsets(stream: bytes) -> Iterator[int]:
    """Give every offset at which a stream can be cut; of a long one those at its ends, and about Go's 4,096 octets."""
    if len(stream) <= SAMPLED_FROM_BYTES:
        yield from range(1, len(stream))
        return
    ends = {*range(1, 60), *range(len(stream) - 60, len(stream))}
    edges = {place for edge in range(EDGE, min(len(stream), 9 * EDGE), EDGE) for place in (edge - 1, edge, edge + 1)}
    yield from sorted(place for place in ends | edges if 0 < place < len(stream))


def odd(stream: bytes) -> bytes:
    """Give the stream with the names in its first head, and what is no one's own in their values, in other letters."""
    begin = len(stream) - len(stream.lstrip(b"\r\n"))
    head, end, rest = stream[begin:].partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    changed = [stream[:begin] + line]
    for field in fields:
        name, colon, value = field.partition(b":")
        is_word = name.strip().lower() in (b"connection", b"transfer-encoding", b"upgrade")
        changed.append(_alternate(name) + colon + (_alternate(value) if is_word else value))
    return b"\r\n".join(changed) + end + rest


def _alternate(text: bytes) -> bytes:
    upper, lower = text.upper(), text.lower()
    return bytes(upper[place] if place % 2 else lower[place] for place in range(len(text)))
