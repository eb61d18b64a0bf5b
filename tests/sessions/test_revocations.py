"""Revocations: known here at once, everywhere within a second, whatever happens to Redis."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.sessions.families import new_family_id
from gateway.sessions.revocations import (
    ANNOUNCED_AGAIN_WITHIN_SECONDS,
    BEGINNING,
    LONGEST_ACCESS_TOKEN_LIFE_SECONDS,
    PAGE_ENTRIES,
    PAGE_ENTRIES_WHILE_SERVING,
    RECONNECT_DELAY_SECONDS,
    STALE_AFTER_SECONDS,
    Revocations,
)
from gateway.store.store import Store, StreamEntry
from tests.clocks import FakeClock
from tests.harness import RedisServer, free_port, until
from tests.scripts import load_script

pytestmark = pytest.mark.redis

FORGOTTEN_AFTER_SECONDS = 3660
SHORT_BLOCK_SECONDS = 0.05
AGAIN_SOON_SECONDS = 0.2


@asynccontextmanager
async def following(revocations: Revocations) -> AsyncIterator[Revocations]:
    """Let a view follow its stream for as long as the block lasts."""
    follower = asyncio.create_task(revocations.follow())
    try:
        yield revocations
    finally:
        assert not follower.done(), follower
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def heard_by(view: Revocations, announcer: Revocations) -> float:
    """Announce something new and give the seconds until the view has it."""
    family_id = new_family_id()
    await announcer.announce((family_id,))
    return await until(lambda: family_id in view)


async def test_what_is_announced_is_refused_here_at_once(store: Store) -> None:
    revocations = Revocations(store, FakeClock())
    family_ids = new_family_id(), new_family_id()
    await revocations.announce(family_ids)
    assert all(family_id in revocations for family_id in family_ids)
    assert new_family_id() not in revocations


async def test_what_is_announced_is_known_to_another_gateway_within_a_second(
    store: Store, redis_server: RedisServer
) -> None:
    other = Store(redis_server.url, store.prefix)
    async with following(Revocations(other, FakeClock())) as view:
        assert await view.wait_until_read(2)
        waits = [await heard_by(view, Revocations(store, FakeClock())) for _ in range(20)]
    await other.close()
    print(f"heard elsewhere after {max(waits) * 1000:.1f} ms at most")
    assert max(waits) < 1.0


async def test_several_are_announced_at_once_and_none_at_all_is_no_work(store: Store) -> None:
    revocations = Revocations(store, FakeClock())
    await revocations.announce(())
    assert await store.execute("EXISTS", store.key("revocations")) == 0
    await revocations.announce(tuple(new_family_id() for _ in range(50)))
    assert await store.execute("XLEN", store.key("revocations")) == 50


async def test_a_new_gateway_reads_the_whole_stream_before_it_is_ready(store: Store) -> None:
    announcer = Revocations(store, FakeClock())
    family_ids = tuple(new_family_id() for _ in range(2500))
    await announcer.announce(family_ids)
    late = Revocations(store, FakeClock())
    assert not late.was_read
    assert not late.is_current
    assert not await late.wait_until_read(0.01)
    async with following(late):
        assert await late.wait_until_read(5)
        assert all(family_id in late for family_id in family_ids)
        assert late.is_current


class BreakingStore(Store):
    """A store whose reading of streams can be broken, and which notes the pages that it gave."""

    is_broken = False
    breaks = 0
    breaks_at_page = 0

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self.pages: list[tuple[str, int, int]] = []

    async def read_stream(self, key: str, after_id: str, count: int, *, wait: bool) -> list[StreamEntry]:
        """Note after which entry was read, how many were asked for, and how many came; as Redis would when away."""
        if self.is_broken or len(self.pages) + 1 == self.breaks_at_page:
            self.breaks, self.breaks_at_page = self.breaks + 1, 0
            raise StoreUnavailable("CONNECTION")
        entries = await super().read_stream(key, after_id, count, wait=wait)
        self.pages.append((after_id, count, len(entries)))
        return entries

    @asynccontextmanager
    async def broken(self) -> AsyncIterator[None]:
        """Break the reading, then let the block run, then mend it; forget the pages before."""
        self.is_broken, before = True, self.breaks
        await until(lambda: self.breaks > before)
        self.pages.clear()
        yield
        self.is_broken = False


@pytest.fixture
async def breaking(
    store: Store, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BreakingStore]:
    """Give a store on the same keys whose reading can be broken, and which waits for shorter."""
    monkeypatch.setattr("gateway.store.store.STREAM_BLOCK_SECONDS", SHORT_BLOCK_SECONDS)
    monkeypatch.setattr("gateway.sessions.revocations.ANNOUNCED_AGAIN_WITHIN_SECONDS", AGAIN_SOON_SECONDS)
    breaking = BreakingStore(redis_server.url, store.prefix)
    yield breaking
    await breaking.close()


async def test_after_a_break_only_what_is_new_is_read(store: Store, breaking: BreakingStore) -> None:
    """Since no subrequest is answered while a page is read."""
    announcer = Revocations(store, FakeClock())
    await announcer.announce(tuple(new_family_id() for _ in range(1500)))
    async with following(Revocations(breaking, FakeClock())) as view:
        assert await view.wait_until_read(5)
        async with breaking.broken():
            await announcer.announce(("new", "newer"))
        await until(lambda: "newer" in view)
    print(f"pages after the break: {breaking.pages}")
    assert breaking.pages[0][0] != BEGINNING[0]
    assert sum(number for _, _, number in breaking.pages) == 2


async def test_a_gateway_that_serves_reads_the_whole_stream_in_small_pages(
    store: Store, breaking: BreakingStore
) -> None:
    """Since no subrequest is answered while a page is read."""
    await Revocations(store, FakeClock()).announce(tuple(new_family_id() for _ in range(1500)))
    async with following(Revocations(breaking, FakeClock())) as view:
        assert await view.wait_until_read(5)
        assert breaking.pages[0] == (BEGINNING[0], PAGE_ENTRIES, PAGE_ENTRIES)
        async with breaking.broken():
            [(last_id, _)] = [await store.entry_before(store.key("revocations"), None) or BEGINNING]
            await store.execute("XDEL", store.key("revocations"), last_id)
        await until(lambda: sum(number for _, _, number in breaking.pages) >= 1499)
    assert (BEGINNING[0], PAGE_ENTRIES_WHILE_SERVING, PAGE_ENTRIES_WHILE_SERVING) in breaking.pages


async def test_an_entry_that_has_the_number_of_the_last_one_but_says_something_else_is_not_that_one(
    store: Store, breaking: BreakingStore
) -> None:
    """A server that took over with less entries and a clock behind may number one as one that it has lost."""
    await add_entry(store, "5000-0", "first")
    await add_entry(store, "5001-0", "lost")
    async with following(Revocations(breaking, FakeClock())) as view:
        await until(lambda: "lost" in view)
        async with breaking.broken():
            await store.execute("DEL", store.key("revocations"))
            await add_entry(store, "5000-5", "unheard")
            await add_entry(store, "5001-0", "another")
        await until(lambda: "unheard" in view and "another" in view)


async def test_what_could_not_be_announced_is_announced_when_redis_is_heard_again(
    store: Store, breaking: BreakingStore
) -> None:
    """Also when a first try of that fails."""
    stream = store.key("revocations")
    await Revocations(store, FakeClock()).announce(("first",))
    async with following(Revocations(breaking, FakeClock())) as view:
        await until(lambda: "first" in view)
        run, tries = breaking.run, 0

        async def fail_twice(*arguments: Any, **options: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries <= 2:
                raise StoreUnavailable("CONNECTION")
            return await run(*arguments, **options)

        async with breaking.broken():
            breaking.run = fail_twice  # type: ignore[method-assign]
            with pytest.raises(StoreUnavailable):
                await view.announce(("only-here",))
        await until(lambda: view.counters["announced_again"] > 0)
        await asyncio.sleep(2 * AGAIN_SOON_SECONDS)
        assert view.counters["announced_again"] == 1
    assert [fields[b"sid"] for _, fields in await store.read_stream(stream, "0-0", 9, wait=False)] == [
        b"first",
        b"only-here",
    ]


async def test_what_redis_has_lost_is_noticed_though_the_reading_breaks_off(
    store: Store, breaking: BreakingStore
) -> None:
    stream = store.key("revocations")
    await Revocations(store, FakeClock()).announce(("lost", *(new_family_id() for _ in range(150))))
    async with following(Revocations(breaking, FakeClock())) as view:
        await until(lambda: "lost" in view)
        async with breaking.broken():
            entries = await store.read_stream(stream, "0-0", 200, wait=False)
            await store.execute("DEL", stream)
            for _, fields in entries[1:-1]:
                await store.execute("XADD", stream, "*", "sid", fields[b"sid"])
            breaking.breaks_at_page = 3
        await until(lambda: view.counters["announced_again"] > 0)
    assert breaking.breaks_at_page == 0
    assert await store.execute("XLEN", stream) == 151


async def test_what_redis_has_lost_is_announced_though_a_break_comes_first(
    store: Store, breaking: BreakingStore
) -> None:
    stream, monotonic = store.key("revocations"), FakeClock()
    await Revocations(store, FakeClock()).announce(("lost", "last"))
    async with following(Revocations(breaking, FakeClock(), monotonic)) as view:
        await until(lambda: "last" in view)
        async with breaking.broken():
            await store.execute("DEL", stream)
            await Revocations(store, FakeClock()).announce(("new",))
        await until(lambda: any(page[0] == BEGINNING[0] for page in breaking.pages[:-1]))  # read as a whole
        async with breaking.broken():
            pass
        await until(lambda: len(breaking.pages) > 0)

        def is_announced_in_time() -> bool:
            monotonic.now += 1
            return view.counters["announced_again"] > 0

        await until(is_announced_in_time)
    assert await store.execute("XLEN", stream) == 3


async def test_what_redis_has_is_not_announced_again_though_its_clock_went_back(
    store: Store, breaking: BreakingStore
) -> None:
    """So that all it numbers is lower than what was heard before."""
    stream = store.key("revocations")
    await add_entry(store, "9999999999999-0", "high")
    async with following(Revocations(breaking, FakeClock())) as view:
        await until(lambda: "high" in view)
        await store.execute("DEL", stream)
        await view.announce(("low",))
        await until(lambda: view.counters["announced_again"] > 0)  # of what was numbered high
        async with breaking.broken():
            pass
        await asyncio.sleep(RECONNECT_DELAY_SECONDS + 2 * AGAIN_SOON_SECONDS)
        assert view.counters["announced_again"] == 1
    assert await store.execute("XLEN", stream) == 2


async def test_redis_away_is_told_and_the_revocation_holds_here() -> None:
    store = Store(f"redis://127.0.0.1:{free_port()}/0", "gw:")
    revocations = Revocations(store, FakeClock())
    with pytest.raises(StoreUnavailable):
        await revocations.announce(("a-family",))
    assert "a-family" in revocations
    async with following(revocations):
        assert not await revocations.wait_until_read(0.3)
    await store.close()


async def test_an_entry_is_forgotten_when_no_access_token_can_be_left_and_never_before(store: Store) -> None:
    clock = FakeClock()
    async with following(Revocations(store, clock)) as view:
        announcer = Revocations(store, clock)
        await announcer.announce(("a-family",))
        await until(lambda: "a-family" in view)
        await view.announce(("another-family",))
        await heard_by(view, announcer)
        for _ in range(LONGEST_ACCESS_TOKEN_LIFE_SECONDS // 400):
            clock.now += 400
            await heard_by(view, announcer)
            assert {"a-family" in view, "another-family" in view} == {True}
        clock.now += FORGOTTEN_AFTER_SECONDS - LONGEST_ACCESS_TOKEN_LIFE_SECONDS - 1
        await heard_by(view, announcer)
        assert {"a-family" in view, "another-family" in view} == {True}
        clock.now += 61
        await until(lambda: "a-family" not in view and "another-family" not in view)
        # What was announced in between stays.
        await heard_by(view, announcer)


async def test_a_clock_that_goes_back_forgets_nothing(store: Store) -> None:
    clock = FakeClock()
    async with following(Revocations(store, clock)) as view:
        await view.announce(("a-family",))
        await heard_by(view, Revocations(store, clock))
        clock.now -= 300
        await heard_by(view, Revocations(store, clock))
        assert "a-family" in view


async def test_the_stream_keeps_an_hour_whatever_the_lifetime_of_access_tokens_is(store: Store) -> None:
    seconds, _ = await store.execute("TIME")
    stream = store.key("revocations")
    for age, family_id in ((3700, "old"), (3661, "just-old"), (3650, "young"), (0, "new")):
        await store.execute("XADD", stream, f"{(int(seconds) - age) * 1000}-0", "sid", family_id)
    await Revocations(store, FakeClock()).announce(("newest",))
    entries = await store.read_stream(stream, "0-0", 100, wait=False)
    assert [fields[b"sid"] for _, fields in entries] == [b"young", b"new", b"newest"]


async def test_a_follower_survives_the_death_of_redis_and_reads_from_the_beginning(
    own_redis: Callable[..., RedisServer],
) -> None:
    """A server that took over may have lost entries, and may number new ones below those that were read."""
    server = own_redis()
    store = Store(server.url, "gw:")
    clock = FakeClock()
    async with following(Revocations(store, clock)) as view:
        await view.wait_until_read(2)
        await heard_by(view, Revocations(store, clock))
        await view.announce(("lost-by-redis",))
        server.kill()
        await asyncio.sleep(0.3)
        for appendonly in server.directory.rglob("appendonlydir"):
            shutil.rmtree(appendonly)
        server.start()
        await store.execute("XADD", store.key("revocations"), "1-1", "sid", "numbered-low")
        seconds = await until(lambda: "numbered-low" in view)
        print(f"heard again {seconds * 1000:.0f} ms after Redis was back")
        assert seconds < 1.0
        assert "lost-by-redis" in view
        assert await heard_by(view, Revocations(store, clock)) < 1.0
    await store.close()


async def test_a_view_tells_when_it_has_not_heard_the_stream_for_long(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = Store(server.url, "gw:")
    monotonic = FakeClock()
    async with following(Revocations(store, FakeClock(), monotonic)) as view:
        assert view.lag_seconds == float("inf")
        await view.wait_until_read(2)
        assert view.is_current
        server.kill()
        await asyncio.sleep(0.1)
        current = []
        for seconds in (int(STALE_AFTER_SECONDS) - 1, 1, 1):
            monotonic.now += seconds
            current.append(view.is_current)
        assert current == [True, False, False]
        assert view.was_read
        assert view.lag_seconds == STALE_AFTER_SECONDS + 1
        await asyncio.sleep(2 * RECONNECT_DELAY_SECONDS)
        server.start()
        assert await until(lambda: view.is_current) < 1.0
        assert view.lag_seconds == 0
    await store.close()


async def test_a_follower_ends_when_it_is_told_to(store: Store) -> None:
    """In whatever it is doing at that moment: else a gateway would not stop."""
    await Revocations(store, FakeClock()).announce(tuple(new_family_id() for _ in range(1500)))
    for turns in range(4):
        view = Revocations(store, FakeClock())
        follower = asyncio.create_task(view.follow())
        await view.wait_until_read(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        follower.cancel()
        done, _ = await asyncio.wait([follower], timeout=1)
        assert done == {follower}


async def test_announcing_works_when_redis_is_full(own_redis: Callable[..., RedisServer]) -> None:
    """The first ever, too."""
    server = own_redis()
    store = Store(server.url, "gw:")
    server.command("CONFIG", "SET", "maxmemory", "1")
    assert server.command("SET", "a", "b").startswith(b"-OOM")
    async with following(Revocations(store, FakeClock())) as view:
        assert await heard_by(view, Revocations(store, FakeClock())) < 1.0
    await store.close()


async def test_an_entry_that_nobody_can_read_stops_nobody(store: Store) -> None:
    """Somebody else wrote into the stream, or there is something else in its place."""
    stream = store.key("revocations")
    await store.execute("XADD", stream, "*", b"\xff", b"\xfe\xff", "sid", "a-family")
    async with following(Revocations(store, FakeClock())) as view:
        await until(lambda: "a-family" in view)
        await store.execute("DEL", stream)
        await store.execute("SET", stream, "no stream")
        with pytest.raises(StoreUnavailable):
            await Revocations(store, FakeClock()).announce(("another-family",))
        await store.execute("DEL", stream)
        assert await heard_by(view, Revocations(store, FakeClock())) < 1.0


async def add_entry(store: Store, entry_id: str, family_id: str) -> None:
    await store.execute("XADD", store.key("revocations"), entry_id, "sid", family_id)


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_a_stream_that_lost_its_end_and_numbers_lower_is_heard_without_any_break(store: Store, kept: int) -> None:
    """As a server that took over with less entries and a clock behind, while the connection looks the same."""
    async with following(Revocations(store, FakeClock())) as view:
        for number in range(3):
            await add_entry(store, f"{5000 + number}-0", f"family-{number}")
        await until(lambda: "family-2" in view)
        await asyncio.sleep(0.02)
        await store.execute("DEL", store.key("revocations"))
        for number in range(kept):
            await add_entry(store, f"{5000 + number}-0", f"family-{number}")
        await add_entry(store, "5001-7", "low")
        seconds = await until(lambda: "low" in view)
        await add_entry(store, "5001-8", "low-again")
        await add_entry(store, "9000-0", "high")
        seconds = max(seconds, await until(lambda: "low-again" in view and "high" in view))
    print(f"heard {seconds * 1000:.0f} ms after it was added, at most")
    assert seconds < 1.0


async def test_entries_that_were_lost_between_two_that_are_heard_are_noticed(store: Store) -> None:
    """A low one and then a high one, in one step: the high one alone tells that something is amiss."""
    async with following(Revocations(store, FakeClock())) as view:
        await add_entry(store, "5000-0", "first")
        await until(lambda: "first" in view)
        await asyncio.sleep(0.02)
        rewrite = load_script("revocation_announce")
        text = (
            "redis.call('DEL', KEYS[1]) redis.call('XADD', KEYS[1], '4000-0', 'sid', 'low') "
            "return redis.call('XADD', KEYS[1], '6000-0', 'sid', 'high')"
        )
        sha1 = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        await store.run(replace(rewrite, name="of_the_test", text=text, sha1=sha1), [store.key("revocations")])
        assert await until(lambda: "low" in view and "high" in view) < 1.0


async def test_a_view_that_has_read_everything_reads_nothing_twice(redis_server: RedisServer, store: Store) -> None:
    """Else each announcement would cost the whole stream."""
    prompt = Store(redis_server.url, store.prefix, waits_for_confirmation=False)  # a view reads twice a second anyhow
    async with following(Revocations(store, FakeClock())) as view:
        announcer = Revocations(prompt, FakeClock())
        await announcer.announce(tuple(new_family_id() for _ in range(200)))
        await heard_by(view, announcer)
        before = await reads(store)
        rounds = 20
        for _ in range(rounds):
            await heard_by(view, announcer)
        after = await reads(store)
        print(f"{rounds} announcements: {after - before} reads of the stream")
        assert after - before <= 3 * rounds
    await prompt.close()


async def reads(store: Store) -> int:
    """Give how many reads of streams the server has counted."""
    stats = await store.execute("INFO", "commandstats")
    return int(stats["cmdstat_xread"]["calls"])


async def test_what_redis_has_lost_is_announced_again_to_a_gateway_that_starts_later(
    own_redis: Callable[..., RedisServer],
) -> None:
    """By those that heard it before, once, and few times however many they are."""
    server = own_redis()
    gateways = 5
    stores = [Store(server.url, "gw:") for _ in range(gateways)]
    family_ids = tuple(new_family_id() for _ in range(100))
    async with AsyncExitStack() as stack:
        views = [await stack.enter_async_context(following(Revocations(store, FakeClock()))) for store in stores]
        await views[0].announce(family_ids)
        for view in views:
            await until(lambda view=view: all(family_id in view for family_id in family_ids))  # type: ignore[misc]
        server.kill()
        for appendonly in server.directory.rglob("appendonlydir"):
            shutil.rmtree(appendonly)
        server.start()
        late_store = Store(server.url, "gw:")
        late = await stack.enter_async_context(following(Revocations(late_store, FakeClock())))
        seconds = await until(lambda: all(family_id in late for family_id in family_ids))
        await asyncio.sleep(ANNOUNCED_AGAIN_WITHIN_SECONDS + 0.7)
        length = await late_store.execute("XLEN", "gw:revocations")
        again = sum(view.counters["announced_again"] for view in views)
        print(
            f"{len(family_ids)} lost entries: known to a new gateway {seconds:.1f} s after the start of Redis; "
            f"{gateways} gateways announced {again}, the stream has {length}"
        )
        assert seconds < ANNOUNCED_AGAIN_WITHIN_SECONDS + 1.5
        assert len(family_ids) <= again == length <= gateways * len(family_ids)
        assert late.counters["announced_again"] == 0
        server.kill()
        server.start()
        await asyncio.sleep(ANNOUNCED_AGAIN_WITHIN_SECONDS + 1.0)
        assert await late_store.execute("XLEN", "gw:revocations") == length, "nothing was lost, nothing is announced"
    for store in (*stores, late_store):
        await store.close()


async def test_what_the_stream_dropped_as_too_old_is_not_announced_again(store: Store) -> None:
    """Nor does reading it again prolong what is known."""
    clock = FakeClock()
    seconds, _ = await store.execute("TIME")
    await add_entry(store, f"{(int(seconds) - 3500) * 1000}-0", "old")
    async with following(Revocations(store, clock)) as view:
        await until(lambda: "old" in view)
        await store.execute("DEL", store.key("revocations"))  # as trimmed: the next entry is 3700 s younger
        await add_entry(store, f"{(int(seconds) + 200) * 1000}-0", "new")
        await until(lambda: "new" in view)
        await asyncio.sleep(ANNOUNCED_AGAIN_WITHIN_SECONDS + 0.7)
        assert view.counters["announced_again"] == 0
        assert await store.execute("XLEN", store.key("revocations")) == 1
        assert "old" in view


async def test_an_entry_that_is_read_again_is_no_news_but_one_that_is_announced_again_is(store: Store) -> None:
    clock = FakeClock()
    async with following(Revocations(store, clock)) as view:
        await add_entry(store, "5000-0", "read-again")
        await add_entry(store, "5001-0", "announced-again")
        await until(lambda: "announced-again" in view)
        clock.now += 3000
        await store.execute("XDEL", store.key("revocations"), "5001-0")  # so that all is read from the beginning
        await add_entry(store, "5002-0", "announced-again")
        await heard_by(view, Revocations(store, clock))
        clock.now += 700
        await until(lambda: "read-again" not in view)
        assert "announced-again" in view


async def test_a_view_may_be_asked_for_so_long_and_no_longer_when_there_is_a_limit(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    store, monotonic = Store(server.url, "gw:"), FakeClock()
    limited = Revocations(store, FakeClock(), monotonic, max_lag_seconds=10)
    unlimited = Revocations(store, FakeClock(), monotonic)
    assert not limited.may_be_asked
    assert not unlimited.may_be_asked
    async with following(limited), following(unlimited):
        await limited.wait_until_read(2)
        await unlimited.wait_until_read(2)
        server.kill()
        await asyncio.sleep(0.1)
        allowed = []
        for _ in range(4):
            allowed.append((limited.may_be_asked, unlimited.may_be_asked))
            monotonic.now += 5
        assert allowed == [(True, True), (True, True), (True, True), (False, True)]
        await until(lambda: limited.counters["unheard"] == 1)
        server.start()
        assert await until(lambda: limited.may_be_asked) < 1.0
    await store.close()


USER = "usr_" + "A" * 22


def cut_off(second: int, kept: str = "", subject: str = USER) -> str:
    return f"{subject} {second} {kept}"


async def test_a_cut_off_ends_the_sessions_up_to_its_second_but_for_the_one_that_is_kept(store: Store) -> None:
    """Here at once, elsewhere within a second, and at a gateway that starts later."""
    announcer = Revocations(store, FakeClock())
    async with following(Revocations(store, FakeClock())) as view:
        assert await view.wait_until_read(2)
        await announcer.announce(("a-family", cut_off(1000, "kept")))
        seconds = await until(lambda: view.has_ended(USER, "another", 1000))
        assert seconds < 1.0
        async with following(Revocations(store, FakeClock())) as late:
            assert await late.wait_until_read(2)
            for each in (announcer, view, late):
                assert each.has_ended(USER, "a-family", 1001)
                assert each.has_ended(USER, "another", 0)
                assert each.has_ended(USER, "another", 1000)
                assert not each.has_ended(USER, "another", 1001)
                assert not each.has_ended(USER, "kept", 1000)
                assert not each.has_ended("usr_" + "B" * 22, "another", 1000)
    entries = await store.read_stream(store.key("revocations"), "0-0", 9, wait=False)
    assert [fields for _, fields in entries] == [{b"sid": b"a-family"}, {b"sub": cut_off(1000, "kept").encode()}]


@pytest.mark.parametrize(
    ("first", "second", "ended", "alive"),
    [
        ((1000, "a"), (1001, ""), [("a", 1001), ("b", 1001)], [("a", 1002)]),
        ((1000, "a"), (1001, "b"), [("a", 1001)], [("b", 1001), ("b", 1000)]),
        ((1000, "a"), (1000, "a"), [("b", 1000)], [("a", 1000)]),
        ((1000, "a"), (1000, "b"), [("a", 1000), ("b", 1000)], [("b", 1001)]),
        ((1000, "a"), (1000, ""), [("a", 1000)], [("a", 1001)]),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
async def test_of_several_cut_offs_each_holds(
    first: tuple[int, str],
    second: tuple[int, str],
    ended: list[tuple[str, int]],
    alive: list[tuple[str, int]],
    is_turned: bool,
    store: Store,
) -> None:
    """In whatever order they are heard."""
    view = Revocations(store, FakeClock())
    for one in (second, first) if is_turned else (first, second):
        await view.announce((cut_off(*one),))
    assert all(view.has_ended(USER, *session) for session in ended)
    assert not any(view.has_ended(USER, *session) for session in alive)


async def test_a_cut_off_is_forgotten_when_no_access_token_can_be_left_and_never_before(store: Store) -> None:
    clock = FakeClock()
    async with following(Revocations(store, clock)) as view:
        announcer = Revocations(store, clock)
        await announcer.announce((cut_off(1000, "kept"),))
        await until(lambda: view.has_ended(USER, "another", 1000))
        for seconds in (FORGOTTEN_AFTER_SECONDS - 1, 1 + 60):
            clock.now += seconds
            await announcer.announce((cut_off(5, subject="usr_" + "B" * 22),))
            await heard_by(view, announcer)
            assert view.has_ended(USER, "another", 1000) is (seconds > 61)
        assert view.has_ended("usr_" + "B" * 22, "another", 5)


async def test_a_cut_off_that_redis_has_lost_is_announced_again(store: Store, breaking: BreakingStore) -> None:
    stream = store.key("revocations")
    await Revocations(store, FakeClock()).announce((cut_off(1000, "kept"), "last"))
    async with following(Revocations(breaking, FakeClock())) as view:
        await until(lambda: "last" in view)
        async with breaking.broken():
            await store.execute("DEL", stream)
        await until(lambda: view.counters["announced_again"] == 2)
        async with following(Revocations(store, FakeClock())) as late:
            await until(lambda: late.has_ended(USER, "another", 1000))
            assert not late.has_ended(USER, "kept", 1000)


@pytest.mark.parametrize("text", [USER, f"{USER} x ", f"{USER} 1", f"{USER} -1 ", f"{USER} 1 a b", f" 1 {USER}", "  "])
async def test_what_is_no_cut_off_ends_nothing(text: str, store: Store) -> None:
    """Somebody else wrote it."""
    await store.execute("XADD", store.key("revocations"), "*", "sub", text)
    async with following(Revocations(store, FakeClock())) as view:
        assert await view.wait_until_read(2)
        assert not view.has_ended(USER, "a-family", 0)
