"""What confirms a write: a replica, else the disk, else nobody; by what each server tells of itself."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

REPLICA_TIMEOUT_MILLISECONDS = 500
DISK_TIMEOUT_MILLISECONDS = 1300
SERVER_FACTS_SECONDS = 5.0
WAITAOF_SINCE = (7, 2)

Command = Sequence[str | int | bytes]


def version_of(facts: dict[str, Any]) -> tuple[int, ...]:
    """Give major and minor version of the Redis that INFO tells of; a Valkey says which Redis it is like."""
    return tuple(int(part) for part in str(facts.get("redis_version", "0.0")).split(".")[:2])


class Unconfirmed(RedisError):
    """A write was done, but neither a replica nor the disk has confirmed it in time."""

    def __init__(self) -> None:
        super().__init__("UNCONFIRMED a write was not confirmed in time by a replica or the disk")


class Confirmations:
    """What each server can be asked for that waits until a write is safe, as it was some seconds ago at most."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[str, tuple[Command, float]] = {}

    @property
    def are_of_the_disk(self) -> bool:
        """Tell whether the disk confirms, which takes up to a second with appendfsync everysec."""
        return any(command[:1] == ("WAITAOF",) for command, _ in self._known.values())

    def is_known(self, server: str) -> bool:
        """Tell whether the facts of a server need not be asked for."""
        return server in self._known and self._monotonic() < self._known[server][1]

    def learn(self, server: str, facts: dict[str, Any]) -> None:
        """Take what INFO tells: a replica confirms, else the disk, else nobody can."""
        command: Command = ()
        # A replica that is still loading what was before confirms nothing.
        if any(re.fullmatch(r"slave[0-9]+", name) and fact["state"] == "online" for name, fact in facts.items()):
            command = ("WAIT", 1, REPLICA_TIMEOUT_MILLISECONDS)
        elif facts.get("aof_enabled") and version_of(facts) >= WAITAOF_SINCE:
            command = ("WAITAOF", 1, 0, DISK_TIMEOUT_MILLISECONDS)
        self._known[server] = command, self._monotonic() + SERVER_FACTS_SECONDS

    def commands(self, server: str) -> list[Command]:
        """Give what is to be sent right after a write, over the same connection: one command, or none."""
        command = self._known[server][0]
        return [command] if command else []

    def forget(self) -> None:
        """Ask for the facts again with the next write: they may have changed."""
        self._known.clear()
