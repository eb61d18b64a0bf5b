"""Logins in two steps: what is asked of whom, and pending logins, once and for five minutes."""

import asyncio
import base64
from collections import Counter
from typing import Any

import pytest

from gateway.accounts.factors.pending import PENDING_SECONDS, PendingLogin
from gateway.accounts.factors.steps import Demand, Proved
from gateway.accounts.factors.webauthn import NewCredential
from gateway.accounts.users import User
from gateway.errors import SecondFactorInvalid
from gateway.sessions.login_methods import pack_methods
from gateway.store.store import Store
from tests.accounts.factors.conftest import Desk, assertion
from tests.authenticators import Authenticator, read
from tests.conftest import OpenStore
from tests.doubles import SendsTwice
from tests.harness import RedisServer

pytestmark = pytest.mark.redis

ROUNDS, AT_ONCE = 20, 20


async def cause_of(attempt: Any) -> str:
    """Give why an attempt was refused, or "proved"."""
    try:
        await attempt
    except SecondFactorInvalid as error:
        return error.cause
    return "proved"


@pytest.mark.parametrize(
    ("policy", "without", "with_app"),
    [
        ("off", Demand("none"), Demand("none")),
        ("optional", Demand("none"), Demand("factor", ("totp",))),
        ("required", Demand("enrolment"), Demand("factor", ("totp",))),
    ],
)
async def test_what_is_asked_is_what_the_setting_says(
    store: Store, policy: Any, without: Demand, with_app: Demand
) -> None:
    desk = Desk(store, policy=policy)
    user = await desk.user()
    assert await desk.logins.demand(user.user_id) == without
    await desk.with_totp(user)
    assert await desk.logins.demand(user.user_id) == with_app
    assert desk.logins.is_on is (policy != "off")


async def test_the_safest_factor_is_named_first(desk: Desk) -> None:
    user = await desk.user()
    await desk.with_totp(user)
    await desk.factors.make_recovery_codes(user.user_id)
    await desk.with_passkey(user)
    assert (await desk.logins.demand(user.user_id)).methods == ("passkey", "totp", "recovery")


async def test_a_pending_login_gives_back_what_the_first_step_has_left(desk: Desk) -> None:
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    facts: dict[str, Any] = {"device_id": "d" * 23, "delivery": "session", "most_seconds": 43_200, "remember": True}
    pending = await desk.pending(user, **facts)
    assert len(pending) == 43
    login, found = await desk.logins.look(pending)
    assert found == user
    proved = await desk.logins.prove_totp(pending, desk.code(secret))
    assert proved.pending == login
    assert {name: getattr(login, name) for name in facts} == facts


async def test_a_wrong_factor_uses_nothing_up_and_a_right_one_does(desk: Desk) -> None:
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    codes = await desk.factors.make_recovery_codes(user.user_id)
    pending = await desk.pending(user)
    for _ in range(5):
        assert await cause_of(desk.logins.prove_totp(pending, "000000")) == "wrong-code"
        assert await cause_of(desk.logins.prove_recovery(pending, "00000-00000")) == "wrong-code"
    assert await cause_of(desk.logins.prove_totp(pending, desk.code(secret))) == "proved"
    assert await cause_of(desk.logins.prove_totp(pending, desk.code(secret, 1))) == "pending-over"
    assert await cause_of(desk.logins.prove_recovery(pending, codes[0])) == "pending-over"
    assert (await desk.factors.all(user.user_id))[1].left == 10


@pytest.mark.parametrize("text", ["", "A" * 43, "x" * 10_000, "\ud800", "{usr}"])
async def test_a_text_that_nobody_was_given_is_no_pending_login(desk: Desk, text: str) -> None:
    assert await cause_of(desk.logins.look(text)) == "pending-over"


async def test_a_pending_login_lives_five_minutes(desk: Desk) -> None:
    user = await desk.user()
    await desk.pending(user)
    [key] = [key async for key in desk.store.scan("once:*")]
    assert (PENDING_SECONDS - 5) * 1000 < await desk.store.execute("PTTL", key) <= PENDING_SECONDS * 1000


async def test_a_challenge_or_an_enrolment_is_no_pending_login(desk: Desk) -> None:
    user = await desk.user()
    options: dict[str, Any] = await desk.factors.begin_passkey(user)
    new = await desk.factors.begin_totp(user)
    for text in (options["challenge"], new.factor_id):
        assert await cause_of(desk.logins.look(text)) == "pending-over"


async def change_password(desk: Desk, user: User) -> None:
    await desk.users.set_password(user.user_id, "another hash")


async def disable(desk: Desk, user: User) -> None:
    await desk.users.set_active(user.user_id, False)


async def remove(desk: Desk, user: User) -> None:
    await desk.users.remove(user.user_id, user.email)


@pytest.mark.parametrize("change", [change_password, disable, remove])
async def test_a_pending_login_is_void_with_what_it_stands_on(desk: Desk, change: Any) -> None:
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    pending = await desk.pending(user)
    await change(desk, user)
    assert await cause_of(desk.logins.prove_totp(pending, desk.code(secret))) == "pending-over"


async def test_a_pending_login_is_good_for_its_purpose_alone(store: Store) -> None:
    """Above all: who has a factor, and shows the password alone, sets up no other one. Shows ASVS 2.3.1."""
    desk = Desk(store, policy="required")
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    codes = await desk.factors.make_recovery_codes(user.user_id)
    new = await desk.factors.begin_totp(user)
    code = desk.code(base64.b32decode(new.secret))
    options = await desk.factors.begin_passkey(user)
    credential = read(Authenticator().create(options), NewCredential)
    for_factor, for_enrolment = await desk.pending(user), await desk.pending(user, purpose="enrolment")
    alone = (await desk.logins.ask(PendingLogin(purpose="passkey"))).pending
    for pending in (for_factor, alone):
        assert await cause_of(desk.logins.enrol_totp(pending, new.factor_id, code)) == "pending-over"
        assert await cause_of(desk.logins.enrol_passkey(pending, credential)) == "pending-over"
    for pending in (for_enrolment, alone):
        assert await cause_of(desk.logins.prove_totp(pending, desk.code(secret))) == "pending-over"
        assert await cause_of(desk.logins.prove_recovery(pending, codes[0])) == "pending-over"
    assert [factor.kind for factor in await desk.factors.all(user.user_id)] == ["totp", "recovery"]


async def test_the_first_factor_that_is_set_up_completes_the_login(store: Store) -> None:
    desk = Desk(store, policy="required")
    ann, bob = await desk.user(), await desk.user("bob@example.com")
    pending = await desk.pending(ann, purpose="enrolment", delivery="session")
    new = await desk.factors.begin_totp(ann)
    assert await cause_of(desk.logins.enrol_totp(pending, new.factor_id, "000000")) == "wrong-code"
    proved = await desk.logins.enrol_totp(pending, new.factor_id, desk.code(base64.b32decode(new.secret)), "phone")
    assert (proved.user, proved.amr, proved.pending.delivery) == (ann, ("pwd", "otp", "mfa"), "session")
    assert await cause_of(desk.logins.look(pending)) == "pending-over"

    pending = await desk.pending(bob, purpose="enrolment")
    credential = Authenticator().create(await desk.factors.begin_passkey(bob))
    proved = await desk.logins.enrol_passkey(pending, read(credential, NewCredential), "key")
    assert (proved.user, proved.amr) == (bob, ("pop", "user", "mfa", "hwk"))
    for user, name in ((ann, "phone"), (bob, "key")):
        assert [factor.name for factor in await desk.factors.all(user.user_id)] == [name]


async def test_of_two_who_set_up_the_first_factor_at_once_one_does(store: Store) -> None:
    """The password alone is enough for the first factor, and for none after it."""
    desk = Desk(store, policy="required")
    for number in range(ROUNDS):
        user = await desk.user(f"{number}@example.com")
        attempts = []
        for _ in range(4):
            new = await desk.factors.begin_totp(user)
            pending = await desk.pending(user, purpose="enrolment")
            attempts.append(desk.logins.enrol_totp(pending, new.factor_id, desk.code(base64.b32decode(new.secret))))
        outcomes = Counter(await asyncio.gather(*map(cause_of, attempts)))
        assert outcomes == {"proved": 1, "not-first": 3}
        assert len(await desk.factors.all(user.user_id)) == 1


async def test_of_several_right_factors_for_one_pending_login_one_completes_it(
    desk: Desk, redis_server: RedisServer, open_store: OpenStore
) -> None:
    other = desk.beside(store=open_store(redis_server.url, desk.store.prefix))
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    device, _ = await desk.with_passkey(user)
    for _ in range(ROUNDS):
        desk.clock.now += 60
        codes = await desk.factors.make_recovery_codes(user.user_id)
        pending = await desk.pending(user)
        challenge = {"challenge": (await desk.logins.look(pending))[0].challenge}
        attempts: list[Any] = [other.logins.prove_recovery(pending, code) for code in codes[:4]]
        attempts += [desk.logins.prove_totp(pending, desk.code(secret))]
        attempts += [
            where.logins.prove_passkey(pending, assertion(device.get(challenge))) for where in (desk, other) * 3
        ]
        outcomes = Counter(await asyncio.gather(*map(cause_of, attempts)))
        assert outcomes == {"proved": 1, "pending-over": len(attempts) - 1}


async def test_a_step_that_is_sent_twice_is_one_step(redis_server: RedisServer, store: Store) -> None:
    twice = SendsTwice(redis_server.url, store.prefix)
    desk = Desk(twice)
    try:
        user = await desk.user()
        device, _ = await desk.with_passkey(user)
        asked = await desk.logins.ask(PendingLogin(purpose="passkey"))
        proved = await desk.logins.prove_passkey(asked.pending, assertion(device.get(asked.public_key or {})))
        assert not proved.counter_went_back
        assert await cause_of(desk.logins.look(asked.pending)) == "pending-over"
    finally:
        await twice.close()


async def test_with_the_setting_off_no_passkey_logs_in(desk: Desk) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    asked = await desk.logins.ask(PendingLogin(purpose="passkey"))
    off = desk.beside(policy="off")
    attempt = off.logins.prove_passkey(asked.pending, assertion(device.get(asked.public_key or {})))
    assert await cause_of(attempt) == "pending-over"


async def test_every_way_to_prove_oneself_fits_into_the_record_of_a_session(desk: Desk) -> None:
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    codes = await desk.factors.make_recovery_codes(user.user_id)
    ways: list[Proved] = [
        await desk.logins.prove_totp(await desk.pending(user), desk.code(secret)),
        await desk.logins.prove_recovery(await desk.pending(user), codes[0]),
    ]
    for flags in (0x05, 0x0D):
        device, _ = await desk.with_passkey(user, flags=flags)
        asked = await desk.logins.ask(PendingLogin(purpose="passkey"))
        ways.append(await desk.logins.prove_passkey(asked.pending, assertion(device.get(asked.public_key or {}))))
    bits = [pack_methods(proved.amr, by_recovery_code=proved.by_recovery_code) for proved in ways]
    assert len(set(bits)) == 4


async def test_secrets_do_not_show_themselves(desk: Desk) -> None:
    user = await desk.user()
    new = await desk.factors.begin_totp(user)
    asked = await desk.logins.ask(PendingLogin(purpose="passkey"))
    secret, _ = await desk.with_totp(user)
    proved = await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))
    shown = f"{new!r} {asked!r} {proved!r}"
    assert new.secret not in shown
    assert asked.pending not in shown
    assert str((asked.public_key or {})["challenge"]) not in shown


async def test_what_a_login_asks_for_can_be_looked_at_again_and_is_the_same(desk: Desk) -> None:
    user = await desk.user()
    device, _ = await desk.with_passkey(user)
    pending = await desk.pending(user)
    first, again = [await desk.logins.ask_again(pending) for _ in range(2)]
    assert first.pending == again.pending == pending
    assert first.public_key == again.public_key is not None
    assert (await desk.logins.prove_passkey(pending, assertion(device.get(dict(again.public_key))))).user == user
    with pytest.raises(SecondFactorInvalid):
        await desk.logins.ask_again(pending)
