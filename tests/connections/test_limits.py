"""How much a head may hold: to the octet, however it is spelt, and whoever answers it."""

from typing import Any, cast

import pytest

from gateway.web.connections import FIELD_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, REQUEST_LINE_BYTES
from tests.connections.answers import EARLY, QUICK
from tests.connections.conftest import Run
from tests.connections.driver import Driver, Watched


def head_of(size_bytes: int, target: bytes, colon: bytes, count: int) -> bytes:
    """Give a head of so many fields that counts as so many bytes: a colon and a blank for each, sent or not."""
    fields = [(b"Host", b"x"), *((b"N%d" % number, b"v") for number in range(count - 2))]
    counted = REQUEST_LINE_BYTES + len(target) + sum(len(n) + len(v) + FIELD_BYTES for n, v in fields)
    fields.append((b"Last", b"v" * (size_bytes - counted - len(b"Last") - FIELD_BYTES)))
    lines = b"".join(name + colon + value + b"\r\n" for name, value in fields)
    return b"GET %s HTTP/1.1\r\n%s\r\n" % (target, lines)


@pytest.mark.parametrize("target", [QUICK, EARLY])
@pytest.mark.parametrize("colon", [b": ", b":", b": \t  "])
@pytest.mark.parametrize("count", [2, MAX_HEADERS])
def test_the_largest_head_is_answered_and_one_octet_more_is_refused(
    run: Run, driver: Driver, target: bytes, colon: bytes, count: int
) -> None:
    async def check() -> None:
        for more, status in ((0, b"200"), (1, b"431")):
            answer, is_closed = await driver.exchange([head_of(MAX_HEAD_BYTES + more, target, colon, count)])
            assert answer.split(b" ", 2)[1] == status
            assert is_closed is (status == b"431")

    run(check())


@pytest.mark.parametrize("target", [QUICK, EARLY])
def test_as_many_fields_as_may_be_are_answered_and_one_more_is_refused(run: Run, driver: Driver, target: bytes) -> None:
    async def check() -> None:
        for count, status in ((MAX_HEADERS, b"200"), (MAX_HEADERS + 1, b"431")):
            answer, _ = await driver.exchange([head_of(8192, target, b": ", count)])
            assert answer.split(b" ", 2)[1] == status

    run(check())


class CountedWrites:
    """A transport that counts what is written at a time."""

    def __init__(self, transport: Any, written: list[int]) -> None:
        self._transport = transport
        self._written = written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(len(data))
        self._transport.write(data)


def test_what_came_by_one_read_is_answered_by_one_write(
    run: Run, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    begin = Watched.connection_made
    monkeypatch.setattr(
        Watched, "connection_made", lambda self, transport: begin(self, cast(Any, CountedWrites(transport, written)))
    )

    async def check() -> None:
        request = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % QUICK
        received, _ = await driver.exchange([request * 20, request])
        assert received.count(b"HTTP/1.1 200") == 21
        assert written == [len(received) // 21 * 20, len(received) // 21]

    run(check())
