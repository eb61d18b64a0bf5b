"""
However the bytes come: cut at every offset, behind other requests, in odd letters, the answers are the same.

Each stream is cut at every offset alone, in odd letters, and behind itself. Behind other requests the offsets take
turns: each of the stream is cut behind one of them, and each of what goes before a stream is cut before one stream in
three, so that over all streams every offset of it is cut many times. `make fuzz` cuts at every offset behind each.
"""

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.connections.answers import QUICK, violations
from tests.connections.conftest import Run
from tests.connections.corpus import CASES, GOOD, odd, offsets
from tests.connections.driver import Driver
from tests.connections.reference import Reading, read

BEFORE = {
    "behind a GET": GOOD,
    "behind an answer from memory": GOOD.replace(b"/livez", QUICK),
    "behind a POST": b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
}
EVERYWHERE = "FUZZ_REQUESTS" in os.environ  # noqa: TID251 - as `make fuzz` says it
TURNS = len(BEFORE)
MOST_SHOWN = 5


def companies(name: str) -> Iterator[tuple[bytes, list[int]]]:
    """Give what is sent with a stream in it, each once, and where it is cut."""
    stream, _ = CASES[name]
    number = list(CASES).index(name)
    yield stream, list(offsets(stream))
    if odd(stream) != stream:
        yield odd(stream), list(offsets(odd(stream)))
    for turn, before in enumerate([stream, *BEFORE.values()]):
        is_itself = turn == 0
        yield (
            before + stream,
            [
                offset
                for offset in offsets(before + stream)
                if EVERYWHERE or (is_itself and offset >= len(before)) or (offset + number) % TURNS == turn % TURNS
            ],
        )


async def check(driver: Driver, sent: bytes, cuts: list[int], reading: Reading, found: list[str]) -> None:
    """Send *sent* in pieces, and note what is wrong with its answers."""
    edges = [0, *cuts, len(sent)]
    pieces = [sent[begin:end] for begin, end in itertools.pairwise(edges)]
    received, is_closed = await driver.exchange(pieces)
    found += [f"cut at {cuts}: {wrong}" for wrong in violations(reading, received, is_closed=is_closed)]


@pytest.mark.parametrize("name", CASES)
def test_a_stream_gets_its_answers_wherever_it_is_cut(run: Run, driver: Driver, name: str) -> None:
    """One reading of every request, whatever a read brings."""
    found: list[str] = []

    async def cut_everywhere() -> None:
        for sent, cuts in companies(name):
            reading = read(sent)
            await check(driver, sent, [], reading, found)
            for offset in cuts:
                await check(driver, sent, [offset], reading, found)

    run(cut_everywhere())
    assert not found, f"{len(found)} violations in {driver.cuts} cuts:\n" + "\n".join(found[:MOST_SHOWN])
    # A read may bring two pieces, or none, only while the connection does not read, or reads no more.
    assert driver.cuts_seen >= 0.25 * driver.cuts, f"the server saw {driver.cuts_seen} of {driver.cuts} cuts"


@pytest.mark.parametrize("name", [name for name, (stream, _) in CASES.items() if len(stream) < 400])
def test_a_stream_gets_its_answers_octet_by_octet(run: Run, driver: Driver, name: str) -> None:
    stream, _ = CASES[name]
    found: list[str] = []

    async def one_by_one() -> None:
        for sent in (stream, GOOD + stream):
            await check(driver, sent, list(range(1, len(sent))), read(sent), found)

    run(one_by_one())
    assert not found, "\n".join(found)
