"""
Random streams of good and mutated requests, cut at random: as many answers as a strict reader finds requests.

`make fuzz` sends 100,000 requests (FUZZ_REQUESTS) with a seed of its own (FUZZ_SEED, printed); `make test` 10,000.
"""

import itertools
import os
import random
from collections import Counter

import pytest

from tests.connections.answers import EARLY, QUICK, parse_answers, violations
from tests.connections.conftest import Run
from tests.connections.corpus import CASES
from tests.connections.driver import Driver
from tests.connections.reference import read

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "10000"))  # noqa: TID251 - for the test alone
SEED = int(os.environ.get("FUZZ_SEED", "20261128"))  # noqa: TID251 - the same
MOST_VIOLATIONS = 20
LONGEST_CASE_BYTES = 1000
METHODS = (b"GET", b"GET", b"POST", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"PROPFIND")
TARGETS = (b"/", b"/livez", b"/a?b=c", QUICK, QUICK, EARLY, b"/api/authz/forward-auth", b"/a%20b?Upgrade:", b"*")
VERSIONS = (*[b"HTTP/1.1"] * 12, b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0")
FIELDS = (
    b"Connection: Upgrade", b"Connection: keep-alive", b"Connection: close", b"Connection: upgrade, x", b"Connection:",
    b"Upgrade: websocket", b"Upgrade: h2c", b"UpGrAdE: WebSocket", b"Upgrade:", b"Upgrade-Insecure-Requests: 1",
    b"Proxy-Connection: upgrade", b"Expect: 100-continue", b"TE: trailers", b"Trailer: X-T", b"Host: y", b"A: b",
    b"A: " + b"b" * 300, b"Cookie: a=b; c=d", b"X-Forwarded-For: 192.0.2.1", b"Content-Length: 3", b"A: Upgrade: x",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Type: application/json",
)  # fmt: skip
EXTENSIONS = (b"", b"", b"", b";a", b";a=b", b';a="b;c"', b" ;a", b";")
TRAILERS = (
    b"",
    b"",
    b"",
    b"X-T: 1\r\n",
    b"Remote-User: admin\r\nAuthorization: Bearer x\r\n",
    b"Host: y\r\n",
    b"A b\r\n",
)
SPLICES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"0",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b";",
)


class Streams:
    """Makes random streams of requests, each with a number of its own in it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.number = 0
        self.cases = [stream for stream, _ in CASES.values() if len(stream) < LONGEST_CASE_BYTES]

    def pieces(self) -> list[bytes]:
        """Give a stream as it is sent, piece by piece."""
        chance = self.chance
        stream = b"".join(self._request() for _ in range(chance.choice((1, 2, 2, 3, 4, 8))))
        if chance.random() < 0.3:
            stream = self._mutated(stream)
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.choice((0, 1, 1, 2, 3, 10))))
        edges = [0, *cuts, len(stream)]
        return [stream[begin:end] for begin, end in itertools.pairwise(edges)]

    def _request(self) -> bytes:
        chance = self.chance
        if chance.random() < 0.15:
            return chance.choice(self.cases)
        self.number += 1
        fields = [b"Host: x", b"X-Nonce: %d" % self.number]
        is_strange = chance.random() < 0.4
        fields += chance.choices(FIELDS, k=chance.choice((1, 1, 2, 3))) if is_strange else []
        body, kind = self._body(), chance.random()
        if kind < 0.35:
            fields.append(b"Content-Length: %d" % len(body))
        elif kind < 0.6:
            fields.append(b"Transfer-Encoding: chunked")
            body = self._chunked(body)
        else:
            body = b""
        chance.shuffle(fields)
        plain_target = chance.choice(TARGETS[:-1])
        line = [chance.choice(METHODS), chance.choice(TARGETS), chance.choice(VERSIONS)]
        line = line if is_strange else [chance.choice(METHODS[:-2]), plain_target, b"HTTP/1.1"]
        return b" ".join(line) + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body

    def _body(self) -> bytes:
        chance = self.chance
        kind = chance.random()
        if kind < 0.4:
            return b"POST /auth/login HTTP/1.1\r\nHost: x\r\nX-Nonce: smuggled\r\nContent-Length: 2\r\n\r\n{}"
        return b"" if kind < 0.5 else chance.randbytes(chance.choice((1, 5, 100, 1000)))

    def _chunked(self, body: bytes) -> bytes:
        chance, chunks = self.chance, b""
        while body:
            size = chance.randint(1, len(body))
            chunks += b"%x%s\r\n%s\r\n" % (size, chance.choice(EXTENSIONS), body[:size])
            body = body[size:]
        return chunks + b"0\r\n" + chance.choice(TRAILERS) + b"\r\n"

    def _mutated(self, stream: bytes) -> bytes:
        chance = self.chance
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(len(stream) + 1)
            match chance.randrange(5):
                case 0:
                    stream = stream[:place] + stream[place + chance.choice((1, 1, 2, 30)) :]
                case 1:
                    stream = stream[:place] + chance.choice(SPLICES) + stream[place:]
                case 2:
                    stream = stream[:place] + chance.randbytes(1) + stream[place + 1 :]
                case 3:
                    end = place + chance.choice((1, 2, 30))
                    stream = stream[:end] + stream[place:]
                case _:
                    stream = stream.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\n ")), chance.choice((1, 3)))
        return stream


@pytest.mark.timeout(3600)
def test_there_are_as_many_answers_as_requests(run: Run, driver: Driver) -> None:
    """
    Of what is good each request gets its own answer, in order; of the first that is not, one refusal or none.

    Shows ASVS 4.2.1.
    """
    streams, found, counted = Streams(SEED), list[str](), Counter[str]()

    async def fuzz() -> None:
        while counted["requests"] < REQUESTS and len(found) < MOST_VIOLATIONS:
            pieces = streams.pieces()
            reading = read(b"".join(pieces))
            received, is_closed = await driver.exchange(pieces)
            answers, _ = parse_answers(received, [request.method for request in reading.requests])
            counted["rounds"] += 1
            counted["requests"] += len(reading.requests)
            counted["answers"] += len(answers)
            counted["refusals"] += sum(answer.is_refusal for answer in answers)
            counted["closed"] += is_closed
            wrong = violations(reading, received, is_closed=is_closed)
            found.extend(f"round {counted['rounds']}: {one}\n  {pieces}" for one in wrong)

    run(fuzz())
    told = ", ".join(f"{number} {what}" for what, number in counted.items())
    print(f"seed {SEED}: {told}, {driver.cuts_seen} of {driver.cuts} cuts seen, {len(found)} violations")
    assert not found, f"FUZZ_SEED={SEED}, {told}\n" + "\n".join(found)
    assert counted["refusals"] > counted["rounds"] / 20
    assert counted["answers"] > counted["rounds"]
