"""What runs on this machine for a gateway: its workers, and its private Redis. Linux: all of it is read in /proc."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def children(pid: int) -> list[int]:
    """Give the processes that *pid* has started itself, those that have ended excepted."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(process.name))
    return sorted(found)


def workers(pid: int) -> list[int]:
    """Give the serving processes of the gateway *pid*."""
    return [child for child in children(pid) if "spawn_main" in command_line(child)]


def command_line(pid: int) -> str:
    """Give the words of a process; none when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def threads(pid: int) -> int:
    """Count the threads of a process."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def waited_for_a_core_seconds(pid: int) -> float:
    """Give how long the main thread of a process could have run, but others did."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def private_redis(data_dir: Path) -> list[int]:
    """Give the servers that keep the private Redis of *data_dir*: one, or none."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(process / "cwd") == str(data_dir / "redis"):
                pids.append(int(process.name))
    return pids


def kill(pid: int) -> None:
    """End a process as a crash would; it may have ended already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
