"""The strict reader agrees with the table, so that the two can be held against the gateway."""

import pytest

from tests.connections.corpus import CASES, REFUSED, odd
from tests.connections.reference import Verdict, read


@pytest.mark.parametrize("name", CASES)
def test_the_strict_reader_refuses_what_the_table_refuses(name: str) -> None:
    stream, statuses = CASES[name]
    for sent in (stream, odd(stream)):
        reading = read(sent)
        if name in REFUSED:
            last = [*reading.requests, reading.begun][0]
            assert last is not None
            # Of a head that does not end, and of an unknown method, the strict reader leaves it to the server.
            assert last.verdict is not Verdict.ANSWERED or reading.begun is last
        elif 0 in statuses:
            assert not reading.requests
            assert reading.begun is not None
        else:
            assert reading.requests[0].verdict is not Verdict.REFUSED, reading.requests[0].why


def test_the_strict_reader_counts_bodies_as_bodies() -> None:
    stream = b"".join(CASES[name][0] for name in ("a body that looks like a request", "trailers", "two requests"))
    reading = read(stream)
    assert [request.method for request in reading.requests] == [b"POST", b"POST", b"GET", b"POST"]
    assert [name for name, _ in reading.requests[1].trailers] == [b"x-forwarded-for", b"authorization", b"host"]
    assert [name for name, _ in reading.requests[1].fields] == [b"host", b"transfer-encoding"]
    assert reading.begun is None
