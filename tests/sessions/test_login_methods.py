"""How a login was made stays with its session, in bits of the record that were free."""

from collections.abc import Awaitable, Callable
from itertools import product

import pytest

from gateway.accounts.users import Users
from gateway.errors import BrowserSessionEnded, InvalidCredentials
from gateway.sessions.browser import SessionCookie
from gateway.sessions.families import Opened, RefreshFamilies, new_family_id
from gateway.sessions.login_methods import (
    BY_PASSKEY_IN_HARDWARE,
    BY_PASSWORD,
    BY_PASSWORD_AND_CODE,
    BY_SYNCED_PASSKEY,
    RECOVERY,
    pack_methods,
    unpack_methods,
    was_recovery,
)
from gateway.sessions.revocations import Revocations
from gateway.sessions.session_looks import SessionLooks
from gateway.store.store import Store
from tests.sessions.test_families import KEYCHAIN, add_user, families_key, make_families, read_record, rewrite

WAYS = list(product((BY_PASSWORD, BY_PASSWORD_AND_CODE, BY_PASSKEY_IN_HARDWARE, BY_SYNCED_PASSKEY), (False, True)))
End = Callable[[RefreshFamilies, Store, str, str], Awaitable[object]]


@pytest.mark.parametrize(("amr", "by_recovery_code"), WAYS)
def test_what_is_packed_is_what_is_unpacked(amr: tuple[str, ...], by_recovery_code: bool) -> None:
    bits = pack_methods(amr, by_recovery_code=by_recovery_code)
    assert (unpack_methods(bits), was_recovery(bits)) == (amr, by_recovery_code)
    assert bits % 2 == 0, "that bit says that the family has ended"
    assert bits < 64


def test_every_way_has_bits_of_its_own_and_a_password_has_none() -> None:
    assert len({pack_methods(amr, by_recovery_code=recovery) for amr, recovery in WAYS}) == len(WAYS)
    assert pack_methods(BY_PASSWORD) == 0
    assert unpack_methods(RECOVERY) == BY_PASSWORD


@pytest.mark.parametrize("bits", range(0, 256, 2))
def test_bits_that_are_not_known_here_change_nothing(bits: int) -> None:
    assert unpack_methods(bits) == unpack_methods(bits & 0x3F)


@pytest.mark.parametrize("amr", [(), ("pwd", "mfa"), ("mfa", "otp", "pwd"), ("kba",)])
def test_no_login_is_made_in_another_way(amr: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no login"):
        pack_methods(amr)


async def opened(
    families: RefreshFamilies, user_id: str, amr: tuple[str, ...], *, by_recovery_code: bool = False
) -> Opened:
    return await families.open(
        user_id, 1, new_family_id(), "192.0.2.7", "curl", amr=amr, by_recovery_code=by_recovery_code
    )


def looks(store: Store) -> SessionLooks:
    return SessionLooks(store, KEYCHAIN, Revocations(store, lambda: 0), idle_ttl_seconds=3600)


@pytest.mark.redis
@pytest.mark.parametrize(("amr", "by_recovery_code"), WAYS)
async def test_the_methods_stay_with_the_session_whatever_is_done_with_it(
    store: Store, amr: tuple[str, ...], by_recovery_code: bool
) -> None:
    """Shows RFC 9700 4.14.2a, RFC 9068 2.2.1."""
    families, user_id = make_families(store), await add_user(store)
    family = await opened(families, user_id, amr, by_recovery_code=by_recovery_code)
    first = token = families.parse(family.refresh_token)
    for expected in ("rotated", "replayed", "rotated", "rotated"):
        rotation = await families.rotate(first if expected == "replayed" else token)
        token = families.parse(rotation.refresh_token)
        assert (rotation.outcome, rotation.amr) == (expected, amr)
    kept = await families.rotate(token, is_cookie=True)
    assert (kept.outcome, kept.amr) == ("kept", amr)
    [listed] = await families.list(user_id)
    assert (listed.amr, listed.by_recovery_code) == (amr, by_recovery_code)
    seen = await looks(store).look(SessionCookie(user_id, family.family_id, family.auth_time))
    assert seen.presence.amr == amr
    record = await read_record(store, token)
    assert record is not None
    assert len(record.packed()) <= 64
    assert record.ended == pack_methods(amr, by_recovery_code=by_recovery_code)


@pytest.mark.redis
async def test_a_session_of_a_release_before_there_were_methods_is_one_by_password(store: Store) -> None:
    families, user_id = make_families(store), await add_user(store)
    family = await opened(families, user_id, BY_PASSWORD)
    token = families.parse(family.refresh_token)
    await rewrite(store, token, ended=0)
    assert (await families.rotate(token)).amr == ("pwd",)


async def mark(families: RefreshFamilies, store: Store, user_id: str, family_id: str) -> object:
    return await families.mark(user_id, (family_id,))


async def mark_all(families: RefreshFamilies, store: Store, user_id: str, family_id: str) -> object:
    return await families.mark_all(user_id)


async def change_password(families: RefreshFamilies, store: Store, user_id: str, family_id: str) -> object:
    return await Users(store, lambda: 0).set_password(user_id, "another hash")


async def give_way(families: RefreshFamilies, store: Store, user_id: str, family_id: str) -> object:
    return await opened(make_families(store, max_per_user=1), user_id, BY_PASSWORD)


@pytest.mark.redis
@pytest.mark.parametrize("end", [mark, mark_all, change_password, give_way])
@pytest.mark.parametrize("amr", [BY_PASSWORD_AND_CODE, BY_PASSKEY_IN_HARDWARE])
async def test_a_mark_is_one_that_a_release_before_there_were_methods_knows(
    store: Store, amr: tuple[str, ...], end: End
) -> None:
    """That one takes a family for ended when the byte is 1, and not when it is 3."""
    families, user_id = make_families(store), await add_user(store)
    family = await opened(families, user_id, amr)
    await end(families, store, user_id, family.family_id)
    record = await read_record(store, families.parse(family.refresh_token))
    assert record is not None
    assert record.ended == 1
    assert family.family_id not in [one.family_id for one in await families.list(user_id)]
    with pytest.raises(BrowserSessionEnded):
        await looks(store).look(SessionCookie(user_id, family.family_id, family.auth_time))


@pytest.mark.redis
async def test_the_session_that_changes_the_password_lives_on_with_its_methods(store: Store) -> None:
    families, user_id = make_families(store), await add_user(store)
    family, other = [await opened(families, user_id, BY_SYNCED_PASSKEY) for _ in range(2)]
    revocations = await Users(store, lambda: 0).set_password(user_id, "another hash", keep_family=family.family_id)
    assert revocations[0] == other.family_id
    [listed] = await families.list(user_id)
    assert (listed.family_id, listed.amr) == (family.family_id, BY_SYNCED_PASSKEY)


@pytest.mark.redis
async def test_a_factor_that_was_taken_away_meanwhile_opens_no_session(store: Store) -> None:
    families, user_id = make_families(store), await add_user(store)
    factors_key = families_key(store, user_id).replace("families:", "factors:")
    await store.execute("HSET", factors_key, "fac_of_the_user", "a record")
    for factor_id in ("fac_of_the_user", ""):
        await families.open(user_id, 1, new_family_id(), "192.0.2.7", "curl", factor_id=factor_id)
    with pytest.raises(InvalidCredentials):
        await families.open(user_id, 1, new_family_id(), "192.0.2.7", "curl", factor_id="fac_of_another")
    await store.execute("DEL", factors_key)
    with pytest.raises(InvalidCredentials):
        await families.open(user_id, 1, new_family_id(), "192.0.2.7", "curl", factor_id="fac_of_the_user")
    assert len(await families.list(user_id)) == 2
