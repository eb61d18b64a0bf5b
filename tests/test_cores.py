"""How many cores a process may use, from what Linux tells about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cores import usable_cores

MANY = 64


class Linux:
    """A tree of control groups, and what a process in one of them reads about itself."""

    def __init__(self, folder: Path) -> None:
        self.process, self.groups = folder / "proc", folder / "cgroup"
        for made in (self.process, self.groups):
            made.mkdir()

    def put(self, group: str, **files: str) -> None:
        """Make a group with files, whose names have a point where the keyword has two underscores."""
        (self.groups / group).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.groups / group / name.replace("__", ".")).write_text(text + "\n")

    def cores(self, cgroup: str, kind: str, options: str = "rw", root: str = "/", bound_to: int = MANY) -> int:
        (self.process / "cgroup").write_text(cgroup + "\n")
        other = "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n"
        line = f"30 23 0:26 {root} {self.groups} rw,nosuid shared:9 - {kind} {kind} {options}\n"
        (self.process / "mountinfo").write_text(other + line)
        return usable_cores(self.process, bound_to)


@pytest.fixture
def linux(tmp_path: Path) -> Linux:
    return Linux(tmp_path)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("50000 10000", 5),
        ("max 100000", MANY),
        ("", MANY),
        ("nonsense", MANY),
        ("1 0", MANY),
    ],
)
def test_a_quota_counts_in_whole_cores_and_one_at_least(quota: str, cores: int, linux: Linux) -> None:
    linux.put("", cpu__max=quota)
    assert linux.cores("0::/", "cgroup2") == cores


def test_the_smallest_quota_of_all_groups_above_counts(linux: Linux) -> None:
    linux.put("system.slice", cpu__max="300000 100000")
    linux.put("system.slice/gateway.service", cpu__max="400000 100000")
    assert linux.cores("0::/system.slice/gateway.service", "cgroup2") == 3
    assert linux.cores("0::/other.slice", "cgroup2") == MANY


@pytest.mark.parametrize("options", ["rw,cpu", "rw,cpu,cpuacct", "rw,cpuacct,cpu"])
def test_quotas_of_the_first_version_count_too(options: str, linux: Linux) -> None:
    linux.put("docker/ab12", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    controllers = options.removeprefix("rw,")
    assert linux.cores(f"4:memory:/\n3:{controllers}:/docker/ab12\n0::/", "cgroup", options) == 2
    linux.put("docker/ab12", cpu__cfs_quota_us="-1")
    assert linux.cores(f"3:{controllers}:/docker/ab12", "cgroup", options) == MANY


def test_a_container_that_sees_its_group_as_the_root_has_its_quota(linux: Linux) -> None:
    linux.put("", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000", cpu__max="200000 100000")
    assert linux.cores("3:cpu:/docker/ab12", "cgroup", "rw,cpu", root="/docker/ab12") == 2
    assert linux.cores("0::/../other", "cgroup2", root="/../..") == 2


def test_a_process_has_no_more_cores_than_it_is_bound_to(linux: Linux) -> None:
    linux.put("", cpu__max="800000 100000")
    assert linux.cores("0::/", "cgroup2", bound_to=3) == 3


def test_where_nothing_can_be_read_there_is_no_bound_but_the_cores(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "nowhere", 5) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds processes to cores here")
def test_binding_a_process_to_one_core_leaves_it_one() -> None:
    code = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    code += "from gateway.cores import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
