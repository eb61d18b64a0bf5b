"""Indexes of sessions in status lists: read off a session's id, and given once, whatever Redis loses."""

import asyncio
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.sessions.families import new_family_id
from gateway.sessions.status_indexes import (
    BLOCK_POSITIONS,
    LIST_POSITIONS,
    MORE_BELOW_POSITIONS,
    StatusIndex,
    StatusIndexes,
    find_index,
    is_list,
    parse_list_number,
)
from gateway.store.store import Store
from tests.clocks import FakeClock
from tests.conftest import OpenStore
from tests.doubles import SendsTwice
from tests.harness import SECRET, RedisServer, until

KEYCHAIN = KeyChain.of(SECRET)
OTHER_SECRET = "another secret for tests alone, 32 bytes"


def indexes_on(store: Store, clock: Callable[[], int] | None = None, **options: Any) -> StatusIndexes:
    return StatusIndexes(store, options.pop("keychain", KEYCHAIN), clock or FakeClock(), **options)


def index_of(session_id: str, keychain: KeyChain = KEYCHAIN) -> StatusIndex:
    index = find_index(session_id, keychain)
    assert index is not None
    return index


async def take(indexes: StatusIndexes, count: int = 1) -> list[StatusIndex]:
    return [index_of(await indexes.new_session_id()) for _ in range(count)]


async def new_list(store: Store) -> int:
    return (await take(indexes_on(store)))[0].list_number


class TestSessionIds:
    """A session's id says where its status is."""

    async def test_an_index_is_read_off_the_session_id(self, store: Store) -> None:
        session_ids = [await indexes_on(store).new_session_id() for _ in range(3)]
        assert [len(session_id) for session_id in session_ids] == [22, 22, 22]
        for session_id in session_ids:
            assert index_of(session_id).session_id(KEYCHAIN.current) == session_id
            assert index_of(session_id).position < LIST_POSITIONS

    def test_an_old_session_id_has_none(self) -> None:
        assert {find_index(new_family_id(), KEYCHAIN) for _ in range(1000)} == {None}

    @pytest.mark.parametrize("text", ["", "x", "x" * 22, "A" * 22, "usr_1 5 ", "é" * 22, "A" * 21 + "\n"])
    def test_what_is_no_session_id_has_none(self, text: str) -> None:
        assert find_index(text, KEYCHAIN) is None

    async def test_one_that_was_changed_in_any_octet_has_none(self, store: Store) -> None:
        index = (await take(indexes_on(store)))[0]
        session_id = index.session_id(KEYCHAIN.current)
        for place, letter in enumerate(session_id):
            other = "Q" if letter != "Q" else "g"
            assert find_index(session_id[:place] + other + session_id[place + 1 :], KEYCHAIN) is None

    async def test_one_of_a_former_secret_keeps_its_index(self, store: Store) -> None:
        session_id = await indexes_on(store).new_session_id()
        later = KeyChain.of(OTHER_SECRET, (SECRET,))
        assert find_index(session_id, later) == find_index(session_id, KEYCHAIN)
        assert find_index(session_id, KeyChain.of(OTHER_SECRET)) is None

    def test_a_list_that_no_gateway_began_is_none(self) -> None:
        assert not any(is_list((1_790_000_000 << 40) + n, KEYCHAIN) for n in range(0, 2**40, 2**31 + 1))
        assert not is_list(2**72, KEYCHAIN)

    async def test_a_tag_by_chance_is_not_enough(self, store: Store) -> None:
        """An old, random id that seemed to have a place would be looked for in a list that is not there."""
        by_chance = StatusIndex(1_790_000_000 << 40, 5).session_id(KEYCHAIN.current)
        assert find_index(by_chance, KEYCHAIN) is not None
        assert indexes_on(store).find(by_chance) is None

    async def test_the_number_of_a_list_has_one_spelling(self, store: Store) -> None:
        number = await new_list(store)
        assert parse_list_number(str(number), KEYCHAIN) == number
        for text in (f"0{number}", f"+{number}", f"{number} ", f"{number}\n", hex(number), str(number + 1), "", "-1"):
            assert parse_list_number(text, KEYCHAIN) is None

    async def test_off_they_are_random(self, store: Store) -> None:
        on, off = indexes_on(store), indexes_on(store, is_on=False)
        session_id = await on.new_session_id()
        assert off.find(session_id) is None
        assert off.parse(str(index_of(session_id).list_number)) is None
        assert find_index(await off.new_session_id(), KEYCHAIN) is None


class TestBlocks:
    """Gateways take blocks of positions, and nobody waits for Redis for each login."""

    async def test_two_gateways_take_turns_in_one_list(self, store: Store) -> None:
        one, other = indexes_on(store), indexes_on(store)
        given = [index for _ in range(300) for indexes in (one, other) for index in await take(indexes)]
        assert len(set(given)) == 600
        assert {index.list_number for index in given} == {given[0].list_number}
        assert max(index.position for index in given) < 4 * BLOCK_POSITIONS

    async def test_the_order_within_a_block_says_nothing(self, store: Store) -> None:
        positions = [index.position for index in await take(indexes_on(store), BLOCK_POSITIONS - MORE_BELOW_POSITIONS)]
        assert sorted(positions) != positions
        assert len(set(positions)) == len(positions)

    async def test_all_who_wait_for_the_first_block_wait_for_one(self, store: Store) -> None:
        indexes = indexes_on(store)
        given = await asyncio.gather(*(indexes.new_session_id() for _ in range(100)))
        assert len({index_of(session_id) for session_id in given}) == 100
        assert max(index_of(session_id).position for session_id in given) < BLOCK_POSITIONS

    async def test_more_are_taken_before_the_last_is_given(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        """So a login waits for Redis no longer than before, and what is left outlasts a short outage."""
        server = own_redis()
        indexes = indexes_on(open_store(server.url))
        given = await take(indexes, BLOCK_POSITIONS - MORE_BELOW_POSITIONS + 1)
        await until(lambda: len(indexes._free) > BLOCK_POSITIONS)
        server.kill()
        given += await take(indexes, BLOCK_POSITIONS)
        assert len(set(given)) == len(given)

    async def test_without_redis_there_are_none_at_last_and_later_there_are(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        server = own_redis()
        indexes = indexes_on(open_store(server.url))
        before = await take(indexes)
        server.kill()
        before += await take(indexes, BLOCK_POSITIONS - 1)
        with pytest.raises(StoreUnavailable):
            await indexes.new_session_id()
        assert len(set(before)) == BLOCK_POSITIONS
        server.start()
        await asyncio.sleep(1)
        assert set(await take(indexes, 10)).isdisjoint(before)

    async def test_a_block_whose_answer_was_lost_is_not_given_again(
        self, redis_server: RedisServer, store: Store
    ) -> None:
        twice = SendsTwice(redis_server.url, store.prefix)
        indexes = indexes_on(twice)
        given = await take(indexes, 600)
        assert len(set(given)) == 600
        await twice.close()

    async def test_when_a_list_is_full_the_next_one_begins(self, store: Store) -> None:
        first = (await take(indexes_on(store)))[0]
        await store.execute("HSET", store.key("status-index"), "next", LIST_POSITIONS - BLOCK_POSITIONS)
        last = (await take(indexes_on(store)))[0]
        following = (await take(indexes_on(store)))[0]
        assert last.list_number == first.list_number
        assert last.position >= LIST_POSITIONS - BLOCK_POSITIONS
        assert following.list_number > first.list_number
        assert following.position < BLOCK_POSITIONS

    async def test_nothing_of_a_session_is_in_the_key(self, store: Store) -> None:
        await take(indexes_on(store))
        assert set(await store.fields(store.key("status-index"))) == {b"server", b"list", b"next"}


class TestLosses:
    """A list begins with every life of a server, and whatever else might bring back what was."""

    async def test_when_the_key_is_gone_a_list_begins(self, store: Store) -> None:
        before = await new_list(store)
        await store.execute("DEL", store.key("status-index"))
        assert await new_list(store) != before

    async def test_when_the_server_was_started_again_a_list_begins(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        server = own_redis()
        store = open_store(server.url)
        before = await new_list(store)
        assert await new_list(store) == before
        server.kill()
        server.start()
        await asyncio.sleep(1)
        assert await new_list(store) != before

    async def test_when_an_old_file_was_put_back_nothing_is_given_again(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        server = own_redis("--appendfsync", "always")
        store = open_store(server.url)
        given = await take(indexes_on(store))
        await asyncio.sleep(0.1)
        shutil.copytree(server.directory, server.directory.with_name("old"))
        given += await take(indexes_on(store), 600)
        server.kill()
        shutil.rmtree(server.directory)
        shutil.move(server.directory.with_name("old"), server.directory)
        server.start()
        await asyncio.sleep(1)
        given += await take(indexes_on(store), 600)
        assert len(set(given)) == len(given)

    @pytest.mark.one_server
    async def test_one_server_that_was_replaced_and_comes_back_gives_nothing_again(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        """Its process is the same all the time; what it had given was lost when it followed the other one."""
        first, other = [own_redis("--repl-diskless-sync-delay", "0") for _ in range(2)]
        stores = [open_store(server.url) for server in (first, other)]
        other.command("REPLICAOF", "127.0.0.1", str(first.port))
        await until(lambda: b"master_link_status:up" in other.command("INFO", "replication"))
        given = [index for _ in range(2) for index in await take(indexes_on(stores[0]))]
        await until(lambda: b"512" in other.command("HGET", "gw:status-index", "next"))
        other.command("REPLICAOF", "NO", "ONE")
        given += await take(indexes_on(stores[0]), 600)
        first.command("REPLICAOF", "127.0.0.1", str(other.port))
        await until(lambda: b"master_link_status:up" in first.command("INFO", "replication"))
        assert b"512" in first.command("HGET", "gw:status-index", "next")
        first.command("REPLICAOF", "NO", "ONE")
        for store in stores:
            given += await take(indexes_on(store), 600)
        assert len(set(given)) == len(given)

    async def test_when_the_key_was_put_back_by_hand_who_knows_better_begins_a_list(self, store: Store) -> None:
        indexes, key = indexes_on(store), store.key("status-index")
        given = await take(indexes)
        saved = await store.fields(key)
        given += await take(indexes, 600)
        await store.execute("HSET", key, *(word for field in saved.items() for word in field))
        given += await take(indexes, 600)
        assert len(set(given)) == len(given)

    @pytest.mark.parametrize("field", ["server", "list", "next"])
    @pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 22, "9" * 30, "nan", "inf"])
    async def test_a_key_that_makes_no_sense_is_none(self, store: Store, field: str, value: str) -> None:
        before = await take(indexes_on(store))
        await store.execute("HSET", store.key("status-index"), field, value)
        after = await take(indexes_on(store))
        assert after[0].list_number != before[0].list_number
        assert after[0].position < BLOCK_POSITIONS

    async def test_a_list_of_a_secret_that_is_gone_is_not_gone_on_with(self, store: Store) -> None:
        session_id = await indexes_on(store, keychain=KeyChain.of(OTHER_SECRET)).new_session_id()
        index = (await take(indexes_on(store)))[0]
        assert index.list_number != index_of(session_id, KeyChain.of(OTHER_SECRET)).list_number

    async def test_a_clock_that_goes_back_makes_no_number_twice(self, store: Store) -> None:
        clock = FakeClock()
        numbers = []
        for moved in (0, -3600, 0, -(10**9), -1_790_000_000, 5):
            clock.now = FakeClock().now + moved
            await store.execute("HSET", store.key("status-index"), "next", LIST_POSITIONS)
            numbers.append((await take(indexes_on(store, clock, random_bits=lambda _: 0)))[0].list_number)
        assert sorted(set(numbers)) == numbers
