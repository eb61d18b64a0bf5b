"""Time-based codes: RFC 6238's and RFC 4226's vectors, the skew, spellings, once and never again."""

import asyncio
import base64
import sys
from collections import Counter
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.factors.keeping import MOST, Kind
from gateway.accounts.factors.totp import ENROLMENT_SECONDS, hotp, matching_step, otpauth_uri, read_code, step_at
from gateway.errors import MalformedRequest, SecondFactorInvalid
from gateway.store.store import Store
from tests.accounts.factors.conftest import Desk, secret_of
from tests.conftest import OpenStore
from tests.doubles import SendsTwice
from tests.harness import RedisServer

pytestmark = pytest.mark.redis

RFC_SECRET = b"12345678901234567890"
RFC_4226 = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489")
RFC_6238 = {
    59: "94287082",
    1_111_111_109: "07081804",
    1_111_111_111: "14050471",
    1_234_567_890: "89005924",
    2_000_000_000: "69279037",
    20_000_000_000: "65353130",
}
ROUNDS, AT_ONCE = 200, 20


@pytest.mark.parametrize(("counter", "code"), list(enumerate(RFC_4226)))
def test_codes_of_a_counter_are_those_of_rfc_4226(counter: int, code: str) -> None:
    assert hotp(RFC_SECRET, counter) == code


@pytest.mark.parametrize(("seconds", "code"), list(RFC_6238.items()))
def test_codes_of_a_moment_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert hotp(RFC_SECRET, step_at(seconds), 8) == code
    assert matching_step(RFC_SECRET, code[-6:], seconds) == seconds // 30


@pytest.mark.parametrize("text", ["123456", "123 456", " 12 34 56 "])
def test_a_code_is_understood_with_blanks(text: str) -> None:
    assert read_code(text) == "123456"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345",
        "1234567",
        "12345a",
        "".join(chr(0xFF10 + digit) for digit in range(6)),
        "١٢٣٤٥٦",
        "123\u00a0456",
        "123456\n",
        "+12345",
        "1 " * 30,
    ],
)
def test_what_is_not_six_digits_is_no_code(text: str) -> None:
    assert read_code(text) is None


@given(st.text())
def test_no_text_upsets_the_reading(text: str) -> None:
    code = read_code(text)
    assert code is None or (len(code) == 6 and code.isascii() and code.isdecimal())


def test_the_uri_names_issuer_and_address_escaped() -> None:
    uri = otpauth_uri(RFC_SECRET, "Café: Inc.", "ann+1@example.com")
    parts = urlsplit(uri)
    assert uri.startswith("otpauth://totp/Caf%C3%A9%20%20Inc.:ann%2B1%40example.com?")
    assert unquote(parts.path) == "/Café  Inc.:ann+1@example.com"
    assert parse_qs(parts.query) == {
        "secret": [base64.b32encode(RFC_SECRET).decode()],
        "issuer": ["Café  Inc."],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


async def test_a_secret_has_160_bits_and_is_another_one_each_time(desk: Desk) -> None:
    """Shows ASVS 6.5.3."""
    user = await desk.user()
    secrets = {secret_of(await desk.factors.begin_totp(user)) for _ in range(20)}
    assert len(secrets) == 20
    assert {len(secret) for secret in secrets} == {20}


async def test_a_secret_is_no_factor_until_a_code_of_it_was_shown(desk: Desk) -> None:
    user = await desk.user()
    new = await desk.factors.begin_totp(user)
    with pytest.raises(SecondFactorInvalid, match="not valid"):
        await desk.factors.confirm_totp(user.user_id, new.factor_id, "000000")
    assert await desk.factors.all(user.user_id) == ()
    assert (await desk.logins.demand(user.user_id)).what == "none"
    factor = await desk.factors.confirm_totp(user.user_id, new.factor_id, desk.code(secret_of(new)), " My  phone ")
    assert await desk.factors.all(user.user_id) == (factor,)
    assert (factor.factor_id, factor.kind, factor.name) == (new.factor_id, "totp", "My  phone")
    assert (factor.created_at, factor.last_used_at, factor.left) == (desk.clock.now, None, None)


async def test_a_secret_is_confirmed_once_by_its_own_user_and_within_fifteen_minutes(desk: Desk) -> None:
    user, other = await desk.user(), await desk.user("bob@example.com")
    new = await desk.factors.begin_totp(user)
    code = desk.code(secret_of(new))
    with pytest.raises(SecondFactorInvalid):
        await desk.factors.confirm_totp(other.user_id, new.factor_id, code)
    await desk.factors.confirm_totp(user.user_id, new.factor_id, code)
    with pytest.raises(SecondFactorInvalid):
        await desk.factors.confirm_totp(user.user_id, new.factor_id, code)
    await desk.factors.begin_totp(user)
    lifetimes = [await desk.store.execute("PTTL", key) async for key in desk.store.scan("once:*")]
    assert all(0 < left <= ENROLMENT_SECONDS * 1000 for left in lifetimes)


async def test_until_then_its_own_user_can_look_at_it_again(desk: Desk) -> None:
    user, other = await desk.user(), await desk.user("bob@example.com")
    new = await desk.factors.begin_totp(user)
    again = await desk.factors.look_totp(user, new.factor_id)
    assert (again.factor_id, again.secret, again.otpauth_uri) == (new.factor_id, new.secret, new.otpauth_uri)
    with pytest.raises(SecondFactorInvalid):
        await desk.factors.look_totp(other, new.factor_id)
    await desk.factors.confirm_totp(user.user_id, new.factor_id, desk.code(secret_of(new)))
    with pytest.raises(SecondFactorInvalid):
        await desk.factors.look_totp(user, new.factor_id)


async def test_the_code_that_confirmed_does_not_log_in(desk: Desk) -> None:
    user = await desk.user()
    new = await desk.factors.begin_totp(user)
    code = desk.code(secret_of(new))
    await desk.factors.confirm_totp(user.user_id, new.factor_id, code)
    with pytest.raises(SecondFactorInvalid):
        await desk.logins.prove_totp(await desk.pending(user), code)


@pytest.mark.parametrize(
    ("steps", "is_taken"), [(-3, False), (-2, False), (-1, True), (0, True), (1, True), (2, False), (3, False)]
)
@pytest.mark.parametrize("second", [0, 15, 29])
async def test_one_step_of_skew_is_let_through_each_way(desk: Desk, steps: int, is_taken: bool, second: int) -> None:
    """Shows ASVS 6.5.8."""
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    desk.clock.now += 3600 - desk.clock.now % 30 + second
    try:
        await desk.logins.prove_totp(await desk.pending(user), desk.code(secret, steps))
    except SecondFactorInvalid:
        assert not is_taken
    else:
        assert is_taken


async def test_a_step_counts_once_and_with_it_all_before(desk: Desk) -> None:
    """Shows ASVS 6.5.1."""
    user = await desk.user()
    secret, factor = await desk.with_totp(user)
    now, later = desk.code(secret), desk.code(secret, 1)
    await desk.logins.prove_totp(await desk.pending(user), later)
    for code in (later, now, desk.code(secret, -1)):
        with pytest.raises(SecondFactorInvalid) as refused:
            await desk.logins.prove_totp(await desk.pending(user), code)
        assert refused.value.cause == "spent"
    desk.clock.now += 60
    proved = await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))
    assert (proved.factor_id, proved.amr) == (factor.factor_id, ("pwd", "otp", "mfa"))
    assert (await desk.factors.all(user.user_id))[0].last_used_at == desk.clock.now


async def test_of_twenty_requests_with_one_code_over_two_gateways_one_is_let_in(
    desk: Desk, redis_server: RedisServer, open_store: OpenStore, capsys: pytest.CaptureFixture[str]
) -> None:
    other = desk.beside(store=open_store(redis_server.url, desk.store.prefix))
    user = await desk.user()
    secret, _ = await desk.with_totp(user)
    outcomes: Counter[str] = Counter()
    violations = 0
    for _ in range(ROUNDS):
        desk.clock.now += 30
        code = desk.code(secret)

        async def attempt(number: int, code: str = code) -> str:
            gateway = (desk, other)[number % 2]
            try:
                await gateway.factors._totp.use(user.user_id, code)
            except SecondFactorInvalid as error:
                return error.cause
            return "accepted"

        of_round = Counter(await asyncio.gather(*map(attempt, range(AT_ONCE))))
        violations += of_round != {"accepted": 1, "spent": AT_ONCE - 1}
        outcomes += of_round
    with capsys.disabled():
        told = f"factors: one code, {AT_ONCE} at once over two gateways: rounds {ROUNDS}, violations {violations}"
        print(f"\n{told} ({dict(outcomes)})", file=sys.stderr, flush=True)
    assert violations == 0


async def test_a_use_that_is_sent_twice_counts_once_and_is_let_in(redis_server: RedisServer, store: Store) -> None:
    twice = SendsTwice(redis_server.url, store.prefix)
    desk = Desk(twice)
    try:
        user = await desk.user()
        secret, factor = await desk.with_totp(user)
        proved = await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))
        assert proved.factor_id == factor.factor_id
        assert len(await desk.factors.all(user.user_id)) == 1
    finally:
        await twice.close()


async def test_a_user_has_three_apps_at_most_and_each_one_logs_in(desk: Desk) -> None:
    user = await desk.user()
    secrets = [(await desk.with_totp(user, f"phone {number}"))[0] for number in range(MOST[Kind.TOTP])]
    with pytest.raises(MalformedRequest, match="remove one"):
        await desk.with_totp(user)
    for secret in secrets:
        await desk.logins.prove_totp(await desk.pending(user), desk.code(secret))


@pytest.mark.parametrize("name", ["x" * 61, "a\u202eb", "a\x00b"])
async def test_a_name_is_short_and_prints(desk: Desk, name: str) -> None:
    user = await desk.user()
    with pytest.raises(MalformedRequest):
        await desk.with_totp(user, name)
    assert await desk.factors.all(user.user_id) == ()
