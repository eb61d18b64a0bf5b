"""Asks gateways over connections that are kept, and writes down what came of each request."""

import asyncio
import collections
import random
import time
from pathlib import Path

import msgspec

from tests.families.journal import Answer, Connection, claims_of, refresh_request
from tests.faults.entries import Entry

PATIENCE_SECONDS = 6.0
KEPT_SECONDS = 3.0  # a server closes a connection that is idle for longer: not to be raced
LONGEST_ANSWER_BYTES = 1500


class KeptConnection(Connection):
    """A connection that is used again."""

    since = 0.0

    @property
    def is_good(self) -> bool:
        """Tell whether the server will surely not close it in this moment."""
        return time.monotonic() - self.since < KEPT_SECONDS and not self._reader.at_eof()


class Asker:
    """
    Asks, for all clients of one process, and keeps one journal for them.

    Attributes:
        under_way: How many requests have not been answered yet.
    """

    def __init__(self, journal: str) -> None:
        self.under_way = 0
        self._journal = Path(journal).open("ab")
        self._encoder = msgspec.json.Encoder()
        self._idle: dict[int, list[KeptConnection]] = collections.defaultdict(list)

    def flush(self) -> None:
        """Let others read all that was written down."""
        self._journal.flush()

    async def close(self) -> None:
        """End it."""
        self._journal.close()
        for connection in [one for kept in self._idle.values() for one in kept]:
            await connection.close()

    async def ask(self, what: str, session: str, port: int, octets: bytes, sent: str = "") -> Answer | None:
        """Ask once, write it down, and give the answer if there was one."""
        begun, answer, told, is_fresh = time.monotonic(), None, "", True
        connection = None
        self.under_way += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                connection = await self._kept(port)
                is_fresh = connection is None
                if connection is None:
                    connection = KeptConnection(*await asyncio.open_connection("127.0.0.1", port))
                connection.send(octets)
                answer = await connection.read()
        except (OSError, EOFError) as error:
            told = type(error).__name__
        if answer is None:
            self._write(Entry(begun, time.monotonic(), what, session, port, 0, sent, told=told, is_fresh=is_fresh))
        else:
            self._write(_entry(begun, what, session, port, answer, sent, is_fresh))
        if connection is not None and answer is not None and answer.headers.get("connection") != "close":
            connection.since = time.monotonic()
            self._idle[port].append(connection)
        elif connection is not None:
            await connection.close()
        self.under_way -= 1
        return answer

    async def hang_up(self, session: str, port: int, refresh_token: str) -> None:
        """Send a refresh and hang up: within it, a moment later, or within the answer."""
        begun, octets = time.monotonic(), refresh_request(refresh_token)
        try:
            connection = await Connection.open(port)
        except OSError:
            return
        moment = random.randrange(3)
        connection.send(octets[: random.randrange(len(octets))] if moment == 0 else octets)
        if moment == 2:
            await connection.read_some(random.randrange(1, LONGEST_ANSWER_BYTES))
        else:
            await asyncio.sleep(random.uniform(0, 0.01))
        await connection.hang_up(reset=random.random() < 0.5)
        self._write(Entry(begun, time.monotonic(), "lost refresh", session, port, 0, refresh_token))

    async def _kept(self, port: int) -> KeptConnection | None:
        while self._idle[port]:
            connection = self._idle[port].pop()
            if connection.is_good:
                return connection
            await connection.close()
        return None

    def _write(self, entry: Entry) -> None:
        self._journal.write(self._encoder.encode(entry) + b"\n")


def _entry(begun: float, what: str, session: str, port: int, answer: Answer, sent: str, is_fresh: bool) -> Entry:
    got, whose, told = "", answer.headers.get("remote-sub", ""), ""
    if answer.status >= 400:
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        told = answer.slug if is_problem else "no problem document"
    elif answer.status == 200 and answer.body:
        claims = claims_of(answer.document["access_token"])
        whose = f"{claims['sub']} {claims['sid']} {claims['email']}"
        got = answer.document.get("refresh_token", "")
    retry_after = answer.headers.get("retry-after", "")
    return Entry(
        begun, time.monotonic(), what, session, port, answer.status, sent, got, whose, told, retry_after, is_fresh
    )
