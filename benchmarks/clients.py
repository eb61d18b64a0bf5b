"""A light HTTP client that refreshes and logs in on connections that it keeps: asyncio on uvloop, no HTTP library."""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec
import uvloop

from benchmarks.measuring import quantile
from benchmarks.processes import cpu_seconds, load_cores, pinned
from benchmarks.wrk import Sample
from tests.harness import PASSWORD

CONNECTIONS = 16
ASKED_AGAIN_SECONDS = 0.2


class Work(Protocol):
    """A kind of request, and what is made of its answers."""

    def next(self) -> bytes | None:
        """Give the next request, or None when there is no more to do."""

    def take(self, body: bytes) -> None:
        """Take the body of an answer."""


class _Tokens(msgspec.Struct):
    refresh_token: str


class Refreshes:
    """Keeps refresh tokens: the family that has waited longest is refreshed next."""

    def __init__(self, refresh_tokens: Sequence[str]) -> None:
        self._waiting = deque(refresh_tokens)
        self._decode = msgspec.json.Decoder(_Tokens).decode

    def add(self, refresh_tokens: Sequence[str], chance: random.Random) -> None:
        """Put more among those that wait."""
        mixed = [*self._waiting, *refresh_tokens]
        chance.shuffle(mixed)
        self._waiting = deque(mixed)

    def next(self) -> bytes | None:
        """Give the request of the next family."""
        return _post("/auth/refresh", f'{{"refresh_token":"{self._waiting.popleft()}"}}')

    def take(self, body: bytes) -> None:
        """Keep the successor."""
        self._waiting.append(self._decode(body).refresh_token)


class Logins:
    """Logs these users in, in turn, *count* times in all."""

    def __init__(self, emails: Sequence[str], count: int) -> None:
        self._turns = itertools.islice(itertools.cycle(emails), count)

    def next(self) -> bytes | None:
        """Give the request of the next user."""
        email = next(self._turns, None)
        if email is None:
            return None
        return _post("/auth/login", f'{{"username":"{email}","password":"{PASSWORD}","delivery":"body"}}')

    def take(self, body: bytes) -> None:
        """Leave the tokens alone."""


def drive(
    port: int,
    work: Work,
    *pids: int,
    seconds: float = 600,
    connections: int = CONNECTIONS,
    cores: set[int] | None = None,
    asks_again: bool = False,
) -> Sample:
    """
    Send requests for so long, or until there are no more, and give what came of it. Fails unless each is a 200.

    Args:
        pids: The processes whose CPU is counted.
        cores: Where this client runs; beside the server under test unless told otherwise.
        asks_again: Whether a 503 is no failure: for what is not about time, on a machine that does other things.
    """
    taken: list[float] = []
    moved_bytes = 0

    async def keep_asking(ends: float) -> None:
        nonlocal moved_bytes
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < ends and (request := work.next()) is not None:
            while True:
                begun = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                body = await reader.readexactly(length)
                if not (asks_again and head.startswith(b"HTTP/1.1 503 ")):
                    break
                await asyncio.sleep(ASKED_AGAIN_SECONDS)
            taken.append(time.perf_counter() - begun)
            moved_bytes += len(request) + len(head) + len(body)
            assert head.startswith(b"HTTP/1.1 200 "), head + body
            work.take(body)
        writer.close()

    async def all_of_them() -> None:
        ends = time.perf_counter() + seconds
        await asyncio.gather(*(keep_asking(ends) for _ in range(connections)))

    with pinned(cores or load_cores()):
        before, begun = sum(cpu_seconds(pid) for pid in pids), time.perf_counter()
        uvloop.run(all_of_them())
        elapsed = time.perf_counter() - begun
    used = sum(cpu_seconds(pid) for pid in pids) - before
    p50_ms, p99_ms = quantile(taken, 0.5) * 1000, quantile(taken, 0.99) * 1000
    return Sample(len(taken), elapsed, p50_ms, p99_ms, 0, used, moved_bytes / len(taken))


def _post(path: str, body: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()
