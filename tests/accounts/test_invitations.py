"""Invitations and resets: a code is good once, for a time, and until any password is set."""

import asyncio
import re
from collections import Counter
from typing import Any

import pytest

from gateway.accounts.invitations import INVITATION_TTL_SECONDS, Invitations, new_code
from gateway.accounts.users import User, Users
from gateway.errors import InvalidCredentials, InvitationSpent, RateLimited
from gateway.sessions.families import Opened, new_family_id
from gateway.state import Gateway
from gateway.store.store import Store
from tests.doubles import SendsTwice
from tests.harness import PASSWORD, RedisServer, in_gateway

pytestmark = pytest.mark.redis

NOW = 1_790_000_000
EMAIL = "ann@example.com"
ROUNDS, AT_ONCE = 25, 20
FAILURES_BEFORE_WAITING = 5


def parts_of(store: Store, **options: Any) -> tuple[Users, Invitations]:
    users = Users(store, lambda: NOW)
    return users, Invitations(store, users, **options)


async def invited(users: Users) -> User:
    return await users.add(EMAIL, "Ann Example", ("staff",), "")


async def outcome_of(invitations: Invitations, code: str, password_hash: str) -> str:
    """Give the hash that was set, or "spent"."""
    try:
        user, _ = await invitations.accept(code, password_hash)
    except InvitationSpent:
        return "spent"
    assert user.password_hash == password_hash
    return password_hash


async def contents(store: Store) -> bytes:
    """Give all keys that there are, with their values, as a dump has them."""
    everything = []
    async for key in store.scan("*"):
        command = "HGETALL" if ":user:" in key else "GET"
        everything.append(repr((key, await store.execute(command, key))).encode())
    return b"\n".join(everything)


async def log_in(gateway: Gateway, user: User) -> Opened:
    """Open a session, as a login does whose password was right."""
    async with gateway.guessing.login(user.email, None):
        return await gateway.families.open(
            user.user_id, user.password_version, new_family_id(), "192.0.2.1", "a device"
        )


def test_a_code_is_24_letters_and_digits_and_never_the_same() -> None:
    codes = {new_code() for _ in range(1000)}
    assert len(codes) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9]{24}", code) for code in codes)


async def test_a_code_is_good_once_and_sets_the_password(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    code = await invitations.make(user)
    accepted, _ = await invitations.accept(code, "a hash")
    assert accepted == await users.get(user.user_id)
    assert (accepted.password_hash, accepted.password_version) == ("a hash", 2)
    assert await outcome_of(invitations, code, "another") == "spent"
    assert await users.get(user.user_id) == accepted


async def test_looking_uses_nothing_up(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    code = await invitations.make(user)
    assert [await invitations.look(code) for _ in range(3)] == [user] * 3
    await invitations.accept(code, "a hash")
    assert await invitations.look(code) is None


async def test_a_code_that_was_used_is_not_kept(store: Store) -> None:
    users, invitations = parts_of(store)
    code = await invitations.make(await invited(users))
    assert len([key async for key in store.scan("once:*")]) == 1
    await invitations.accept(code, "a hash")
    assert [key async for key in store.scan("once:*")] == []


@pytest.mark.parametrize("code", ["", "A" * 24, "x" * 2048, "\ud800", "../*", "{a}", "0"])
async def test_an_unknown_code_is_good_for_nothing(store: Store, code: str) -> None:
    users, invitations = parts_of(store)
    await invitations.make(await invited(users))
    assert await invitations.look(code) is None
    assert await outcome_of(invitations, code, "a hash") == "spent"


async def test_what_else_is_kept_for_once_is_no_invitation(store: Store) -> None:
    users, invitations = parts_of(store, new_code=lambda: "code")
    user = await invited(users)
    await invitations.make(user)
    [key] = [key async for key in store.scan("once:*")]
    await store.execute("SET", key, f"login {user.user_id} 1")
    assert await invitations.look("code") is None


async def test_one_of_twenty_who_bring_a_code_at_once_sets_the_password(store: Store) -> None:
    violations = []
    for number in range(ROUNDS):
        users, invitations = parts_of(store)
        user = await users.add(f"ann{number}@example.com", "", (), "")
        code = await invitations.make(user)
        outcomes = await asyncio.gather(*(outcome_of(invitations, code, f"hash {i}") for i in range(AT_ONCE)))
        stored = await users.get(user.user_id)
        assert stored
        if (
            Counter(outcomes) != Counter({"spent": AT_ONCE - 1, stored.password_hash: 1})
            or stored.password_version != 2
        ):
            violations.append(outcomes)
    print(f"{ROUNDS} rounds of {AT_ONCE} requests with one code: {len(violations)} violations")
    assert violations == []


async def test_of_two_codes_of_one_user_at_once_one_sets_the_password(store: Store) -> None:
    users, invitations = parts_of(store)
    for number in range(ROUNDS):
        user = await users.add(f"ann{number}@example.com", "", (), "")
        codes = [await invitations.make(user) for _ in range(2)]
        outcomes = await asyncio.gather(*(outcome_of(invitations, code, f"hash of {code}") for code in codes))
        assert sorted(outcomes).count("spent") == 1, outcomes


async def test_two_codes_are_both_good_until_one_is_used(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    first, second = [await invitations.make(user) for _ in range(2)]
    assert (await invitations.look(first), await invitations.look(second)) == (user, user)
    await invitations.accept(first, "a hash")
    assert await outcome_of(invitations, second, "another") == "spent"


async def test_a_new_password_makes_earlier_codes_void_and_later_ones_are_good(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    earlier = await invitations.make(user)
    await users.set_password(user.user_id, "a hash")
    assert await invitations.look(earlier) is None
    assert await outcome_of(invitations, earlier, "another") == "spent"
    changed = await users.get(user.user_id)
    assert changed
    assert await outcome_of(invitations, await invitations.make(changed), "another") == "another"


async def test_a_hash_that_is_merely_renewed_leaves_codes_good(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await users.add(EMAIL, "", (), "a hash")
    code = await invitations.make(user)
    await users.renew_hash(user.user_id, "the same password, hashed anew", 1)
    assert await outcome_of(invitations, code, "another") == "another"


async def test_a_removed_user_has_no_code_and_who_gets_the_address_next_has_none_of_his(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    code = await invitations.make(user)
    await users.remove(user.user_id, user.email)
    assert await invitations.look(code) is None
    await invited(users)
    assert await outcome_of(invitations, code, "a hash") == "spent"


async def test_a_disabled_user_sets_no_password_until_enabled_again(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    code = await invitations.make(user)
    await users.set_active(user.user_id, False)
    assert await invitations.look(code) is None
    assert await outcome_of(invitations, code, "a hash") == "spent"
    await users.set_active(user.user_id, True)
    assert await outcome_of(invitations, code, "a hash") == "a hash"


async def test_a_code_is_over_after_its_time(store: Store) -> None:
    users, invitations = parts_of(store, ttl_seconds=1)
    code = await invitations.make(await invited(users))
    assert await invitations.look(code) is not None
    await asyncio.sleep(1.1)
    assert await invitations.look(code) is None
    assert await outcome_of(invitations, code, "a hash") == "spent"


async def test_a_code_lives_for_a_day(store: Store) -> None:
    users, invitations = parts_of(store)
    await invitations.make(await invited(users))
    [key] = [key async for key in store.scan("once:*")]
    assert 24 * 3600 == INVITATION_TTL_SECONDS
    assert INVITATION_TTL_SECONDS - 10 < await store.execute("PTTL", key) / 1000 <= INVITATION_TTL_SECONDS


async def test_no_code_is_in_redis(store: Store) -> None:
    users, invitations = parts_of(store)
    user = await invited(users)
    codes = [await invitations.make(user) for _ in range(5)]
    dump = await contents(store)
    assert user.user_id.encode() in dump
    assert [code for code in codes if code.encode() in dump] == []
    keys = [key.removeprefix(store.prefix) async for key in store.scan("once:*")]
    assert all(re.fullmatch(r"once:[0-9a-f]{64}", key) for key in keys)
    assert len(keys) == 5


async def test_an_answer_that_was_lost_on_the_way_from_redis_is_no_second_use(redis_server: RedisServer) -> None:
    store = SendsTwice(redis_server.url, f"twice-{new_code()}:")
    users, invitations = parts_of(store)
    user = await invited(users)
    accepted, _ = await invitations.accept(await invitations.make(user), "a hash")
    assert accepted == await users.get(user.user_id)
    await store.close()


def test_accepting_ends_all_sessions_unlocks_the_account_and_lets_in(gateway_env: dict[str, str]) -> None:
    async def work(gateway: Gateway) -> None:
        user = await gateway.users.add(EMAIL, "", (), await gateway.passwords.hash("the forgotten password"))
        opened = [await log_in(gateway, user) for _ in range(2)]
        for _ in range(FAILURES_BEFORE_WAITING):
            with pytest.raises(InvalidCredentials):
                async with gateway.guessing.login(user.email, None):
                    raise InvalidCredentials
        with pytest.raises(RateLimited):
            await log_in(gateway, user)
        code = await gateway.invitations.make(user)
        accepted = await gateway.accept_invitation(code, await gateway.passwords.hash(PASSWORD))
        for family in opened:
            assert not await gateway.families.exists(user.user_id, family.family_id)
        await gateway.passwords.verify(PASSWORD, accepted.password_hash)
        await log_in(gateway, accepted)
        with pytest.raises(InvitationSpent):
            await gateway.accept_invitation(code, "another")

    in_gateway(gateway_env | {"GATEWAY_ACCOUNT_THROTTLE": "on"}, work)
