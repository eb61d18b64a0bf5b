"""Processes under load: their CPU and memory, the cores that they are bound to, and what others use meanwhile."""

import contextlib
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
BEGUN = time.monotonic()


def cpu_seconds(pid: int) -> float:
    """Give what a process and its living children have used of CPUs so far, user and system."""
    used, fields = 0.0, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        used += sum(cpu_seconds(int(child)) for child in children.read_text().split())
    return used


def waits(pid: int) -> int:
    """Give how often the threads of a process and of its living children have gone to sleep so far."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        count += int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        count += sum(waits(int(child)) for child in (task / "children").read_text().split())
    return count


def _used_by_all() -> float:
    """Give what all CPUs have done so far, in seconds; with what the host took away."""
    user, nice, system, _, _, irq, softirq, steal = (int(n) for n in Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def _used_by_us() -> float:
    """Give what this process and all those that it has started, and that have ended, have used of CPUs."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


USED_BEFORE = _used_by_all() - _used_by_us()


def others_share() -> float:
    """Give how much of the machine others have used since this process began, once all servers have ended."""
    others = _used_by_all() - _used_by_us() - USED_BEFORE
    return max(0.0, others / (time.monotonic() - BEGUN) / (os.cpu_count() or 1))


def resident_kib(pid: int) -> int:
    """Give the memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def server_cores() -> set[int]:
    """Give the core of the server under test; the load has another one, if there is another one."""
    return {min(os.sched_getaffinity(0))}


def load_cores() -> set[int]:
    """Give the cores for the load and for what stands beside the server."""
    cores = os.sched_getaffinity(0)
    return cores - server_cores() if len(cores) > 1 else cores


@contextlib.contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Bind to these cores what is started meanwhile, and this thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def need(program: str, package: str) -> str:
    """Give the path of a program, or end with the way to get it."""
    path = shutil.which(program) or shutil.which(program, path=SBIN)
    if path is None:
        sys.exit(f"{program} is missing: sudo apt-get install {package} (other systems: their package of that name)")
    return path
