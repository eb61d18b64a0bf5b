"""What a gateway process holds: read in /proc."""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gateway.app import MAX_REMEMBERED_TOKENS
from tests.harness import GatewayProcess

MOST_OTHER_FILES = 4
MOST_REDIS_CONNECTIONS = 80
# Beside the tokens that a gateway has verified and remembers, at about 2 KiB each.
MOST_GROWTH_KIB = 24 * 1024 + 2 * MAX_REMEMBERED_TOKENS


@dataclass(frozen=True)
class Resources:
    """
    What a process holds.

    Attributes:
        clients: Connections of its clients, and what it listens on.
        others: Other connections: all of them to Redis.
        dead: Sockets that are no connections, or not any more.
        files: All other open files.
    """

    clients: int
    others: int
    dead: int
    files: int
    resident_kib: int

    @classmethod
    def of(cls, gateway: GatewayProcess) -> "Resources":
        """Read it in /proc."""
        assert gateway.process is not None
        process = Path(f"/proc/{gateway.process.pid}")
        ports = {}
        for line in (process / "net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            ports[fields[9]] = int(fields[1].partition(":")[2], 16)
        unix = {line.split()[6] for line in (process / "net/unix").read_text().splitlines()[1:]}
        found: Counter[str] = Counter()
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(descriptor)
                inode = target.removeprefix("socket:[").removesuffix("]")
                if inode in ports:
                    found["clients" if ports[inode] == gateway.port else "others"] += 1
                else:
                    is_dead = target.startswith("socket:") and inode not in unix
                    found["dead" if is_dead else "files"] += 1
        resident = int((process / "status").read_text().partition("VmRSS:")[2].split()[0])
        return cls(found["clients"], found["others"], found["dead"], found["files"], resident)

    def __str__(self) -> str:
        """Tell it in words."""
        return (
            f"{self.files} files, {self.dead} dead sockets, {self.others} connections to Redis, "
            f"{self.clients} of clients, {self.resident_kib / 1024:.0f} MiB"
        )

    def excess_over(self, base: "Resources") -> list[str]:
        """Tell what there is too much of."""
        bounds = {
            # Connections of the pool that nobody has needed since their Redis died stay open until somebody does.
            "connections to Redis": self.others + self.dead > max(base.others, MOST_REDIS_CONNECTIONS),
            "open files": self.files > base.files + MOST_OTHER_FILES,
            "memory": self.resident_kib > base.resident_kib + MOST_GROWTH_KIB,
        }
        return [f"{name}: {base} became {self}" for name, is_over in bounds.items() if is_over]
