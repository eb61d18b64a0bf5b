"""How many cores this process may use: those it is bound to, and what its control groups let it have of them."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")


def usable_cores(process: Path = PROCESS, bound_to: int | None = None) -> int:
    """
    Give the number of threads that can be busy all the time without being held back, 1 at least.

    A CPU quota (cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us`) counts whole cores: of 1.5 a second thread would use up
    the quota of all, and the threads that answer requests would stand still with it. The quotas of all groups above
    ours count too. What cannot be read is no bound.

    Args:
        process: What Linux tells about a process, with `cgroup` and `mountinfo`.
        bound_to: To how many cores the process is bound; None for this one's.
    """
    if bound_to is None:
        # Not on every system is a process bound to cores.
        bound_to = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound_to, *(int(quota) for quota in _quotas(process))]))


def _quotas(process: Path) -> Iterator[float]:
    """Give the quota of each group that has one, in cores."""
    groups = {}
    for line in _read(process / "cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), group))
    for line in _read(process / "mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        root, mounted_at = mount.split(" ")[3:5]
        kind, _, options = filesystem.split(" ", 2)
        if kind == "cgroup2":
            controller = ""
        elif kind == "cgroup" and "cpu" in options.split(","):
            controller = "cpu"
        else:
            continue
        if controller in groups:
            for folder in _folders(Path(mounted_at), root, groups[controller]):
                yield from _quota_of(folder)


def _folders(mounted_at: Path, root: str, group: str) -> Iterator[Path]:
    """Give the folder of a group and of all above it that can be seen; in a container its own group is the root."""
    below = PurePosixPath(group)
    below = below.relative_to(root) if below.is_relative_to(root) else PurePosixPath(group.lstrip("/"))
    if ".." in below.parts:
        below = PurePosixPath()
    folder = mounted_at / below
    yield folder
    while folder != mounted_at:
        folder = folder.parent
        yield folder


def _quota_of(folder: Path) -> Iterator[float]:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
