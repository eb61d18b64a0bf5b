"""The connection to Redis is reset at every byte of a command and of its reply (I1, I3, F3, T24)."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import pytest

from gateway.accounts.users import User, Users
from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.errors import RefreshTokenInvalid, RefreshTokenReused, StoreUnavailable
from gateway.sessions.families import RefreshFamilies, RefreshToken, Rotation, new_family_id
from gateway.store.store import Store
from tests.families.conftest import Tally
from tests.families.proxy import Fault, Proxy
from tests.families.records import Record, Records
from tests.harness import SECRET, RedisServer
from tests.scripts import load_script

LANES = 8
ATTEMPTS = 3  # how often the store sends a command at most
ROTATE = load_script("family_rotate").sha1.encode()
Side = Literal["request", "reply"]


@dataclass
class Lane:
    """A proxy of its own, and behind it the session of a user of its own."""

    proxy: Proxy
    families: RefreshFamilies
    records: Records
    keychain: KeyChain
    user: User
    family_id: str = ""

    async def begin(self) -> None:
        """Open a new session."""
        opened = await self.families.open(self.user.user_id, 1, new_family_id(), "2001:db8::1", "A device")
        self.family_id = opened.family_id

    @property
    def record(self) -> Record:
        """The record of the session."""
        return self.records.of(self.user.user_id)[self.family_id]

    def token(self, generation: int) -> str:
        """Give the one token that a generation has."""
        return RefreshToken(self.user.user_id, self.family_id, generation).format(self.keychain.current)

    async def rotate(self, generation: int) -> Rotation | None:
        """Present a generation; None when Redis did not answer."""
        try:
            return await self.families.rotate(RefreshToken(self.user.user_id, self.family_id, generation))
        except StoreUnavailable:
            return None


Lanes = Callable[[int], AbstractAsyncContextManager[list[Lane]]]


@pytest.fixture
def open_lanes(redis_server: RedisServer, make_proxy: Callable[[RedisServer], Proxy]) -> Lanes:
    """Give a context with lanes for a replay window."""

    @asynccontextmanager
    async def opened(window_seconds: int) -> AsyncIterator[list[Lane]]:
        prefix, keychain = f"t{secrets.token_hex(4)}:", KeyChain.of(SECRET, ())
        lanes, stores, records = [], [], Records(redis_server, prefix)
        for number in range(LANES):
            proxy = make_proxy(redis_server)
            store = Store(proxy.url, prefix)
            families = RefreshFamilies(
                store,
                keychain,
                idle_ttl_seconds=1000,
                absolute_ttl_seconds=2000,
                replay_window_seconds=window_seconds,
                max_per_user=50,
            )
            user = await Users(store, system_clock).add(f"{number}@example.com", "Name", ("staff",), "no password")
            lanes.append(Lane(proxy, families, records, keychain, user))
            stores.append(store)
        try:
            yield lanes
        finally:
            for store in stores:
                await store.close()
            records.close()

    return opened


@pytest.mark.parametrize("window_seconds", [60, 0])
async def test_a_reset_at_any_byte_of_a_rotation_advances_once_and_ends_nothing(
    open_lanes: Lanes, tally: Tally, window_seconds: int
) -> None:
    """Shows ASVS 2.3.3."""

    async def sweep(lane: Lane, first: int, side: Side, times: int) -> None:
        await lane.begin()
        for keep in itertools.count(first, LANES):
            await reset_once(lane, side, keep, times)
            if keep >= lane.proxy.cut_bytes:
                return

    async def reset_once(lane: Lane, side: Side, keep: int, times: int) -> None:
        before, injected = lane.record.generation, lane.proxy.injected
        what = f"{side} cut {times} times at byte {keep}"
        lane.proxy.arm(ROTATE, Fault(side, keep), times)
        rotation = await lane.rotate(before)
        lane.proxy.disarm()
        after = lane.record
        tally.add(resets=lane.proxy.injected - injected, tokens=rotation is not None, answers_503=rotation is None)
        tally.add(unhelped=int(times == 1 and rotation is None))
        tally.expect(after.ended == 0, f"{what}: the family was ended")
        for asked_again in range(ATTEMPTS):
            if rotation is not None:
                break
            if window_seconds == 0 and lane.record.generation == before + 1:
                # Nobody has the successor and the token is spent: asking again would be reuse. But the family lives.
                tally.add(advanced_unheard=1)
                return
            tally.add(unhelped=asked_again)
            rotation = await lane.rotate(before)
        tally.expect(lane.record.generation == before + 1, f"{what}: advanced by {lane.record.generation - before}")
        tally.expect(
            rotation is not None and rotation.refresh_token == lane.token(before + 1), f"{what}: another successor"
        )

    async with open_lanes(window_seconds) as lanes:
        sides: tuple[Side, ...] = ("request", "reply")
        for side, times in itertools.product(sides, (1, ATTEMPTS)):
            await asyncio.gather(*[sweep(lane, first, side, times) for first, lane in enumerate(lanes)])
            tally.add(**{f"bytes_of_{side}": lanes[0].proxy.cut_bytes if times == 1 else 0})
    # One reset is made good by sending again; only a machine starved of processors runs into the deadline of a call.
    tally.expect(tally.counts["unhelped"] <= tally.counts["resets"] // 100, "sending again did not help")
    tally.close()


async def test_a_reset_at_any_byte_of_its_reply_does_not_hide_that_a_token_was_reused(
    open_lanes: Lanes, tally: Tally
) -> None:
    async def sweep(lane: Lane, first: int) -> None:
        for keep in itertools.count(first, LANES):
            await lane.begin()
            for generation in range(2):
                await lane.rotate(generation)
            lane.proxy.arm(ROTATE, Fault("reply", keep))
            verdict = await told(lane)
            lane.proxy.disarm()
            tally.add(resets=1)
            tally.expect(verdict == "reused", f"reply cut at byte {keep}: told as {verdict}")
            tally.expect(await told(lane) == "revoked", f"reply cut at byte {keep}: told twice")
            if keep >= lane.proxy.cut_bytes:
                return

    async def told(lane: Lane) -> str:
        try:
            await lane.rotate(0)
        except RefreshTokenReused:
            return "reused"
        except RefreshTokenInvalid as error:
            return error.cause
        return "good"

    async with open_lanes(60) as lanes:
        await asyncio.gather(*[sweep(lane, first) for first, lane in enumerate(lanes)])
    tally.close()
