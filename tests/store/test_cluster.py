"""The door to a Redis Cluster: confirmed writes, slots that move, scripts that are gone, and nodes that die."""

import asyncio
import hashlib
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.breaker import SUSPICIOUS_FAILURES
from gateway.store.store import CALL_DEADLINE_SECONDS, DURABLE_DEADLINE_SECONDS, Script, Store
from tests.conftest import OpenStore
from tests.harness import RedisServer, wait_until
from tests.topologies import RedisCluster

pytestmark = pytest.mark.redis

NODE_TIMEOUT_MILLISECONDS = 1000
TOLD_WITHIN_SECONDS = CALL_DEADLINE_SECONDS + 0.1
CONFIRMED_WITHIN_SECONDS = 10.0
FOLLOWED_WITHIN_SECONDS = 1.0  # a probe that hangs with the old master takes 0.3 s, and a node may not know yet
CONNECTIONS_OPENED_MEANWHILE = 20  # a line that is slow for a moment, on a busy machine, gets another one
KEYS = [f"gw:{{{number}}}" for number in range(30)]


def script(text: str) -> Script:
    return Script("of_the_test", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


COUNT = script("return redis.call('INCR', KEYS[1])")


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Give three masters with a replica each."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"), 3, 1, NODE_TIMEOUT_MILLISECONDS)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    """Give the cluster of this file, whole and empty."""
    wait_until(shared_cluster.is_whole, 30, "a whole cluster")
    shared_cluster.flush()
    return shared_cluster


async def confirmed(store: Store, key: str) -> None:
    """Write once more until it is confirmed: a replica that has just come back may take longer than a write waits."""
    begun = time.monotonic()
    while True:
        try:
            await store.run(COUNT, [key], durable=True)
        except StoreUnavailable:
            assert time.monotonic() - begun < CONFIRMED_WITHIN_SECONDS
            await asyncio.sleep(0.02)
        else:
            return


def replica_of(cluster: RedisCluster, master: RedisServer) -> RedisServer:
    """Give the replica of a master, as soon as the master knows it."""
    found: list[RedisServer] = []

    def is_known() -> bool:
        lines = master.command("CLUSTER", "REPLICAS", cluster.id_of(master)).decode()
        found.extend(node for node in cluster.nodes if f":{node.port}@" in lines)
        return bool(found)

    wait_until(is_known, 10, "a replica")
    return found[0]


def owners(cluster: RedisCluster) -> dict[str, RedisServer]:
    """Give the master of each key."""
    return {key: cluster.owner_of(cluster.slot_of(key)) for key in KEYS}


async def seconds_until_told(store: Store, key: str, *, durable: bool) -> float:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.run(COUNT, [key], durable=durable)
    return time.monotonic() - begun


def begin_to_move(cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    """From now on ASK answers for what is not at the source."""
    source_id, target_id = cluster.id_of(source), cluster.id_of(target)
    assert target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source_id) == b"+OK\r\n"
    assert source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target_id) == b"+OK\r\n"


def end_moving(cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    """From now on MOVED answers at the source."""
    others = [node for node in cluster.masters() if node not in (source, target)]
    for node in (target, source, *others):
        assert node.command("CLUSTER", "SETSLOT", str(slot), "NODE", cluster.id_of(target)) == b"+OK\r\n"


async def test_a_durable_write_is_on_the_replica_of_its_node_when_it_is_answered(
    cluster: RedisCluster, open_store: OpenStore
) -> None:
    store, masters = open_store(cluster.url), owners(cluster)
    replicas = {master.port: replica_of(cluster, master) for master in cluster.masters()}
    confirmed = Counter[int]()
    for key in KEYS:
        for number in range(10):
            assert await store.run(COUNT, [key], durable=True) == number + 1
            replica = replicas[masters[key].port]
            answer = key_of_replica(replica, key)
            assert answer == str(number + 1).encode()
            confirmed[masters[key].port] += 1
    print(f"durable writes found on the replica at once, by master: {sorted(confirmed.values())}")
    assert len(confirmed) == 3


def key_of_replica(replica: RedisServer, key: str) -> bytes:
    """Read from a replica what it has."""
    import redis

    with redis.Redis(port=replica.port) as connection:
        connection.execute_command("READONLY")
        value: bytes = connection.get(key)
        return value


async def test_a_replica_that_is_silent_is_told_to_the_writes_of_its_own_master_alone(
    cluster: RedisCluster, open_store: OpenStore
) -> None:
    store, masters = open_store(cluster.url), owners(cluster)
    for key in KEYS:
        await store.run(COUNT, [key], durable=True)
    master = masters[KEYS[0]]
    replica = replica_of(cluster, master)
    replica.signal(signal.SIGSTOP)
    unconfirmed = confirmed = 0
    for key in KEYS[:12]:
        if masters[key] is master:
            assert await seconds_until_told(store, key, durable=True) < DURABLE_DEADLINE_SECONDS + 0.1
            unconfirmed += 1
            assert await store.run(COUNT, [key]) == 3
        else:
            await store.run(COUNT, [key], durable=True)
            confirmed += 1
    replica.signal(signal.SIGCONT)
    print(f"{unconfirmed} writes without a confirmation, {confirmed} with one")
    assert unconfirmed
    assert confirmed
    wait_until(cluster.is_whole, 20, "the replica")
    await store.run(COUNT, [KEYS[0]], durable=True)


async def test_a_slot_that_has_moved_is_found_by_every_kind_of_call(
    cluster: RedisCluster, open_store: OpenStore
) -> None:
    store = open_store(cluster.url)
    for durable in (False, True):
        for key in KEYS[:6]:
            await store.run(COUNT, [key], durable=durable)
    moved = 0
    for key in KEYS[:6]:
        slot = cluster.slot_of(key)
        source = cluster.owner_of(slot)
        target = next(node for node in cluster.masters() if node is not source)
        source.command("DEL", key)
        begin_to_move(cluster, slot, source, target)
        end_moving(cluster, slot, source, target)
        moved += 1
        assert await store.run(COUNT, [key], durable=moved % 2 == 0) == 1
        assert await store.run(COUNT, [key], durable=moved % 2 == 1) == 2
        assert await store.execute("GET", key) == b"2"
        assert await store.read_stream(f"gw:stream:{key[3:]}", "0-0", 1, wait=False) == []
    print(f"{moved} slots moved, no call failed")
    assert moved == 6


async def test_calls_go_on_while_slots_are_migrated(cluster: RedisCluster, open_store: OpenStore) -> None:
    """ASK and MOVED in the middle of many calls at a time; each call runs exactly once."""
    store = open_store(cluster.url)
    expected, ended = Counter[str](), False

    async def keep_counting(key: str, *, durable: bool) -> None:
        while not ended:
            assert await store.run(COUNT, [key], durable=durable) == expected[key] + 1
            expected[key] += 1

    keys = KEYS[6:18]
    counting = [asyncio.create_task(keep_counting(key, durable=n % 2 == 0)) for n, key in enumerate(keys)]
    migrations = 0
    for _ in range(2):
        for key in keys:
            slot = cluster.slot_of(key)
            source = cluster.owner_of(slot)
            target = next(node for node in cluster.masters() if node is not source)
            begin_to_move(cluster, slot, source, target)
            await asyncio.sleep(0.01)
            source.command("MIGRATE", "127.0.0.1", str(target.port), key, "0", "1000")
            await asyncio.sleep(0.03)
            end_moving(cluster, slot, source, target)
            migrations += 1
    ended = True
    await asyncio.gather(*counting)
    print(f"{migrations} migrations under {sum(expected.values())} calls, each ran once, none failed")
    assert migrations == 2 * len(keys)
    assert min(expected[key] for key in keys) > migrations
    for key in keys:
        assert await store.execute("GET", key) == str(expected[key]).encode()


async def test_scripts_that_are_flushed_everywhere_are_no_error(cluster: RedisCluster, open_store: OpenStore) -> None:
    store = open_store(cluster.url)
    runs = flushes = 0
    begun = time.monotonic()
    while time.monotonic() - begun < 1.0:
        for node in cluster.masters():
            node.command("SCRIPT", "FLUSH")
            flushes += 1
        await asyncio.gather(*(store.run(COUNT, [key], durable=runs % 2 == 0) for key in KEYS))
        runs += len(KEYS)
    print(f"{runs} runs of a script through {flushes} flushes")
    assert flushes > 10


@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_master_that_goes_takes_its_own_keys_away_until_its_replica_takes_over_and_no_others(
    cluster: RedisCluster, open_store: OpenStore, trouble: signal.Signals
) -> None:
    store, masters = open_store(cluster.url), owners(cluster)
    for node in cluster.nodes:
        node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
    for key in KEYS:
        await confirmed(store, key)
    await store.read_stream("gw:stream", "0-0", 1, wait=False)
    victim = masters[KEYS[0]]
    replica = replica_of(cluster, victim)
    witnesses = [node for node in cluster.nodes if node is not victim]
    asked_before = sum(asked_for_slots(node) for node in witnesses)
    others = [key for key in KEYS if masters[key] is not victim]
    victim.signal(trouble)
    begun, failed, calls, slowest, taken_over_at = time.monotonic(), 0, Counter[str](), 0.0, 0.0
    is_back = False
    try:
        while not is_back:
            if not taken_over_at and b"master" in replica.command("ROLE"):
                taken_over_at = time.monotonic()
            asked = time.monotonic()
            with suppress(StoreUnavailable):
                await store.run(COUNT, [KEYS[0]])
                is_back = True
            slowest = max(slowest, time.monotonic() - asked)
            failed += not is_back
            for key in others[:5]:
                asked = time.monotonic()
                await store.run(COUNT, [key])
                calls["others"] += 1
                assert time.monotonic() - asked < TOLD_WITHIN_SECONDS
            assert time.monotonic() - begun < 20
            await asyncio.sleep(0.01)
        outage, followed = time.monotonic() - begun, time.monotonic() - taken_over_at
        print(
            f"outage of one third {outage:.1f} s, {followed:.2f} s of it after its replica took over: {failed} calls "
            f"failed, the slowest after {slowest:.2f} s; {calls['others']} calls to the others, none failed"
        )
        assert failed
        assert slowest < TOLD_WITHIN_SECONDS
        assert followed < FOLLOWED_WITHIN_SECONDS
        for key in KEYS:
            if masters[key] is victim:
                await confirmed(store, key)
        asked_again = sum(asked_for_slots(node) for node in witnesses) - asked_before
        print(f"the addresses were asked for {asked_again} times meanwhile")
        # By each once, if nobody knew the replica before, and once more where the connection broke meanwhile.
        assert asked_again <= 2 * len(store._clients)
    finally:
        revive(victim)


def asked_for_slots(node: RedisServer) -> int:
    """Give how often a server was asked for CLUSTER SLOTS, whose answer takes long to read."""
    found = re.search(rb"cmdstat_cluster\|slots:calls=(\d+)", node.command("INFO", "commandstats"))
    return int(found[1]) if found else 0


def revive(node: RedisServer) -> None:
    """Let a node that was killed or stopped work again."""
    assert node.process is not None
    try:
        node.signal(signal.SIGCONT)
        node.process.wait(timeout=0.2)
        node.start()
    except subprocess.TimeoutExpired:
        return  # it lives


async def test_a_cluster_that_was_killed_and_started_again_as_a_whole_works_with_the_next_calls(
    tmp_path: Path, open_store: OpenStore
) -> None:
    """Though every connection to every node is broken."""
    cluster = RedisCluster(tmp_path / "cluster", 3, 0, NODE_TIMEOUT_MILLISECONDS)
    try:
        store = open_store(cluster.start().url)
        for durable in (False, True):
            await asyncio.gather(*(store.run(COUNT, [key], durable=durable) for key in KEYS))
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        wait_until(cluster.is_whole, 30, "a whole cluster")
        for durable in (False, True):
            for key in KEYS:
                await store.run(COUNT, [key], durable=durable)
    finally:
        cluster.stop()


async def test_the_connections_to_the_others_are_kept_while_a_master_is_away(
    cluster: RedisCluster, open_store: OpenStore
) -> None:
    """Who serves what is asked over and over meanwhile; what is known already is not learnt anew."""
    store, masters = open_store(cluster.url), owners(cluster)
    for key in KEYS:
        await confirmed(store, key)
    victim = masters[KEYS[0]]
    others = [node for node in cluster.masters() if node is not victim]
    before = [connections_received(node) for node in others]
    victim.kill()
    begun, calls, failed = time.monotonic(), 0, 0
    while time.monotonic() - begun < NODE_TIMEOUT_MILLISECONDS / 2000:
        for key in KEYS:
            if masters[key] is victim:
                with suppress(StoreUnavailable):
                    await store.run(COUNT, [key])
                    failed -= 1
                failed += 1
            else:
                await store.run(COUNT, [key])
                calls += 1
        await asyncio.sleep(0.005)
    opened = sum(connections_received(node) for node in others) - sum(before)
    print(f"{calls} calls to the others over {opened} new connections, while {failed} calls failed")
    assert failed > SUSPICIOUS_FAILURES
    revive(victim)
    assert opened < CONNECTIONS_OPENED_MEANWHILE


def connections_received(node: RedisServer) -> int:
    """Give how many connections a server has ever taken."""
    stats = node.command("INFO", "stats").decode()
    return int(stats.split("total_connections_received:")[1].split()[0])


async def test_a_cluster_without_a_node_that_answers_is_told_in_time(
    shared_cluster: RedisCluster, open_store: OpenStore
) -> None:
    """By a store that knew it, and by one that has never seen it. Last in its file: it takes a while to heal."""
    wait_until(shared_cluster.is_whole, 30, "a whole cluster")
    known, new = open_store(shared_cluster.url), open_store(shared_cluster.url)
    await known.run(COUNT, [KEYS[0]], durable=True)
    for node in shared_cluster.nodes:
        node.signal(signal.SIGSTOP)
    try:
        for store in (known, new):
            for durable in (False, True):
                limit = (DURABLE_DEADLINE_SECONDS if durable else CALL_DEADLINE_SECONDS) + 0.1
                for _ in range(4):
                    assert await seconds_until_told(store, KEYS[0], durable=durable) < limit
            with pytest.raises(StoreUnavailable):
                await store.server_facts()
            with pytest.raises(StoreUnavailable):
                await store.read_stream("gw:stream", "0-0", 1, wait=False)
    finally:
        for node in shared_cluster.nodes:
            node.signal(signal.SIGCONT)
