"""A relay before Redis that changes the replies of a shared connection, and callers who tell whose they got."""

import asyncio
import hashlib
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from gateway.errors import StoreUnavailable
from gateway.store.store import CALL_DEADLINE_SECONDS, Script, Store
from tests.harness import RedisServer

CALLERS = 200
LATE_SECONDS = 0.5
BEAT_SECONDS = 0.01
DELAY_SECONDS = 0.02
PIECE_BYTES = 40
_TEXT = "return {ARGV[1], 'of-' .. ARGV[1]}"
ECHO = Script("of_the_test", _TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())
_REPLY = re.compile(rb"\*2\r\n\$4\r\n[0-9]{4}\r\n\$7\r\nof-[0-9]{4}\r\n")
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Change = Callable[[bytes, int], list[bytes | float | None]]


def _cut(octets: bytes, at: int) -> list[bytes | float | None]:
    return [octets[:at], None]


def _delay(octets: bytes, at: int) -> list[bytes | float | None]:
    return [octets[:at], DELAY_SECONDS, octets[at:]]


def silence(octets: bytes, at: int) -> list[bytes | float | None]:
    return [octets[:at]]


def _duplicate(octets: bytes, at: int) -> list[bytes | float | None]:
    end = at + PIECE_BYTES
    return [octets[:end], octets[at:end], octets[end:]]


def _reorder(octets: bytes, at: int) -> list[bytes | float | None]:
    middle, end = at + PIECE_BYTES, at + 2 * PIECE_BYTES
    return [octets[:at], octets[middle:end], octets[at:middle], octets[end:]]


def _duplicate_reply(octets: bytes, at: int) -> list[bytes | float | None]:
    found = _REPLY.search(octets, at)
    return [octets] if found is None else [octets[: found.end()], found[0], octets[found.end() :]]


def _reorder_replies(octets: bytes, at: int) -> list[bytes | float | None]:
    first = _REPLY.search(octets, at)
    second = first and _REPLY.match(octets, first.end())
    if first is None or not second:
        return [octets]
    return [octets[: first.start()], second[0], first[0], octets[second.end() :]]


# What TCP can do by itself; after any of it a reply is right to the last byte.
BY_THE_NETWORK: dict[str, Change] = {"cut": _cut, "delayed": _delay, "silenced": silence}
# What is found out by the mark behind each write, though no answer says what it is about.
COME_TWICE = (_duplicate, _duplicate_reply)
# What takes a relay that is broken or means harm: an answer that says what it is about is found out.
BY_A_RELAY: dict[str, Change] = {
    "duplicated": _duplicate,
    "reordered": _reorder,
    "duplicated whole": _duplicate_reply,
    "reordered whole": _reorder_replies,
}


class Relay:
    """Passes bytes between a port of its own and Redis; the next replies that come are changed, once."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.writes = 0
        self.struck = 0
        self._armed: tuple[Change, int] | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    def arm(self, change: Change, at: int) -> None:
        """Let *change* happen at a byte of what Redis says next."""
        self._armed = (change, at)

    def disarm(self) -> None:
        """Let everything pass."""
        self._armed = None

    def say(self, octets: bytes) -> None:
        """Say something that Redis has not said, on every connection."""
        for writer in self._clients:
            writer.write(octets)

    @asynccontextmanager
    async def before(self, server: RedisServer) -> AsyncIterator["Relay"]:
        """Serve in front of *server*."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            self._clients.add(writer)
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", server.port)
            pumping = asyncio.create_task(self._pass_replies(redis_reader, writer))
            with suppress(OSError):
                while octets := await reader.read(1 << 20):
                    self.writes += 1
                    redis_writer.write(octets)
            pumping.cancel()
            self._clients.discard(writer)
            redis_writer.close()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            yield self
            await asyncio.sleep(0.01)

    async def _pass_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while octets := await reader.read(1 << 20):
                if self._armed is None:
                    writer.write(octets)
                    continue
                change, at = self._armed
                if at > len(octets):  # the replies to one write may come in several pieces
                    self._armed = change, at - len(octets)
                    writer.write(octets)
                    continue
                self._armed = None
                self.struck += 1
                for part in change(octets, at):
                    if part is None:
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                        return writer.close()
                    if isinstance(part, float):
                        await asyncio.sleep(part)
                    else:
                        writer.write(part)
                if change is silence:
                    while await reader.read(1 << 20):
                        pass


def reply_bytes(callers: int, *, is_echoed: bool) -> int:
    """Give how many bytes the replies to a round have, without the mark behind them."""
    echoed, bare = len(b"*2\r\n$4\r\n0000\r\n$7\r\nof-0000\r\n"), len(b"$7\r\nof-0000\r\n")
    return sum(echoed if is_echoed or number % 2 else bare for number in range(callers))


@dataclass
class Told:
    """What callers were told, and what they may not be told."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0


@dataclass
class Pulse:
    """How long this process has had no core: where others use them all, nobody can be told in time."""

    stood_still_seconds: float = 0.0

    async def beat(self) -> None:
        """Measure it until cancelled."""
        while True:
            begun = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            self.stood_still_seconds += time.monotonic() - begun - BEAT_SECONDS


async def round_of_callers(store: Store, told: Told, callers: int, *, is_echoed: bool) -> None:
    """
    Let so many ask at once, each for what is his.

    With *is_echoed* each answer is checked as the gateway does where it can be; without, half of the callers have
    answers that do not say what they are about.
    """

    async def ask(number: int) -> None:
        mine, begun = f"{number:04}", time.monotonic()
        try:
            if is_echoed or number % 2:
                echo, answer = _both(await store.run(ECHO, [store.key("a")], mine))
                store.check_echo(echo, mine)
            else:
                answer = await store.execute("GET", store.key(f"of-{mine}"))
        except StoreUnavailable as error:
            told.refused[error.cause or ""] += 1
        else:
            told.answered += 1
            # Bytes that a relay has mixed up may spoil an answer; what it may not be is somebody else's.
            others = set(re.findall(rb"of-([0-9]{4})", answer)) - {mine.encode()}
            if others if is_echoed else answer != f"of-{mine}".encode():
                told.violations.append(f"{mine} got {answer!r}")
        seconds = time.monotonic() - begun
        told.slowest_seconds = max(told.slowest_seconds, seconds)
        if seconds > CALL_DEADLINE_SECONDS + LATE_SECONDS + pulse.stood_still_seconds:
            told.violations.append(f"{mine} was told after {seconds:.2f} s")

    pulse = Pulse()
    beating = asyncio.create_task(pulse.beat())
    await asyncio.gather(*(ask(number) for number in range(callers)))
    beating.cancel()


def _both(reply: object) -> tuple[bytes, bytes]:
    match reply:
        case [bytes() as echo, bytes() as answer]:
            return echo, answer
    raise StoreUnavailable("unreadable")


async def fill(store: Store, callers: int) -> None:
    """Give every caller what is his."""
    for number in range(callers):
        await store.execute("SET", store.key(f"of-{number:04}"), f"of-{number:04}")
