"""
Admission: how many connections may be open, how many of these one address may hold, and for how long each may take.

The caps follow the limit of open files, so that they are reached before the files run out and nobody is reset without a
word. One address (an IPv6 /64) holds half at most; `trusted_proxies` are not bounded, for they are everybody. A
connection whose request head is not complete is half open; the oldest of these give way when there are too many. An
idle one gives way to a new one when all are taken.
"""

import logging
import resource
import time
from asyncio import AbstractEventLoop, Transport
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

MAX_OPEN = 20_000
MAX_HALF_OPEN = 4096
RESERVED_FILES = 128
FEWEST_OPEN = 16
HEAD_DEADLINE_SECONDS = 5.0
BODY_DEADLINE_SECONDS = 10.0
SENDING_DEADLINE_SECONDS = 10.0
LINGER_SECONDS = 2.0
SWEEP_SECONDS = 0.5
REPORT_SECONDS = 60.0

logger = logging.getLogger("gateway.connections")


class Caps(NamedTuple):
    """How many connections one process takes: open, half open, and open ones of one address."""

    open: int
    half_open: int
    open_of_one: int

    @classmethod
    def for_files(cls, open_files: int) -> "Caps":
        """Give the caps of a process that may have so many files open; some are for Redis, the log and the like."""
        most = max(min(FEWEST_OPEN, open_files // 2), min(MAX_OPEN, open_files - RESERVED_FILES))
        return cls(open=most, half_open=max(1, min(MAX_HALF_OPEN, most // 2)), open_of_one=max(1, most // 2))


class Connection(Protocol):
    """What is known of a connection here."""

    transport: Transport
    address_key: str
    """Whom limits count it for; empty for who is not bounded."""


def file_limits() -> tuple[int, int]:
    """Give the soft and the hard limit of open files; one that is not there counts as enough for all."""
    enough = MAX_OPEN + RESERVED_FILES
    soft, hard = (enough if limit == resource.RLIM_INFINITY else limit for limit in _limits())
    return soft, hard


def raise_file_limit() -> int:
    """Raise the soft limit of open files to what `MAX_OPEN` connections need, or to the hard one; give what it is."""
    soft, hard = file_limits()
    wanted = min(hard, MAX_OPEN + RESERVED_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, _limits()[1]))
    return max(soft, wanted)


def doubtful_file_limit() -> Iterator[str]:
    """Give a warning where even the hard limit of open files allows less than half of `MAX_OPEN` connections."""
    _, hard = file_limits()
    caps = Caps.for_files(hard)
    if caps.open < MAX_OPEN // 2:
        yield (
            f"open files are limited to {hard}, so that a process takes {caps.open} connections at most, "
            f"{caps.open_of_one} of one address: allow {MAX_OPEN + RESERVED_FILES} (ulimit -Hn, LimitNOFILE=, "
            "--ulimit nofile=)"
        )


class Admission:
    """
    The connections of one process by what they are waiting for, each with a deadline.

    Each collection is in the order in which the waiting began. Times are those of `time.monotonic`.

    Args:
        idle_seconds: For how long a connection may have nothing to say between two requests.
    """

    def __init__(self, loop: AbstractEventLoop, caps: Caps, idle_seconds: float) -> None:
        self.caps = caps
        self.half_open: dict[Connection, float] = {}
        self.receiving: dict[Connection, float] = {}
        self.idle: dict[Connection, float] = {}
        self.sending: dict[Connection, float] = {}
        self.lingering: dict[Connection, float] = {}
        self._loop = loop
        self._idle_seconds = idle_seconds
        self._open_of: Counter[str] = Counter()
        self._half_open_of: dict[str, dict[Connection, None]] = {}
        self._happened: Counter[str] = Counter()
        self._busiest = ""
        self._reported_at = time.monotonic() - REPORT_SECONDS
        loop.call_later(SWEEP_SECONDS, self._sweep)

    def admit(self, connection: Connection, open_connections: int) -> bool:
        """
        Count a new connection as open and half open, or tell that there is no room for it.

        Args:
            open_connections: How many there are, this one included.
        """
        key = connection.address_key
        if key:
            self._open_of[key] += 1
        if self._open_of[key] > self.caps.open_of_one:
            self._busiest = key
            self._happened["refused_of_one_address"] += 1
            return False
        if open_connections > self.caps.open and not self._make_room():
            self._happened["refused_all_taken"] += 1
            return False
        self.wait_for_head(connection)
        return True

    def wait_for_head(self, connection: Connection) -> None:
        """Count a connection as half open; where there are too many, the oldest of its own address, or of all, ends."""
        if connection in self.half_open:
            return
        self.half_open[connection] = time.monotonic()
        own: dict[Connection, None] = {}
        if connection.address_key:
            own = self._half_open_of.setdefault(connection.address_key, own)
            own[connection] = None
        if len(self.half_open) > self.caps.half_open:
            given_way = next(iter(own if len(own) > self.caps.half_open // 2 else self.half_open))
            self.head_arrived(given_way)
            self._happened["half_open_gave_way"] += 1
            given_way.transport.close()

    def head_arrived(self, connection: Connection) -> None:
        """Count a connection as half open no longer."""
        if self.half_open.pop(connection, None) is None:
            return
        own = self._half_open_of.get(connection.address_key)
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self._half_open_of[connection.address_key]

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self.head_arrived(connection)
        for waiting in (self.receiving, self.idle, self.sending, self.lingering):
            waiting.pop(connection, None)
        key = connection.address_key
        if key:
            self._open_of[key] -= 1
            if not self._open_of[key]:
                del self._open_of[key]

    def _make_room(self) -> bool:
        """Close the connection that has been idle the longest; not a proxy's, which may be about to use it."""
        for connection in self.idle:
            if connection.address_key:
                self._happened["idle_gave_way"] += 1
                del self.idle[connection]
                connection.transport.close()
                return True
        return False

    def _sweep(self) -> None:
        """End what has taken too long, and tell once a minute who was turned away."""
        now = time.monotonic()
        for connection in _late(self.half_open, now - HEAD_DEADLINE_SECONDS):
            self.head_arrived(connection)
            connection.transport.close()
        for waiting, since in (
            (self.receiving, now - BODY_DEADLINE_SECONDS),
            (self.idle, now - self._idle_seconds),
            (self.lingering, now - LINGER_SECONDS),
        ):
            for connection in _late(waiting, since):
                del waiting[connection]
                connection.transport.close()
        for connection in _late(self.sending, now - SENDING_DEADLINE_SECONDS):
            del self.sending[connection]
            self._happened["did_not_read"] += 1
            connection.transport.abort()
        if self._happened and now - self._reported_at >= REPORT_SECONDS:
            self._report()
            self._reported_at = now
        self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _report(self) -> None:
        fields: dict[str, object] = {**self._happened, "open_at_most": self.caps.open}
        if self._busiest:
            fields |= {"address": self._busiest, "open_of_one_address_at_most": self.caps.open_of_one}
        logger.warning("connections were turned away or ended", extra={"fields": fields})
        self._happened.clear()
        self._busiest = ""


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _late(waiting: dict[Connection, float], since: float) -> list[Connection]:
    late = []
    for connection, begun in waiting.items():
        if begun > since:
            break
        late.append(connection)
    return late
