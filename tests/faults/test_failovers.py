"""Another server takes over, with or without what was written last (F8, F9, F10)."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import MakeFault, MakeScene
from tests.faults.entries import Entry
from tests.faults.pairs import Pair
from tests.faults.scenes import Scene, Size
from tests.harness import wait_until
from tests.topologies import RedisCluster, SentinelTrio

DOWN_AFTER_MILLISECONDS = 1000
NODE_TIMEOUT_MILLISECONDS = 1000
FAILOVER_SECONDS = 20.0
FOLLOWED_WITHIN_SECONDS = 0.2  # of the moment in which the Sentinels name the new master
REPLICA_KNOWN_SECONDS = 6.0  # a gateway asks every 5 s whether there is a replica to wait for


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[SentinelTrio]:
    """Give a master, two replicas and three Sentinels."""
    trio = SentinelTrio(tmp_path / "trio", DOWN_AFTER_MILLISECONDS)
    try:
        yield trio.start()
    finally:
        trio.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Give a cluster of three masters, each with a replica."""
    cluster = RedisCluster(tmp_path / "cluster", 3, 1, NODE_TIMEOUT_MILLISECONDS)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def settle(servers: SentinelTrio | RedisCluster, scene: Scene, size: Size) -> None:
    """Wait until all is as it was before the next fault."""
    wait_until(servers.is_whole, 60, "the old master to follow the new one")
    scene.restock(10)
    time.sleep(size.settle_seconds)


def test_sentinel_makes_a_replica_the_master(
    trio: SentinelTrio, make_scene: MakeScene, make_fault: MakeFault, size: Size
) -> None:
    """F8: the master is killed, or only stops; what it had answered last may be lost, but nobody's session."""
    scene = make_scene(trio.url)
    limit = DOWN_AFTER_MILLISECONDS / 1000 + 1.5
    title = "Sentinel: the master is killed, or stalls (SIGSTOP), and a replica takes over"
    named: list[float] = []
    with make_fault(
        scene, "F8", title, limit_seconds=limit, from_mend=False, newcomer=size.is_long, redis_is_away=True
    ) as fault:
        for number in range(size.of(1, 6)):
            master = trio.master()
            with fault.strike() as strike:
                if number % 2 == 0:
                    master.kill()
                else:
                    master.signal(signal.SIGSTOP)
                named.append(
                    wait_until(lambda old=master: trio.master() is not old, FAILOVER_SECONDS, "a new master")  # type: ignore[misc]
                )
                strike.excused_seconds = max(0.0, named[-1] + FOLLOWED_WITHIN_SECONDS - limit)
                fault.notes["named by the Sentinels after"] = ", ".join(f"{seconds:.2f}" for seconds in named) + " s"
            if number + 1 < size.of(1, 6):
                if number % 2 == 0:
                    master.start()
                else:
                    master.signal(signal.SIGCONT)
                settle(trio, scene, size)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Give a master with one replica, behind an address that moves."""
    pair = Pair(tmp_path / "pair")
    yield pair
    pair.stop()


def test_the_master_is_lost_after_its_replica_heard_nothing_for_seconds(
    pair: Pair, make_scene: MakeScene, make_fault: MakeFault, size: Size
) -> None:
    """F9: what no replica had confirmed was not answered as done; lost rotations cost nobody the session."""
    scene = make_scene(pair.front.url)
    seconds = size.of(1, 5)
    title = f"The replica hears nothing for {seconds} s, then the master is killed and the replica takes over"
    with make_fault(scene, "F9", title, newcomer=True, redis_is_away=True) as fault:
        gaps: list[tuple[float, float]] = []

        def confirm_nothing(entry: Entry) -> str:
            in_gap = any(begun < entry.begun and entry.ended < ended for begun, ended in gaps)
            return (
                "answered, though no replica had it"
                if in_gap and entry.what == "logout" and entry.status == 204
                else ""
            )

        fault.rule = confirm_nothing
        for number in range(size.of(1, 6)):
            with fault.strike():
                pair.link.is_hole = True
                begun = time.monotonic() + 0.1
                time.sleep(seconds)
                gaps.append((begun, time.monotonic()))
                pair.master.kill()
                time.sleep(random.uniform(0.1, 0.5))
                pair.promote()
            if number + 1 < size.of(1, 6):
                pair.renew()
                time.sleep(REPLICA_KNOWN_SECONDS)
                scene.restock(15)
        fault.notes["logouts told to come again"] = str(
            sum(entry.what == "logout" and entry.status == 503 for entry in scene.reader.peek())
        )


def test_slots_of_a_cluster_move_under_load(
    cluster: RedisCluster, make_scene: MakeScene, make_fault: MakeFault, size: Size
) -> None:
    """F10: nobody hears of MOVED, ASK, TRYAGAIN or CROSSSLOT; then masters are killed."""
    scene = make_scene(cluster.url)
    with make_fault(scene, "F10 reshard", "Cluster: slots that are in use move to other nodes") as fault:
        fault.injected = 0
        with fault.strike():
            ends = time.monotonic() + size.of(1, 60)
            while time.monotonic() < ends:
                user = random.choice(scene.users)
                slot = cluster.slot_of(f"{scene.prefix}families:{{{user.user_id}}}")
                owner = cluster.owner_of(slot)
                target = random.choice([node for node in cluster.masters() if node is not owner])
                cluster.move_slot(slot, owner, target, pause_seconds=random.choice((0.0, 0.05, 0.2)))
                fault.injected += 1
    limit = NODE_TIMEOUT_MILLISECONDS / 1000 + 2
    title = "Cluster: a master is killed, and its replica takes over"
    with make_fault(
        scene, "F10 failover", title, limit_seconds=limit, from_mend=False, newcomer=size.is_long, redis_is_away=True
    ) as fault:
        for number in range(size.of(1, 6)):
            slot = cluster.slot_of(f"{scene.prefix}families:{{{random.choice(scene.users).user_id}}}")
            master = cluster.owner_of(slot)
            with fault.strike():
                master.kill()
                wait_until(lambda: len(cluster.masters()) == 3, FAILOVER_SECONDS, "a new master")
            if number + 1 < size.of(1, 6):
                master.start()
                settle(cluster, scene, size)
