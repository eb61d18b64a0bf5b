"""No process that holds the secret leaves a core dump."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import GatewayProcess, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of limits, on Linux alone")


def family_of(pid: int) -> list[int]:
    """Give a process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
    for thread in threads:
        children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return [pid] + [one for child in set(children) for one in family_of(int(child))]


def core_limits(pid: int) -> list[str]:
    """Give the soft and the hard limit of core dumps."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max core file size")).split()[4:6]


def test_neither_gateway_nor_workers_nor_the_private_redis_leave_one(
    make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    gateway = make_gateway(redis_url=None, secret=None, redis_key_prefix=None, data_dir=tmp_path / "data", workers=2)
    assert gateway.process is not None
    wait_until(lambda: len(family_of(gateway.process.pid)) >= 4)  # type: ignore[union-attr]
    for pid in family_of(gateway.process.pid):
        assert core_limits(pid) == ["0", "0"], Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_memory_of_a_command_is_for_nobody_to_look_into() -> None:
    """PR_GET_DUMPABLE (3) says 0: no handler of the kernel gets it either."""
    code = (
        "import ctypes; from gateway.cli.core_dumps import forbid_core_dumps as f; p = ctypes.CDLL(None).prctl;"
        "before = p(3); f(); print(before, p(3))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1", "0"]
