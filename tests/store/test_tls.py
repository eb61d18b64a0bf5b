"""TLS to Redis in every topology: certificates are checked, nothing falls back, and Sentinels are shown a password."""

import asyncio
import hashlib
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from gateway.clock import system_clock
from gateway.errors import StartupError, StoreUnavailable
from gateway.store.fitness import check_server
from gateway.store.store import CALL_DEADLINE_SECONDS, Script, Store
from tests.certificates import Certificates, make_certificates
from tests.cli.commands import assert_refused, here
from tests.conftest import OpenStore, quick_environment
from tests.harness import RedisServer, free_port, wait_until
from tests.topologies import SERVICE, RedisCluster, SentinelServer, SentinelTrio

pytestmark = [pytest.mark.redis, pytest.mark.one_server("it starts its own topologies")]

DOWN_AFTER_MILLISECONDS = 1000
KINDS = ("single", "sentinel", "cluster")
KEYS = [f"gw:{{{number}}}" for number in range(8)]
COUNT_TEXT = "return redis.call('INCR', KEYS[1])"
COUNT = Script("of_the_test", COUNT_TEXT, hashlib.sha1(COUNT_TEXT.encode(), usedforsecurity=False).hexdigest())
# 127.0.0.1 by another name, which is in no certificate.
OTHER_NAME = "127.1"


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a CA that has signed nothing here."""
    return make_certificates(tmp_path_factory.mktemp("others")).authority


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, redis_certificates: Certificates) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("single"), certificates=redis_certificates).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory, redis_certificates: Certificates) -> Iterator[SentinelTrio]:
    trio = SentinelTrio(tmp_path_factory.mktemp("trio"), DOWN_AFTER_MILLISECONDS, certificates=redis_certificates)
    try:
        yield trio.start()
    finally:
        trio.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, redis_certificates: Certificates) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"), 2, 1, certificates=redis_certificates)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture
def urls(single: RedisServer, trio: SentinelTrio, cluster: RedisCluster) -> dict[str, str]:
    """Give the `redis_url` of each kind."""
    return dict(zip(KINDS, (single.url, trio.url, cluster.url), strict=True))


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a server without TLS."""
    server = RedisServer(tmp_path / "plain").start()
    yield server
    server.stop()


async def refusal(store: Store) -> str:
    """Give the one line with which a start is refused on a store that fails."""
    with pytest.raises(StoreUnavailable):
        await store.execute("GET", store.key("a"))
    with pytest.raises(StartupError) as refused:
        await check_server(store, system_clock)
    assert "\n" not in str(refused.value)
    assert "redis_url" in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_works_by_tls(urls: dict[str, str], kind: str, open_store: OpenStore) -> None:
    """Shows ASVS 12.3.1, ASVS 12.3.4."""
    store = open_store(urls[kind])
    assert await check_server(store, system_clock) == []
    for key in KEYS:
        before = int(await store.execute("GET", key) or 0)
        assert await store.run(COUNT, [key]) == before + 1
        assert await store.run(COUNT, [key], durable=kind != "single") == before + 2
        assert await store.read_stream(f"{key}s", "0-0", 1, wait=False) == []


async def test_a_connection_opens_without_a_command_that_redis_does_not_know(
    single: RedisServer, trio: SentinelTrio, cluster: RedisCluster, open_store: OpenStore
) -> None:
    for url, servers in ((single.url, [single]), (trio.url, trio.servers), (cluster.url, cluster.nodes)):
        for server in servers:
            assert server.command("CONFIG", "RESETSTAT") == b"+OK\r\n"
        store = open_store(url)
        for key in KEYS:
            await store.execute("SET", key, "1")
        for server in servers:
            assert b"errorstat_ERR" not in server.command("INFO", "errorstats")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_of_another_authority_is_refused(
    urls: dict[str, str], kind: str, other_authority: Path, open_store: OpenStore
) -> None:
    """Shows ASVS 12.3.2, ASVS 12.3.4."""
    url = re.sub("ssl_ca_certs=.*", f"ssl_ca_certs={other_authority}", urls[kind])
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(open_store(url))


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_exits_3_on_a_certificate_of_another_authority(
    urls: dict[str, str], kind: str, other_authority: Path
) -> None:
    """Shows ASVS 16.3.4."""
    url = re.sub("ssl_ca_certs=.*", f"ssl_ca_certs={other_authority}", urls[kind])
    assert_refused(here("check", env=quick_environment(url)), 3, "CERTIFICATE_VERIFY_FAILED", "redis_url")


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_is_content_with_a_good_certificate(urls: dict[str, str], kind: str) -> None:
    outcome = here("check", env=quick_environment(urls[kind]))
    assert (outcome.status, outcome.err) == (0, ""), outcome
    assert "without TLS" not in outcome.out


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_for_another_host_is_refused(
    urls: dict[str, str], kind: str, open_store: OpenStore
) -> None:
    """Shows ASVS 12.3.2."""
    url = urls[kind].replace("127.0.0.1", OTHER_NAME)
    assert "certificate is not valid for" in await refusal(open_store(url))
    unchecked = open_store(f"{url}&ssl_check_hostname=no")
    assert await check_server(unchecked, system_clock) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_without_tls_is_refused(
    kind: str, plain: RedisServer, redis_certificates: Certificates, open_store: OpenStore
) -> None:
    """Shows ASVS 12.3.1."""
    scheme = {"single": "rediss", "sentinel": "rediss+sentinel", "cluster": "rediss+cluster"}[kind]
    path = "/sessions" if kind == "sentinel" else ""
    url = f"{scheme}://127.0.0.1:{plain.port}{path}?ssl_ca_certs={redis_certificates.authority}"
    await refusal(open_store(url))


async def test_a_master_without_tls_is_refused_although_its_sentinel_has_it(
    plain: RedisServer, redis_certificates: Certificates, tmp_path: Path, open_store: OpenStore
) -> None:
    sentinel = SentinelServer(
        *(tmp_path / "sentinel", plain.port, DOWN_AFTER_MILLISECONDS, 1, "tls-replication no"),
        certificates=redis_certificates,
    ).start()
    try:
        assert sentinel.master_port() == plain.port
        await refusal(open_store(sentinel.url))
    finally:
        sentinel.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_with_tls_is_not_spoken_to_without(
    urls: dict[str, str], kind: str, open_store: OpenStore
) -> None:
    url = urls[kind].replace("rediss", "redis", 1).partition("?")[0]
    await refusal(open_store(url))


async def test_a_server_that_asks_for_a_certificate_is_shown_one(
    single: RedisServer, cluster: RedisCluster, redis_certificates: Certificates, open_store: OpenStore
) -> None:
    """Shows ASVS 13.2.1."""
    for url, servers in ((single.url, [single]), (cluster.url, cluster.nodes)):
        shown = f"{url}&ssl_certfile={redis_certificates.chain}&ssl_keyfile={redis_certificates.key}"
        clients = [
            redis.Redis.from_url(server.url_of(f"127.0.0.1:{server.port}") + shown.partition(url)[2])
            for server in servers
        ]
        try:
            for client in clients:
                client.config_set("tls-auth-clients", "yes")
            await refusal(open_store(url))
            assert await check_server(open_store(shown), system_clock) == []
        finally:
            for client in clients:
                client.config_set("tls-auth-clients", "no")
                client.close()


async def test_a_failover_is_followed_by_tls(trio: SentinelTrio, open_store: OpenStore) -> None:
    wait_until(trio.is_whole, 30, "the trio")
    store, key = open_store(trio.url), "gw:failover"
    assert await store.run(COUNT, [key], durable=True) == 1
    master = trio.master()
    master.kill()
    begun, failed = time.monotonic(), 0
    while True:
        with suppress(StoreUnavailable):
            assert await store.run(COUNT, [key]) == 2
            break
        failed += 1
        assert time.monotonic() - begun < 20
        await asyncio.sleep(0.02)
    print(f"a new master after {time.monotonic() - begun:.1f} s, {failed} calls failed")
    assert failed
    master.start()
    wait_until(trio.is_whole, 30, "the old master to be a replica")
    assert await store.run(COUNT, [key], durable=True) == 3


async def test_a_slot_that_moves_is_followed_by_tls(cluster: RedisCluster, open_store: OpenStore) -> None:
    """MOVED and ASK name ports of TLS."""
    store, moved, asked = open_store(cluster.url), 0, 0
    for key in KEYS:
        before = int(await store.execute("GET", key) or 0)
        await store.run(COUNT, [key], durable=True)
        slot = cluster.slot_of(key)
        source = cluster.owner_of(slot)
        target = next(node for node in cluster.masters() if node is not source)
        assert target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", cluster.id_of(source)) == b"+OK\r\n"
        assert source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", cluster.id_of(target)) == b"+OK\r\n"
        assert await store.run(COUNT, [f"{key}new"]) == before // 3 + 1
        asked += 1
        assert cluster.move_slot(slot, source, target) >= 1
        assert await store.run(COUNT, [key], durable=True) == before + 2
        assert await store.execute("INCR", key) == before + 3
        moved += 1
    print(f"{moved} slots moved, {asked} calls asked elsewhere meanwhile, none failed")
    assert moved == asked == len(KEYS)


async def test_a_sentinel_that_does_not_answer_is_passed_over(trio: SentinelTrio, open_store: OpenStore) -> None:
    """One that is not there, and one that hangs; by a store that has never asked another one."""
    wait_until(trio.is_whole, 30, "the trio")
    silent = trio.sentinels[0]
    ports = [free_port(), silent.port, *(sentinel.port for sentinel in trio.sentinels[1:])]
    url = silent.url_of(",".join(f"127.0.0.1:{port}" for port in ports) + f"/{SERVICE}", "+sentinel")
    silent.signal(signal.SIGSTOP)
    try:
        for durable in (False, True):
            begun = time.monotonic()
            await open_store(url).run(COUNT, ["gw:passed-over"], durable=durable)
            assert time.monotonic() - begun < CALL_DEADLINE_SECONDS
    finally:
        silent.signal(signal.SIGCONT)


async def test_a_sentinel_is_shown_its_own_password(plain: RedisServer, tmp_path: Path, open_store: OpenStore) -> None:
    sentinel = SentinelServer(
        *(tmp_path / "sentinel", plain.port, DOWN_AFTER_MILLISECONDS, 1, "requirepass default-password"),
        "user gateway on >its-password resetchannels -@all +ping +sentinel|masters",
    ).start()
    plain.command("ACL", "SETUSER", "gateway", "on", ">of-redis", "~*", "+@all")
    url = sentinel.url.replace("://", "://gateway:of-redis@")
    try:
        for query in ("sentinel_username=gateway&sentinel_password=its-password", "sentinel_password=default-password"):
            assert await check_server(open_store(f"{url}?{query}"), system_clock) == []
        assert "sentinel_password" in await refusal(open_store(url))
        wrong = await refusal(open_store(f"{url}?sentinel_username=gateway&sentinel_password=wrong-one"))
        assert not re.search("wrong-one|of-redis", wrong)
    finally:
        sentinel.stop()
