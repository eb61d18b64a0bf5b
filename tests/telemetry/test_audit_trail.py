"""The audit trail: every event told is an entry or counted as lost, none is an entry twice, and nobody waits for it."""

import asyncio
import itertools
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.store.store import Script, Store
from gateway.telemetry import audit_trail
from gateway.telemetry.audit_trail import MAX_TOGETHER, MAX_UNWRITTEN, AuditTrail
from gateway.telemetry.events import KEY_IMPORTED, LOGIN_SUCCEEDED, RATE_LIMITED, USER_ADDED
from tests.conftest import OpenStore
from tests.harness import SECRET, RedisServer, free_port, until

pytestmark = pytest.mark.redis

MANY = 100_000
PAUSE_EVERY = 100
USER = "usr_" + "x" * 22
PICK = """
local entries, found = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 5000), {}
if #entries == 0 then return false end
for _, entry in ipairs(entries) do
  for i = 1, #entry[2], 2 do
    if entry[2][i] == ARGV[2] then found[#found + 1] = entry[2][i + 1] end
  end
end
return {entries[#entries][1], table.concat(found, '\\n')}
"""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Write no lines: those are for other tests, and pytest would keep every one."""
    logger = logging.getLogger("gateway.audit")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


@asynccontextmanager
async def trail_on(store: Store) -> AsyncIterator[AuditTrail]:
    trail = AuditTrail(store, KeyChain.of(SECRET))
    yield trail
    await trail.close()


async def values(store: Store, name: str) -> list[str]:
    """Give one member of every entry of the stream, the oldest first; Redis picks it, which is quick."""
    found: list[str] = []
    start = "-"
    while page := await store.execute("EVAL", PICK, 1, store.key("audit"), start, name):
        start = "(" + page[0].decode()
        found += page[1].decode().split("\n")
    return found


async def tell(trail: AuditTrail, numbers: range) -> None:
    """Tell events as fast as it goes, so that all else has its turn now and then."""
    for number in numbers:
        trail.tell(LOGIN_SUCCEEDED, sub=USER, sid=f"sid-{number}", address="192.0.2.7", request_id=f"{number:016x}")
        if number % PAUSE_EVERY == 0:
            await asyncio.sleep(0)


async def settled(trail: AuditTrail) -> None:
    await until(lambda: not trail._unwritten and not trail._batch, 30)


async def test_many_events_are_written_quickly_and_in_their_order(store: Store) -> None:
    async with trail_on(store) as trail:
        begun = time.monotonic()
        for start in range(0, 20_000, MAX_UNWRITTEN // 2):
            await tell(trail, range(start, start + MAX_UNWRITTEN // 2))
            await settled(trail)
        seconds = time.monotonic() - begun
    print(f"20,000 events in {seconds:.1f} s")
    assert await values(store, "sid") == [f"sid-{number}" for number in range(20_000)]
    assert (trail.lost, trail.told) == (0, {"login_succeeded": 20_000})
    assert seconds < 20


@pytest.mark.one_server("is killed, and stopped, in the middle of it")
async def test_what_a_dying_redis_costs_is_counted_and_nothing_is_there_twice(
    own_redis: Callable[..., RedisServer], open_store: OpenStore
) -> None:
    """A hundred thousand events, while Redis is killed and starts again, and is stopped and goes on."""
    server = own_redis()
    store = open_store(server.url)
    begun = time.monotonic()
    async with trail_on(store) as trail:
        await tell(trail, range(0, 20_000))
        server.kill()
        await tell(trail, range(20_000, 45_000))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await until(lambda: not trail._unwritten, 30)
        await tell(trail, range(45_000, 55_000))
        await asyncio.sleep(0.01)
        server.signal(signal.SIGSTOP)
        await tell(trail, range(55_000, 80_000))
        await asyncio.sleep(1.5)  # longer than a call waits: what it wrote is written when it goes on
        server.signal(signal.SIGCONT)
        await tell(trail, range(80_000, MANY))
        await settled(trail)
    found = await values(store, "sid")
    seconds = time.monotonic() - begun
    print(f"{MANY} told: {len(found)} entries, {trail.lost} lost, in {seconds:.1f} s")
    assert len(found) == len(set(found))
    assert found == sorted(found, key=lambda sid: int(sid.removeprefix("sid-")))
    assert len(found) + trail.lost == MANY == sum(trail.told.values())
    assert 0 < trail.lost < MANY


@pytest.mark.one_server("is restarted")
async def test_what_waits_is_written_when_redis_is_back_without_another_event(
    own_redis: Callable[..., RedisServer], open_store: OpenStore
) -> None:
    server = own_redis()
    store = open_store(server.url)
    async with trail_on(store) as trail:
        server.kill()
        trail.tell(USER_ADDED, sub=USER)
        await asyncio.sleep(2)
        await asyncio.to_thread(server.start)
        await until(lambda: not trail._batch and not trail._unwritten, 2)
        assert await values(store, "event") == ["user_added"]
        assert trail.lost == 0


class Lossy:
    """A store whose next answers get lost on the way: Redis has done what it was told."""

    def __init__(self, store: Store, losses: int) -> None:
        self._store, self.losses = store, losses
        self.sent: list[tuple[Any, ...]] = []

    def key(self, name: str) -> str:
        return self._store.key(name)

    async def run(self, script: Script, keys: list[str], *arguments: Any) -> Any:
        self.sent.append(arguments)
        reply = await self._store.run(script, keys, *arguments)
        if self.losses:
            self.losses -= 1
            raise StoreUnavailable("TIMEOUT")
        return reply


async def test_a_batch_whose_answer_was_lost_is_not_written_again_though_others_wrote_meanwhile(store: Store) -> None:
    lossy = Lossy(store, 2)
    async with trail_on(lossy) as trail, trail_on(store) as others:  # type: ignore[arg-type]
        await tell(trail, range(3))
        await until(lambda: lossy.losses < 2)
        await tell(others, range(1000, 1600))
        await settled(trail)
        await tell(trail, range(3, 5))
        await settled(trail)
    own = [sid for sid in await values(store, "sid") if len(sid) < 8]
    assert own == [f"sid-{number}" for number in range(5)]


async def test_a_batch_that_comes_once_more_after_its_repetition_is_not_written(store: Store) -> None:
    """As one that was on the way when its sender had given up: it finds what was written instead of it."""
    lossy = Lossy(store, 0)
    async with trail_on(lossy) as trail:  # type: ignore[arg-type]
        await tell(trail, range(2))
        await settled(trail)
        await tell(trail, range(2, 4))
        await settled(trail)
        for arguments in lossy.sent[-1:]:
            await store.run(trail._append, [store.key("audit")], *arguments)
    assert await values(store, "sid") == [f"sid-{number}" for number in range(4)]


async def test_equal_events_of_one_writer_are_entries_of_their_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "rfc3339", lambda *_: "2026-01-01T00:00:00.000Z")
    async with trail_on(store) as trail:
        for _ in range(3):
            trail.tell(USER_ADDED, sub=USER)
            await settled(trail)
        for _ in range(MAX_TOGETHER + 1):
            trail.tell(USER_ADDED, sub=USER)
    assert len(await values(store, "event")) == 3 + MAX_TOGETHER + 1


@pytest.mark.one_server("never answers")
async def test_at_the_end_redis_is_not_waited_for_long_and_what_is_lost_is_told(
    own_redis: Callable[..., RedisServer], open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis()
    trail = AuditTrail(open_store(server.url), KeyChain.of(SECRET))
    server.signal(signal.SIGSTOP)
    for _ in range(3):
        trail.tell(USER_ADDED, sub=USER)
    begun = time.monotonic()
    await trail.close()
    assert time.monotonic() - begun < 2
    assert trail.lost == 3
    [record] = [record for record in caplog.records if record.name == "gateway.audit"]
    assert (record.levelname, record.fields["lost"]) == ("ERROR", 3)  # type: ignore[attr-defined]


async def test_losses_are_told_once_a_minute(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "MAX_UNWRITTEN", 5)
    monkeypatch.setattr(audit_trail, "LOSSES_TOLD_SECONDS", 0.4)
    trail = AuditTrail(open_store(f"redis://127.0.0.1:{free_port()}/0"), KeyChain.of(SECRET))

    def told() -> list[int]:
        return [record.fields["lost"] for record in caplog.records if record.name == "gateway.audit"]  # type: ignore[attr-defined]

    for _ in range(105):
        trail.tell(USER_ADDED, sub=USER)
    assert told() == [1]
    await until(lambda: len(told()) == 2)
    assert told() == [1, 100]
    await asyncio.sleep(1)
    assert told() == [1, 100]
    await trail.close()
    assert told() == [1, 100, 105]


async def test_of_the_limited_the_stream_gets_one_a_second(store: Store) -> None:
    now = itertools.count(step=0.3)
    trail = AuditTrail(store, KeyChain.of(SECRET), lambda: next(now))
    for _ in range(10):
        trail.tell(RATE_LIMITED, "login", address="192.0.2.7")
    await trail.close()
    assert len(await values(store, "event")) < 5
    assert trail.told == {"rate_limited": 10}
    assert trail.lost == 0


@pytest.mark.parametrize(
    ("reason", "facts"), [("no-such-reason", {}), ("", {"email_address": "a"}), ("", {"sid": "not of a key"})]
)
async def test_nothing_is_told_that_the_catalogue_does_not_have(
    store: Store, reason: str, facts: dict[str, str]
) -> None:
    async with trail_on(store) as trail:
        with pytest.raises(ValueError, match="key_imported"):
            trail.tell(KEY_IMPORTED, reason, kid="a", **facts)
    assert (trail.told, await values(store, "event")) == ({}, [])
