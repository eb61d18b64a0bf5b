"""Redis is killed, stalls, loses its last writes, or has no room on its disk (F1, F2, F4, F18); or nothing is wrong."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import MakeFault, MakeScene
from tests.faults.entries import Order
from tests.faults.scenes import Scene, Size
from tests.harness import RedisServer


def test_nothing_is_broken(scene: Scene, make_fault: MakeFault, size: Size) -> None:
    """The control: the ratios of this row are what chance does to them."""
    with make_fault(scene, "none", "Nothing is broken: these ratios are chance") as fault:
        for _ in range(size.of(1, 6)):
            with fault.strike():
                time.sleep(size.of(1, 25) / 10)


def test_redis_is_killed_and_started_again(
    scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size
) -> None:
    """F1: nothing that was answered is lost, and after its return everything works at once."""
    title = "Redis is killed (SIGKILL) and started again on its append-only file, `always`"
    with make_fault(scene, "F1", title, newcomer=size.is_long, redis_is_away=True) as fault:
        for _ in range(size.of(2, 25)):
            with fault.strike():
                server.kill()
                time.sleep(random.uniform(0.05, 1.0))
                server.start()


def test_a_power_loss_takes_the_last_writes(
    scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size
) -> None:
    """F2: whose rotations are lost goes on with his newest token; what was revoked before the gap stays so."""
    title = "Redis is killed, and its append-only file loses the last 1 to 2 s of writes at a random byte"
    lost_bytes = []
    with make_fault(scene, "F2", title, newcomer=True, stock=10, redis_is_away=True) as fault:
        for number in range(size.of(1, 10)):
            scene.order(Order("drain"))  # the gap is about rotations: no revocation falls into it
            file = max((server.directory / "appendonlydir").glob("*.incr.aof"))
            safe = file.stat().st_size
            time.sleep(random.uniform(1.0, 2.0) if size.is_long else 0.7)
            with fault.strike():
                server.kill()
                lost_bytes.append(file.stat().st_size - random.randint(safe, file.stat().st_size))
                os.truncate(file, file.stat().st_size - lost_bytes[-1])
                server.start()
            if number + 1 < size.of(1, 10):
                scene.restock(5)
        fault.notes["bytes lost"] = str(sum(lost_bytes))
        healed = [line for gateway in scene.gateways for line in gateway.log_lines() if line.get("cause") == "healed"]
        fault.notes["rotations healed"] = str(len(healed))


def test_redis_stalls(scene: Scene, server: RedisServer, make_fault: MakeFault, size: Size) -> None:
    """F4: who needs Redis is told so in time, and is served half a second after it goes on."""
    seconds = size.of(1, 5)
    with make_fault(
        scene, "F4", f"Redis stalls (SIGSTOP) for {seconds} s", limit_seconds=0.5, redis_is_away=True
    ) as fault:
        for _ in range(size.of(1, 6)):
            with fault.strike():
                server.signal(signal.SIGSTOP)
                time.sleep(seconds)
                server.signal(signal.SIGCONT)


@pytest.fixture
def small_disk(tmp_path: Path, size: Size) -> Iterator[Path]:
    """Give a file system of a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size.of(3, 24)}m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_the_disk_is_full(small_disk: Path, make_scene: MakeScene, make_fault: MakeFault, size: Size) -> None:
    """F18: what has to be written is refused for the time being, and works 2 s after there is room again."""
    server = RedisServer(small_disk / "redis", "--appendfsync", "everysec").start()
    try:
        scene = make_scene(server.url)
        title = "The disk of the append-only file is full, `everysec`"
        with make_fault(scene, "F18", title, limit_seconds=2.0, redis_is_away=True) as fault:
            for _ in range(size.of(1, 5)):
                with fault.strike():
                    filler = small_disk / "filler"
                    fill(filler)
                    time.sleep(size.of(1, 5))
                    filler.unlink()
    finally:
        server.stop()


def fill(filler: Path) -> None:
    """Leave no room on the disk of a file."""
    descriptor = os.open(filler, os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)
