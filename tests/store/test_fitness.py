"""Whether a Redis is fit: what stops a start, what is warned of, each against a server in that state."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway.clock import system_clock
from gateway.errors import StartupError
from gateway.store import fitness
from gateway.store.fitness import check_server, doubtful_url, examine_server, watch_server
from gateway.store.store import Store
from tests.conftest import OpenStore
from tests.harness import RedisServer, free_port
from tests.redis_users import close_default, with_user

pytestmark = [pytest.mark.redis, pytest.mark.one_server]

MakeRedis = Callable[..., RedisServer]


async def examined(store: Store, redis_url: str) -> list[str]:
    return await examine_server(store, redis_url, await store.server_facts())


class TestStart:
    """What `gateway serve` and every command see to first."""

    async def test_a_good_server_has_nothing_to_warn_of(self, own_redis: MakeRedis, open_store: OpenStore) -> None:
        assert await check_server(open_store(own_redis().url), system_clock) == []
        assert await check_server(open_store(with_user(own_redis()).url), system_clock) == []

    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
    async def test_a_server_that_would_drop_keys_is_refused(
        self, own_redis: MakeRedis, open_store: OpenStore, policy: str
    ) -> None:
        store = open_store(own_redis("--maxmemory-policy", policy).url)
        with pytest.raises(StartupError) as refused:
            await check_server(store, system_clock)
        assert policy in str(refused.value)
        assert "CONFIG SET maxmemory-policy noeviction" in str(refused.value)

    async def test_a_server_out_of_reach_is_refused_with_the_cause(self) -> None:
        store = Store(f"redis://127.0.0.1:{free_port()}/0", "gw:")
        with pytest.raises(StartupError, match="redis_url") as refused:
            await check_server(store, system_clock)
        assert "\n" not in str(refused.value)
        await store.close()

    async def test_a_server_that_wants_a_password_is_refused_without_showing_ours(
        self, own_redis: MakeRedis, open_store: OpenStore
    ) -> None:
        server = own_redis()
        server.command("CONFIG", "SET", "requirepass", "theirs")
        server.url = f"redis://:wrong-but-secret@127.0.0.1:{server.port}/0"
        with pytest.raises(StartupError) as refused:
            await check_server(open_store(server.url), system_clock)
        assert "wrong-but-secret" not in str(refused.value)
        server.url = f"redis://:theirs@127.0.0.1:{server.port}/0"
        assert await check_server(open_store(server.url), system_clock) == []

    async def test_a_server_that_keeps_nothing_on_disk_is_warned_of(
        self, own_redis: MakeRedis, open_store: OpenStore
    ) -> None:
        [warning] = await check_server(open_store(own_redis("--appendonly", "no").url), system_clock)
        assert "append-only" in warning

    @pytest.mark.parametrize(
        ("facts", "is_good"),
        [
            ({"redis_version": "6.0.16"}, False),
            ({"redis_version": "5.0.3"}, False),
            ({"redis_version": "6.2.0"}, True),
            ({"redis_version": "7.0.9"}, True),
            ({"redis_version": "255.255.255"}, True),
        ],
    )
    async def test_the_version_of_the_server_counts(
        self, own_redis: MakeRedis, facts: dict[str, str], is_good: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Pretending(Store):
            async def server_facts(self) -> dict[str, object]:
                return await super().server_facts() | facts

        monkeypatch.setattr(fitness, "WAITAOF_SINCE", (256, 0))  # the one that pretends may not have it
        store = Pretending(own_redis().url, "gw:")
        if is_good:
            assert await check_server(store, system_clock) == []
        else:
            with pytest.raises(StartupError, match=r"6\.2 or newer"):
                await check_server(store, system_clock)
        await store.close()

    @pytest.mark.parametrize("command", [command[0] for command in fitness.NEEDED if command[0] != "WAITAOF"])
    async def test_each_command_that_the_user_lacks_is_named(
        self, own_redis: MakeRedis, open_store: OpenStore, command: str
    ) -> None:
        server = with_user(own_redis(), f"-{command.lower().replace(' ', '|')}")
        with pytest.raises(StartupError) as refused:
            await check_server(open_store(server.url), system_clock)
        assert "\n" not in str(refused.value)
        assert command.lower().replace(" ", "|") in str(refused.value).lower().replace(" ", "|")
        others = [other[0] for other in fitness.NEEDED if f" {other[0]}," in str(refused.value)]
        assert command in ("INFO", *others) or f"({command})" in str(refused.value)

    async def test_a_key_pattern_that_does_not_fit_is_named(self, own_redis: MakeRedis, open_store: OpenStore) -> None:
        server = with_user(own_redis(), "resetkeys", "~other:*")
        with pytest.raises(StartupError, match=r"keys ~gw:\*") as refused:
            await check_server(open_store(server.url), system_clock)
        assert "HSET" not in str(refused.value)

    async def test_looking_changes_nothing(self, own_redis: MakeRedis, open_store: OpenStore) -> None:
        server = own_redis()
        await check_server(open_store(server.url), system_clock)
        await examined(open_store(server.url), server.url)
        assert server.command("DBSIZE") == b":0\r\n"
        assert b"rdb_changes_since_last_save:0\r\n" in server.command("INFO", "persistence")


class TestClock:
    """The clock of Redis against ours."""

    @pytest.mark.parametrize(("offset_seconds", "is_told"), [(-3600, True), (-7, True), (-3, False), (7, True)])
    async def test_a_clock_that_is_off_by_more_than_5_seconds_is_told(
        self, own_redis: MakeRedis, open_store: OpenStore, offset_seconds: int, is_told: bool
    ) -> None:
        """Shows ASVS 16.2.2."""
        store = open_store(own_redis().url)
        warnings = await check_server(store, lambda: system_clock() + offset_seconds)
        assert [("clock" in text) for text in warnings] == [True] * is_told
        if is_told:
            assert ("ahead" in warnings[0]) == (offset_seconds < 0)

    async def test_it_is_logged_once_when_they_part_and_once_when_they_agree_again(
        self, own_redis: MakeRedis, open_store: OpenStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        offset_seconds = 0

        def clock() -> int:
            return system_clock() + offset_seconds

        store = open_store(own_redis().url)
        told: list[tuple[str, int]] = []
        with caplog.at_level(logging.INFO, "gateway"):
            watching = asyncio.create_task(watch_server(store, clock, period_seconds=0.01))
            for now_seconds in (0, 300, 0, -300):
                offset_seconds = now_seconds
                await asyncio.sleep(0.3)
            watching.cancel()
        told = [(record.levelname, record.fields["redis_ahead_seconds"]) for record in caplog.records]  # type: ignore[attr-defined]
        assert [level for level, _ in told] == ["WARNING", "INFO", "WARNING"]
        assert [abs(seconds) > 290 for _, seconds in told] == [True, False, True]


class TestExamination:
    """What `gateway check` tells besides, with a mend in each line."""

    async def warnings(self, server: RedisServer, open_store: OpenStore) -> list[str]:
        found = await examined(open_store(server.url), server.url)
        assert all("(" in text or ": " in text for text in found), "each has its mend"
        return found

    @staticmethod
    def about(word: str, warnings: list[str]) -> list[str]:
        return [text for text in warnings if word in text]

    async def test_a_user_with_what_it_needs_and_no_more_is_well(
        self, own_redis: MakeRedis, open_store: OpenStore
    ) -> None:
        server = with_user(own_redis("--maxmemory", "100mb", "--appendfsync", "always"))
        close_default(server)
        warnings = await self.warnings(server, open_store)
        assert self.about("more than it needs", warnings) == []
        assert self.about("anybody", warnings) == []
        assert self.about("maxmemory", warnings) == []

    @pytest.mark.parametrize(
        ("rule", "named"),
        [
            ("+@all", "CONFIG GET, LASTSAVE, RANDOMKEY"),
            ("+config|get", "(CONFIG GET)"),
            ("+@dangerous", "LASTSAVE"),
            ("+@read", "(RANDOMKEY)"),
            ("~*", "(keys other than gw:*)"),
        ],
    )
    async def test_what_the_user_may_and_need_not_is_named(
        self, own_redis: MakeRedis, open_store: OpenStore, rule: str, named: str
    ) -> None:
        server = with_user(own_redis(), rule)
        [warning] = self.about("more than it needs", await self.warnings(server, open_store))
        assert named in warning
        assert "users.acl" in warning

    async def test_a_user_who_may_ask_about_users_is_told_of_what_would_do_harm(
        self, own_redis: MakeRedis, open_store: OpenStore
    ) -> None:
        """Redis answers what it would do (ACL DRYRUN, since 7.0), and nothing is done."""
        server = with_user(own_redis(), "+acl", "+flushall", "+keys")
        server.command("SET", "gw:kept", "x")
        [warning] = self.about("more than it needs", await self.warnings(server, open_store))
        assert "(FLUSHALL, KEYS)" in warning
        assert server.command("EXISTS", "gw:kept") == b":1\r\n"

    async def test_a_server_that_lets_anybody_in_is_told_although_we_have_a_password(
        self, own_redis: MakeRedis, open_store: OpenStore
    ) -> None:
        server = with_user(own_redis())
        assert len(self.about("anybody", await self.warnings(server, open_store))) == 1
        close_default(server)
        assert self.about("anybody", await self.warnings(server, open_store)) == []

    async def test_a_server_without_a_limit_of_memory_is_told(
        self, own_redis: MakeRedis, open_store: OpenStore
    ) -> None:
        assert len(self.about("maxmemory", await self.warnings(own_redis(), open_store))) == 1
        limited = own_redis("--maxmemory", "64mb")
        assert self.about("maxmemory", await self.warnings(limited, open_store)) == []

    @pytest.mark.parametrize(
        ("policy", "facts", "told"),
        [
            ("always", {"redis_version": "7.0.15"}, []),
            ("everysec", {"redis_version": "7.0.15"}, ["cannot be asked"]),
            ("everysec", {"redis_version": "7.2.11"}, []),
            ("everysec", {"redis_version": "7.4.2"}, ["may answer before"]),
            ("everysec", {"redis_version": "8.2.2"}, []),
            ("everysec", {"redis_version": "7.2.4", "valkey_version": "9.1.2"}, ["may answer before"]),
            ("everysec", {"redis_version": "7.2.4", "valkey_version": "7.2.11"}, []),
            ("everysec", {"redis_version": "7.4.2", "connected_slaves": 1}, []),
            ("always", {"redis_version": "7.4.2"}, []),
            ("no", {"redis_version": "7.2.11"}, ["appendfsync of Redis is no"]),
        ],
    )
    async def test_what_a_power_failure_takes_is_told(
        self, own_redis: MakeRedis, policy: str, facts: dict[str, Any], told: list[str]
    ) -> None:
        server = own_redis("--appendfsync", policy)
        store = pretending(server, **facts)
        warnings = self.about("power failure", await examined(store, server.url))
        await store.close()
        assert len(warnings) == len(told)
        assert all(word in text for word, text in zip(told, warnings, strict=True))

    @pytest.mark.parametrize(
        ("facts", "holes"),
        [
            ({"redis_version": "6.2.16"}, ["CVE-2024-46981", "CVE-2025-49844"]),
            ({"redis_version": "6.2.19"}, ["CVE-2025-49844"]),
            ({"redis_version": "6.2.20"}, []),
            ({"redis_version": "7.0.15"}, ["CVE-2024-46981", "CVE-2025-49844"]),
            ({"redis_version": "7.2.6"}, ["CVE-2024-46981", "CVE-2025-49844"]),
            ({"redis_version": "7.2.10"}, ["CVE-2025-49844"]),
            ({"redis_version": "7.4.6"}, []),
            ({"redis_version": "8.0.3"}, ["CVE-2025-49844"]),
            ({"redis_version": "8.2.2"}, []),
            ({"redis_version": "8.6.3"}, []),
            ({"redis_version": "255.255.255"}, []),
            ({"redis_version": "7.2.4", "valkey_version": "7.2.10"}, ["CVE-2025-49844", "CVE-2025-67733"]),
            ({"redis_version": "7.2.4", "valkey_version": "8.1.4"}, ["CVE-2025-67733"]),
            ({"redis_version": "7.2.4", "valkey_version": "8.1.6"}, []),
            ({"redis_version": "7.2.4", "valkey_version": "9.0.1"}, ["CVE-2025-67733"]),
            ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, []),
        ],
    )
    async def test_builds_with_known_holes_in_lua_are_told(
        self, own_redis: MakeRedis, facts: dict[str, str], holes: list[str]
    ) -> None:
        server = own_redis()
        store = pretending(server, **facts)
        warnings = self.about("CVE", await examined(store, server.url))
        await store.close()
        assert [text.partition("(")[2].partition(")")[0].split(", ") for text in warnings] == ([holes] if holes else [])
        assert all("distribution" in text for text in warnings)


def pretending(server: RedisServer, **facts: Any) -> Store:
    """Give a store whose server says that it is of another version: there is one binary here, and many releases."""

    class Pretending(Store):
        async def server_facts(self) -> dict[str, Any]:
            real = await super().server_facts()
            real.pop("valkey_version", None)
            return real | facts

    return Pretending(server.url, "gw:")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("unix:///run/redis.sock", []),
        ("redis://gateway:x@127.0.0.1:6379/0", []),
        ("redis://gateway:x@localhost/0", []),
        ("redis://gateway:x@[::1]:6379/0", []),
        ("rediss://gateway:x@redis.example.com/0", []),
        ("redis://127.0.0.1:6379/0", ["no user"]),
        ("redis://gateway:x@10.0.0.7:6379/0", ["10.0.0.7"]),
        ("redis://redis.example.com", ["no user", "redis.example.com"]),
        ("redis+sentinel://gateway:x@127.0.0.1:1,10.0.0.8:1/sessions/0", ["10.0.0.8"]),
        ("redis+cluster://gateway:x@10.0.0.9:6379,10.0.0.10:6379", ["10.0.0.9"]),
        ("redis+cluster://127.0.0.1:1", ["no user"]),
        ("rediss+sentinel://gateway:x@10.0.0.8:1,10.0.0.9:1/sessions/0?ssl_ca_certs=/etc/ca.pem", []),
        ("rediss+cluster://gateway:x@redis.example.com:1,[2001:db8::1]:1?ssl_ca_certs=/etc/ca.pem", []),
        ("redis+cluster://[::1]:1,[2001:db8::1]:1?client_name=a@b", ["no user", "2001:db8::1"]),
    ],
)
def test_a_way_to_redis_that_is_open_to_others_is_told(url: str, told: list[str]) -> None:
    warnings = doubtful_url(url)
    assert len(warnings) == len(told)
    assert all(word in text for word, text in zip(told, warnings, strict=True))
    assert not any("gateway:x" in text for text in warnings)


async def test_an_eviction_policy_that_comes_and_goes_while_we_serve_is_told_once_each(
    own_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """F6."""
    server = own_redis()
    store = Store(server.url, "gw:")
    caplog.set_level(logging.INFO)
    watching = asyncio.create_task(watch_server(store, system_clock, 0.02))
    for policy in ("noeviction", "allkeys-lru", "noeviction"):
        server.command("CONFIG", "SET", "maxmemory-policy", policy)
        await asyncio.sleep(0.3)
    watching.cancel()
    await store.close()
    assert [record.getMessage() for record in caplog.records if record.name == "gateway"] == [
        "redis would drop sessions and users when it is full",
        "redis keeps everything again",
    ]
