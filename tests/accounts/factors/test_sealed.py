"""What Redis has of second factors: nothing that could be used, nothing that could be moved, and none too many."""

import base64
from typing import Any

import pytest

from gateway.accounts.factors.sealing import FactorSeals
from gateway.accounts.factors.steps import Demand
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import NotFound, SecondFactorInvalid
from gateway.store.store import Store
from tests.accounts.factors.conftest import Desk, assertion
from tests.harness import SECRET, RedisServer

pytestmark = pytest.mark.redis

NEW_SECRET = "a secret that took the place of the other one"


async def everything(store: Store, server: RedisServer) -> bytes:
    """Give all keys that there are, with values and dumps, as who robs Redis has them."""
    found = []
    with server.client() as client:
        async for key in store.scan("*"):
            value = client.hgetall(key) if ":factors:" in key or ":user:" in key else client.get(key)
            found += [key.encode(), client.dump(key)]
            found += [part for pair in value.items() for part in pair] if isinstance(value, dict) else [value]
    return b"\n".join(found)


def spellings(secret: bytes) -> list[bytes]:
    """Give how a secret could lie somewhere."""
    base32 = base64.b32encode(secret)
    return [secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret), base32]


async def test_a_dump_of_redis_has_no_secret_no_code_no_name_and_no_text(desk: Desk, redis_server: RedisServer) -> None:
    """Shows ASVS 14.2.4."""
    user = await desk.user()
    secret, _ = await desk.with_totp(user, "My telephone")
    device, _ = await desk.with_passkey(user, "My key")
    codes = await desk.factors.make_recovery_codes(user.user_id)
    begun = await desk.factors.begin_totp(user)
    options: dict[str, Any] = await desk.factors.begin_passkey(user)
    pending = await desk.pending(user)
    dump = await everything(desk.store, redis_server)
    assert user.user_id.encode() in dump
    hidden = spellings(secret) + spellings(base64.b32decode(begun.secret)) + spellings(device.credential_id)
    hidden += [word.encode() for code in codes for word in (code, code.replace("-", ""))]
    hidden += [pending.encode(), begun.factor_id.encode(), options["challenge"].encode(), b"telephone", b"My key"]
    assert [word for word in hidden if word in dump] == []


async def rights(desk: Desk, user_id: str) -> dict[bytes, bytes]:
    return await desk.store.fields(desk.store.key(f"factors:{{{user_id}}}"))


async def put(desk: Desk, user_id: str, factor_id: bytes, record: bytes) -> None:
    await desk.store.execute("HSET", desk.store.key(f"factors:{{{user_id}}}"), factor_id, record)


async def test_what_is_sealed_for_one_user_and_factor_opens_for_no_other(desk: Desk) -> None:
    """
    Somebody who can write to Redis gives another user his own factor, or one factor the place of another.

    Shows ASVS 6.7.1.
    """
    user, robber = await desk.user(), await desk.user("bob@example.com")
    secret, _ = await desk.with_totp(robber)
    device, _ = await desk.with_passkey(robber)
    for factor_id, record in (await rights(desk, robber.user_id)).items():
        await put(desk, user.user_id, factor_id, record)
        await put(desk, robber.user_id, b"fac_" + b"A" * 22, record)
        moved = [factor for factor in await desk.factors.all(user.user_id) if factor.factor_id == factor_id.decode()]
        assert [factor.is_readable for factor in moved] == [False]
        renamed = {factor.factor_id: factor for factor in await desk.factors.all(robber.user_id)}
        assert not renamed["fac_" + "A" * 22].is_readable
    with pytest.raises(SecondFactorInvalid):
        await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))
    pending = await desk.pending(user)
    challenge = (await desk.logins.look(pending))[0].challenge
    answer = device.get({"challenge": challenge}, user_handle=user.user_id.removeprefix("usr_"))
    with pytest.raises(SecondFactorInvalid) as refused:
        await desk.logins.prove_passkey(pending, assertion(answer))
    assert refused.value.cause == "unknown-credential"


async def test_a_record_that_was_altered_does_not_open(desk: Desk) -> None:
    """Shows ASVS 11.3.3."""
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    [(factor_id, record)] = (await rights(desk, user.user_id)).items()
    for place in range(23, len(record)):
        await put(desk, user.user_id, factor_id, record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :])
        [factor] = await desk.factors.all(user.user_id)
        assert not factor.is_readable, place
    with pytest.raises(SecondFactorInvalid):
        await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))


async def test_a_factor_that_cannot_be_opened_is_asked_for_all_the_same(desk: Desk) -> None:
    """Who drops a secret too early takes second factors from nobody."""
    user = await desk.user()
    secret, factor = await desk.with_totp(user, "phone")
    later = desk.beside(keychain=KeyChain.of(NEW_SECRET))
    assert await later.logins.demand(user.user_id) == Demand("factor", ("totp",))
    with pytest.raises(SecondFactorInvalid):
        await later.logins.prove_totp(await later.pending(user), desk.code(secret))
    [shown] = await later.factors.all(user.user_id)
    assert (shown.name, shown.is_readable) == ("", False)
    assert await later.factors.remove(user.user_id, factor.factor_id)


async def test_factors_of_a_previous_secret_are_good_and_a_use_seals_them_again(desk: Desk) -> None:
    user = await desk.user()
    secret, _ = await desk.with_totp(user, "phone")
    device, _ = await desk.with_passkey(user, "key")
    codes = await desk.factors.make_recovery_codes(user.user_id)
    old, new = DerivedKeys.of(SECRET).key_id, DerivedKeys.of(NEW_SECRET).key_id
    later = desk.beside(keychain=KeyChain.of(NEW_SECRET, (SECRET,)))
    assert await later.factors.secrets_of(user.user_id) == (old, old, old)
    await later.logins.prove_totp(await later.pending(user), later.code(secret))
    assert sorted(await later.factors.secrets_of(user.user_id)) == sorted((new, old, old))
    asked = await later.pending(user)
    login, _ = await later.logins.look(asked)
    await later.logins.prove_passkey(asked, assertion(device.get({"challenge": login.challenge})))
    await later.logins.prove_recovery(await later.pending(user), codes[0])
    # Only who has typed a code knows it: those stay under the secret that they were made with.
    assert sorted(await later.factors.secrets_of(user.user_id)) == sorted((new, new, old))
    alone = desk.beside(keychain=KeyChain.of(NEW_SECRET))
    assert [factor.name for factor in await alone.factors.all(user.user_id)] == ["phone", "key", ""]
    with pytest.raises(SecondFactorInvalid):
        await alone.logins.prove_recovery(await alone.pending(user), codes[1])
    await alone.factors.make_recovery_codes(user.user_id)
    assert await alone.factors.secrets_of(user.user_id) == (new, new, new)


def test_one_thing_is_never_sealed_twice_to_the_same_bytes() -> None:
    """Shows ASVS 11.3.4."""
    seals = FactorSeals(KeyChain.of(SECRET))
    assert len({seals.seal(b"plain", "place") for _ in range(100)}) == 100
    assert seals.open(seals.seal(b"plain", "a", "b"), "a", "b") == b"plain"
    assert seals.open(seals.seal(b"plain", "a", "b"), "a|b") is None
    for broken in (b"", b"short", seals.seal(b"plain", "a")[:-1]):
        assert seals.open(broken, "a") is None


async def test_with_the_last_factor_the_recovery_codes_go(desk: Desk) -> None:
    user = await desk.user()
    _, app = await desk.with_totp(user)
    _, key = await desk.with_passkey(user)
    codes = await desk.factors.make_recovery_codes(user.user_id)
    assert await desk.factors.remove(user.user_id, app.factor_id)
    assert not await desk.factors.remove(user.user_id, app.factor_id)
    assert [factor.kind for factor in await desk.factors.all(user.user_id)] == ["passkey", "recovery"]
    assert await desk.factors.remove(user.user_id, key.factor_id)
    assert await desk.factors.all(user.user_id) == ()
    assert await desk.store.execute("EXISTS", desk.store.key(f"factors:{{{user.user_id}}}")) == 0
    assert await desk.logins.demand(user.user_id) == Demand("none")
    await desk.with_totp(user)
    with pytest.raises(SecondFactorInvalid):
        await desk.logins.prove_recovery(await desk.pending(user), codes[0])


async def test_factors_go_with_their_user_and_none_comes_after(desk: Desk) -> None:
    user = await desk.user()
    await desk.with_totp(user)
    late = await desk.factors.begin_totp(user)
    await desk.users.set_active(user.user_id, False)
    await desk.users.remove(user.user_id, user.email)
    assert await desk.factors.all(user.user_id) == ()
    code = desk.code(base64.b32decode(late.secret))
    with pytest.raises(NotFound):
        await desk.factors.confirm_totp(user.user_id, late.factor_id, code)
    assert [key async for key in desk.store.scan("factors:*")] == []


async def test_a_new_password_and_a_disabled_user_keep_their_factors(desk: Desk) -> None:
    """Who can read somebody's mail, and resets his password, still lacks the factor."""
    user = await desk.user()
    _, factor = await desk.with_totp(user)
    await desk.users.set_password(user.user_id, "another hash")
    await desk.users.set_active(user.user_id, False)
    await desk.users.set_active(user.user_id, True)
    assert await desk.factors.all(user.user_id) == (factor,)


async def test_a_reset_takes_all_factors_away(desk: Desk) -> None:
    user = await desk.user()
    await desk.with_totp(user)
    await desk.with_passkey(user)
    await desk.factors.make_recovery_codes(user.user_id)
    assert await desk.factors.reset(user.user_id) == 3
    assert await desk.factors.all(user.user_id) == ()
    assert await desk.factors.reset(user.user_id) == 0


async def test_a_factor_gets_another_name(desk: Desk) -> None:
    user = await desk.user()
    secret, app = await desk.with_totp(user, "old phone")
    _, key = await desk.with_passkey(user)
    await desk.factors.make_recovery_codes(user.user_id)
    for factor in (app, key):
        assert await desk.factors.rename(user.user_id, factor.factor_id, f" new {factor.kind}")
    *named, codes = await desk.factors.all(user.user_id)
    assert sorted(factor.name for factor in named) == ["new passkey", "new totp"]
    assert not await desk.factors.rename(user.user_id, codes.factor_id, "codes have no name")
    assert not await desk.factors.rename(user.user_id, "fac_" + "A" * 22, "nobody")
    await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))
