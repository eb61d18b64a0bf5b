"""Recovery codes: what is typed, once each, and only beside a factor that can be lost."""

import asyncio
import re
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.factors.recovery import ALPHABET, new_code, read_code, show_code
from gateway.errors import MalformedRequest, SecondFactorInvalid
from gateway.store.store import Store
from tests.accounts.factors.conftest import Desk
from tests.conftest import OpenStore
from tests.doubles import SendsTwice
from tests.harness import RedisServer

pytestmark = pytest.mark.redis

ROUNDS, AT_ONCE = 200, 20


def test_a_code_has_fifty_bits_and_is_shown_in_groups() -> None:
    """Shows ASVS 6.5.4."""
    assert len(set(ALPHABET)) == 32
    codes = {new_code() for _ in range(1000)}
    assert len(codes) == 1000
    assert all(re.fullmatch(f"[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}", show_code(code)) for code in codes)


@pytest.mark.parametrize("text", ["ABCDE-10VWX", "abcde10vwx", " abcde lovwx ", "AB-CD-EI-0V-WX", "abcdeioVWX"])
def test_a_code_is_understood_as_people_copy_it(text: str) -> None:
    assert read_code(text) == "ABCDE10VWX"


@pytest.mark.parametrize("text", ["", "ABCDE-10VW", "ABCDE-10VWXY", "ABCDE-10VWU", "ABCDE-10VWé", "\uff21BCDE10VWX"])
def test_what_is_not_ten_of_its_characters_is_no_code(text: str) -> None:
    assert read_code(text) is None


@given(st.text())
def test_no_text_upsets_the_reading(text: str) -> None:
    code = read_code(text)
    assert code is None or (len(code) == 10 and set(code) <= set(ALPHABET))


async def test_recovery_codes_are_for_who_has_another_factor(desk: Desk) -> None:
    user = await desk.user()
    with pytest.raises(MalformedRequest, match="set that up first"):
        await desk.factors.make_recovery_codes(user.user_id)
    assert await desk.factors.all(user.user_id) == ()


async def test_each_of_ten_codes_completes_one_login(desk: Desk) -> None:
    """Shows ASVS 6.5.1."""
    user = await desk.user()
    _, app = await desk.with_totp(user)
    codes = await desk.factors.make_recovery_codes(user.user_id)
    assert len(set(codes)) == 10
    for used, code in enumerate(codes, 1):
        proved = await desk.logins.prove_recovery(await desk.pending(user), code.lower())
        assert (proved.codes_left, proved.by_recovery_code) == (10 - used, True)
        assert proved.amr == ("pwd", "otp", "mfa")
        [_, shown] = await desk.factors.all(user.user_id)
        assert (shown.kind, shown.left, shown.last_used_at) == ("recovery", 10 - used, desk.clock.now)
        with pytest.raises(SecondFactorInvalid):
            await desk.logins.prove_recovery(await desk.pending(user), code)
    assert proved.factor_id != app.factor_id


async def test_new_codes_make_the_old_ones_void_and_nobody_elses_are_good(desk: Desk) -> None:
    user, other = await desk.user(), await desk.user("bob@example.com")
    for one in (user, other):
        await desk.with_totp(one)
    old = await desk.factors.make_recovery_codes(user.user_id)
    new = await desk.factors.make_recovery_codes(user.user_id)
    theirs = await desk.factors.make_recovery_codes(other.user_id)
    for code in (old[0], theirs[0], "AAAAA-AAAAA", "", "x" * 10_000):
        with pytest.raises(SecondFactorInvalid) as refused:
            await desk.logins.prove_recovery(await desk.pending(user), code)
        assert refused.value.cause == "wrong-code"
    assert (await desk.logins.prove_recovery(await desk.pending(user), new[0])).codes_left == 9
    assert [factor.kind for factor in await desk.factors.all(user.user_id)] == ["totp", "recovery"]


async def test_of_twenty_requests_with_one_code_over_two_gateways_one_is_let_in(
    desk: Desk, redis_server: RedisServer, open_store: OpenStore, capsys: pytest.CaptureFixture[str]
) -> None:
    other = desk.beside(store=open_store(redis_server.url, desk.store.prefix))
    user = await desk.user()
    await desk.with_totp(user)
    violations = 0
    for number in range(ROUNDS):
        if number % 10 == 0:
            codes = await desk.factors.make_recovery_codes(user.user_id)

        async def attempt(number: int, code: str) -> str:
            gateway = (desk, other)[number % 2]
            try:
                await gateway.factors._recovery.use(user.user_id, code)
            except SecondFactorInvalid as error:
                return error.cause
            return "accepted"

        of_round = Counter(await asyncio.gather(*(attempt(one, codes[number % 10]) for one in range(AT_ONCE))))
        violations += of_round != {"accepted": 1, "spent": AT_ONCE - 1}
    with capsys.disabled():
        told = f"factors: one recovery code, {AT_ONCE} at once over two gateways"
        print(f"\n{told}: rounds {ROUNDS}, violations {violations}", file=sys.stderr, flush=True)
    assert violations == 0


async def test_a_use_that_is_sent_twice_counts_once_and_is_let_in(redis_server: RedisServer, store: Store) -> None:
    twice = SendsTwice(redis_server.url, store.prefix)
    desk = Desk(twice)
    try:
        user = await desk.user()
        await desk.with_totp(user)
        codes = await desk.factors.make_recovery_codes(user.user_id)
        assert (await desk.logins.prove_recovery(await desk.pending(user), codes[3])).codes_left == 9
        assert (await desk.factors.all(user.user_id))[1].left == 9
    finally:
        await twice.close()
