"""Personal tokens in Redis: who has which, with what roles and until when; and none of them can be read there."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.accounts.users import Users
from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.errors import MalformedRequest, NotFound, PersonalTokenInvalid
from gateway.machines.personal_tokens import DAY_SECONDS, MAX_PER_USER, PersonalTokens, new_personal_token_id
from gateway.machines.token_text import PersonalToken
from gateway.store import Store
from tests.harness import SECRET, RedisServer

pytestmark = pytest.mark.redis
KEYCHAIN = KeyChain.of(SECRET)


async def add_owner(store: Store, *roles: str) -> str:
    return (await Users(store, lambda: 0).add("ann@example.com", "Ann", roles, "a hash")).user_id


@pytest.fixture
def tokens(store: Store) -> PersonalTokens:
    """Give the personal tokens of a store of its own."""
    return PersonalTokens(store, KEYCHAIN)


async def outcome_of(tokens: PersonalTokens, user_id: str, token_id: str) -> str:
    try:
        await tokens.look(PersonalToken(user_id, token_id))
    except PersonalTokenInvalid as error:
        return error.cause.removeprefix("personal-token-")
    return "alive"


async def age(store: Store, user_id: str, token_id: str, seconds: int) -> None:
    """Put a token back in time, as if it had been made so many seconds earlier."""
    key = store.key(f"tokens:{{{user_id}}}")
    record = bytearray(await store.execute("HGET", key, token_id))
    for place in (1, 7):  # created, ends
        moment = int.from_bytes(record[place : place + 6], "big") - seconds * 1000
        record[place : place + 6] = moment.to_bytes(6, "big")
    await store.execute("HSET", key, token_id, bytes(record))


async def test_one_is_good_for_as_long_as_it_was_made_for(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store, "staff")
    _, entry = await tokens.create(user_id, "backup", None, days=2)
    assert entry.expires_at - entry.created_at == 2 * DAY_SECONDS
    await age(store, user_id, entry.token_id, 2 * DAY_SECONDS - 5)
    living = await tokens.look(PersonalToken(user_id, entry.token_id))
    assert 3 <= living.seconds_left <= 5
    await age(store, user_id, entry.token_id, 5)
    assert await outcome_of(tokens, user_id, entry.token_id) == "expired"
    assert await tokens.all(user_id) == ()
    assert not await tokens.mark(user_id, entry.token_id)


async def test_the_hash_ends_with_its_last_token(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store)
    key = store.key(f"tokens:{{{user_id}}}")
    made = [(await tokens.create(user_id, f"{days}", None, days))[1] for days in (3, 30, 7)]
    for left, gone in ((30, None), (7, made[1]), (3, made[2])):
        if gone is not None:
            assert await tokens.mark(user_id, gone.token_id)
            await tokens.revoke(user_id, gone.token_id)
        assert abs(await store.execute("TTL", key) - left * DAY_SECONDS) <= 5
    await tokens.mark(user_id, made[0].token_id)
    await tokens.revoke(user_id, made[0].token_id)
    assert not await store.execute("EXISTS", key)


async def test_what_is_over_goes_when_another_one_is_made(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store)
    for _ in range(3):
        _, over = await tokens.create(user_id, "over", None, 1)
        await age(store, user_id, over.token_id, DAY_SECONDS)
    _, entry = await tokens.create(user_id, "new", None, 1)
    assert await store.execute("HKEYS", store.key(f"tokens:{{{user_id}}}")) == [entry.token_id.encode()]


async def test_a_user_has_a_hundred_at_most(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store)
    made = [(await tokens.create(user_id, "one of many", None))[1].token_id for _ in range(MAX_PER_USER)]
    with pytest.raises(MalformedRequest, match="100"):
        await tokens.create(user_id, "one more", None)
    await tokens.mark(user_id, made[0])
    await tokens.create(user_id, "in its place", None)
    assert len(await tokens.all(user_id)) == MAX_PER_USER


async def test_a_role_that_the_owner_has_not_is_refused(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store, "staff", "staff-lead")
    for role in ("admin", "staf", "lead"):
        with pytest.raises(MalformedRequest, match=role):
            await tokens.create(user_id, "backup", ("staff", role))
    assert await tokens.all(user_id) == ()


async def test_it_never_has_more_than_its_owner_has_now(store: Store, tokens: PersonalTokens) -> None:
    user_id, users = await add_owner(store, "staff", "ops"), Users(store, lambda: 0)
    _, chosen = await tokens.create(user_id, "chosen", ("ops", "staff"))
    _, every = await tokens.create(user_id, "every", None)
    _, none = await tokens.create(user_id, "none", ())
    for now, expected in ((("ops", "new"), ("ops",)), ((), ()), (("staff", "ops"), ("ops", "staff"))):
        await users.set_roles(user_id, now)
        found = {entry.token_id: entry.roles for entry in await tokens.all(user_id)}
        assert found == {chosen.token_id: expected, every.token_id: now, none.token_id: ()}
        for token_id, roles in found.items():
            assert (await tokens.look(PersonalToken(user_id, token_id))).roles == roles


async def test_it_rests_while_its_owner_is_disabled_and_is_gone_with_him(store: Store, tokens: PersonalTokens) -> None:
    user_id, users = await add_owner(store), Users(store, lambda: 0)
    _, entry = await tokens.create(user_id, "backup", None)
    for is_active, expected in ((False, "user_disabled"), (True, "alive")):
        await users.set_active(user_id, is_active)
        assert await outcome_of(tokens, user_id, entry.token_id) == expected
    await users.remove(user_id, "ann@example.com")
    assert await outcome_of(tokens, user_id, entry.token_id) == "unknown"
    assert not await store.execute("EXISTS", store.key(f"tokens:{{{user_id}}}"))


async def test_nobody_who_is_disabled_or_gone_gets_one(store: Store, tokens: PersonalTokens) -> None:
    user_id, users = await add_owner(store), Users(store, lambda: 0)
    await users.set_active(user_id, False)
    with pytest.raises(NotFound):
        await tokens.create(user_id, "backup", None)
    await users.remove(user_id, "ann@example.com")
    with pytest.raises(NotFound):
        await tokens.create(user_id, "backup", None)
    assert not await store.execute("EXISTS", store.key(f"tokens:{{{user_id}}}"))


async def test_a_look_is_its_last_use(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store)
    _, entry = await tokens.create(user_id, "backup", None)
    assert (await tokens.all(user_id))[0].last_used_at is None
    before = system_clock()
    await tokens.look(PersonalToken(user_id, entry.token_id))
    [listed] = await tokens.all(user_id)
    assert listed.last_used_at is not None
    assert before - 1 <= listed.last_used_at <= system_clock() + 1
    assert (listed.name, listed.created_at, listed.expires_at) == (entry.name, entry.created_at, entry.expires_at)


async def test_a_mark_is_never_good_again_and_can_be_completed_later(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store)
    _, entry = await tokens.create(user_id, "backup", None)
    assert await tokens.mark(user_id, entry.token_id)
    assert await outcome_of(tokens, user_id, entry.token_id) == "revoked"
    assert await tokens.all(user_id) == ()
    assert await tokens.mark(user_id, entry.token_id), "it is there still, for who completes its end"
    await tokens.revoke(user_id, entry.token_id)
    assert await outcome_of(tokens, user_id, entry.token_id) == "unknown"
    assert not await tokens.mark(user_id, entry.token_id)


async def test_a_name_of_any_letters_is_kept(store: Store, tokens: PersonalTokens) -> None:
    user_id = await add_owner(store)
    for name in ("Ä" * 60, "🗝" * 60, "a,b\n", "ends with a zero \x00"):
        _, entry = await tokens.create(user_id, name, None)
        assert entry.name == (await tokens.all(user_id))[0].name == name
        await tokens.mark(user_id, entry.token_id)
        await tokens.revoke(user_id, entry.token_id)


async def test_a_command_that_is_sent_twice_makes_one(store: Store) -> None:
    user_id = await add_owner(store)
    token_id = new_personal_token_id()
    tokens = PersonalTokens(store, KEYCHAIN, new_id=lambda: token_id)
    made = [await tokens.create(user_id, "backup", None) for _ in range(2)]
    assert made[0] == made[1]
    assert len(await tokens.all(user_id)) == 1


@pytest.fixture
async def full(own_redis: Callable[..., RedisServer]) -> AsyncIterator[Store]:
    """Give a store whose Redis can be filled."""
    server = own_redis()
    store = Store(server.url, "gw:")
    yield store
    await store.close()


@pytest.mark.one_server("sets its maxmemory")
async def test_one_is_revoked_and_looked_up_when_redis_is_full(full: Store) -> None:
    tokens, user_id = PersonalTokens(full, KEYCHAIN), await add_owner(full)
    _, entry = await tokens.create(user_id, "backup", None)
    _, other = await tokens.create(user_id, "other", None)
    await full.execute("CONFIG", "SET", "maxmemory", "1")
    assert await outcome_of(tokens, user_id, entry.token_id) == "alive"
    assert await tokens.mark(user_id, entry.token_id)
    assert await outcome_of(tokens, user_id, entry.token_id) == "revoked"
    await tokens.revoke(user_id, entry.token_id)
    assert await outcome_of(tokens, user_id, entry.token_id) == "unknown"
    assert await outcome_of(tokens, user_id, other.token_id) == "alive"
    await full.execute("CONFIG", "SET", "maxmemory", "0")


async def test_a_look_that_races_a_revocation_leaves_nothing_alive(store: Store, tokens: PersonalTokens) -> None:
    """200 rounds of eight looks and one revocation at once: each look before it is good, none after it."""
    user_id = await add_owner(store)
    seen = {"alive": 0, "revoked": 0, "unknown": 0}
    for _ in range(200):
        _, entry = await tokens.create(user_id, "backup", None)

        async def end(token_id: str) -> str:
            assert await tokens.mark(user_id, token_id)
            await tokens.revoke(user_id, token_id)
            return "ended"

        looks = [outcome_of(tokens, user_id, entry.token_id) for _ in range(8)]
        outcomes = await asyncio.gather(*looks[:4], end(entry.token_id), *looks[4:])
        for outcome in outcomes:
            if outcome != "ended":
                seen[outcome] += 1
        assert await outcome_of(tokens, user_id, entry.token_id) == "unknown"
    print(f"1,600 looks beside 200 revocations: {seen}")
    assert sum(seen.values()) == 1600
