"""What was lately changed of an account."""

import pytest

from gateway.accounts.changes import KEPT, Change, Changes
from gateway.accounts.users import Users
from gateway.store.store import Store
from tests.clocks import FakeClock

pytestmark = [pytest.mark.redis, pytest.mark.anyio]


async def test_the_latest_are_kept_and_come_first(store: Store) -> None:
    clock = FakeClock()
    changes, user = Changes(store, clock), await Users(store, clock).add("ann@example.com", "Ann", (), "a hash")
    assert await changes.latest(user.user_id) == ()
    for _ in range(KEPT):
        clock.now += 1
        await changes.note(user.user_id, "password")
    clock.now += 1
    last = Change(clock.now, "totp", "sid", "192.0.2.7", "Firefox on Linux")
    await changes.note(user.user_id, last.what, sid=last.sid, address=last.address, device=last.device)
    found = await changes.latest(user.user_id)
    assert found[0] == last
    assert found[1:] == tuple(Change(clock.now - ago, "password") for ago in range(1, KEPT))


async def test_one_that_is_sent_twice_is_kept_once(store: Store) -> None:
    clock = FakeClock()
    changes, user = Changes(store, clock), await Users(store, clock).add("ann@example.com", "Ann", (), "a hash")
    await changes.note(user.user_id, "totp")
    await changes.note(user.user_id, "totp")
    assert len(await changes.latest(user.user_id)) == 1


async def test_of_nobody_nothing_is_kept(store: Store) -> None:
    changes, users = Changes(store, FakeClock()), Users(store, FakeClock())
    await changes.note("usr_" + "x" * 22, "password")
    assert await changes.latest("usr_" + "x" * 22) == ()
    assert [user async for user in users.all()] == []
