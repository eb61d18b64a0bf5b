"""Passwords: the whole of them counts, a dump confirms none, and everybody costs the same."""

import asyncio
import base64
import hashlib
import math
import re
import statistics
import time
import unicodedata
from collections.abc import AsyncIterator, Callable

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.password_rules import MAX_PASSWORD_BYTES
from gateway.accounts.passwords import LETTERS_AND_DIGITS, Passwords, generate_password
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import InvalidCredentials, Overloaded, StartupError
from gateway.settings import Settings, load_settings
from tests.harness import SECRET, environment

COST = 4
KEYCHAIN = KeyChain.of(SECRET)
PASSWORD = "correct horse battery staple"
MakePasswords = Callable[..., Passwords]


@pytest.fixture
async def make_passwords() -> AsyncIterator[MakePasswords]:
    """Give a factory of password hashers; their threads end with the test."""
    made: list[Passwords] = []

    def make(
        keychain: KeyChain = KEYCHAIN,
        cost: int = COST,
        threads: int = 2,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Passwords:
        made.append(Passwords(keychain, cost, threads, monotonic))
        return made[-1]

    yield make
    for passwords in made:
        passwords.close()


@pytest.fixture
def passwords(make_passwords: MakePasswords) -> Passwords:
    """Give a cheap hasher of passwords."""
    return make_passwords()


async def matches(passwords: Passwords, password: str, stored: str | None) -> bool:
    try:
        await passwords.verify(password, stored)
    except InvalidCredentials:
        return False
    return True


def plain(password: str, prefix: str = "2b", cost: int = COST) -> str:
    """Give a hash as another program makes it."""
    digest = bcrypt.hashpw(unicodedata.normalize("NFC", password).encode()[:72], bcrypt.gensalt(cost))
    return f"${prefix}" + digest.decode()[3:]


async def test_a_password_is_confirmed_by_its_hash_and_no_other_is(passwords: Passwords) -> None:
    stored = await passwords.hash(PASSWORD)
    assert await matches(passwords, PASSWORD, stored)
    for other in ("", PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper(), "\0" + PASSWORD, PASSWORD + "\0", stored):
        assert not await matches(passwords, other, stored)
    assert await passwords.hash(PASSWORD) != stored


@pytest.mark.parametrize("size", [1, 71, 72, 73, 144, 200, MAX_PASSWORD_BYTES])
async def test_every_byte_of_a_password_counts(passwords: Passwords, size: int) -> None:
    """Bcrypt alone looks at 72 bytes. Shows ASVS 6.2.8, ASVS 6.2.9, NIST 3.1.1.2-2, NIST 3.1.1.2-9."""
    password = "x" * (size - 1) + "a"
    stored = await passwords.hash(password)
    assert await matches(passwords, password, stored)
    for other in ("x" * (size - 1) + "b", "x" * (size - 1), password + "a"):
        assert not await matches(passwords, other, stored)


async def test_what_stands_after_a_nul_counts(passwords: Passwords) -> None:
    stored = await passwords.hash("before\0after")
    assert await matches(passwords, "before\0after", stored)
    for other in ("before", "before\0", "before\0other"):
        assert not await matches(passwords, other, stored)


@pytest.mark.parametrize("text", ["Füchslein", "Ǻngström ñandú", "각하", "Ω and Å"])
async def test_a_password_is_the_same_however_its_letters_are_composed(passwords: Passwords, text: str) -> None:
    """Shows NIST 3.1.1.2-4."""
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert composed != decomposed
    for first, second in ((composed, decomposed), (decomposed, composed)):
        assert await matches(passwords, first, await passwords.hash(second))
        assert await matches(passwords, first, plain(second))


async def test_letters_that_only_look_alike_are_not_the_same(passwords: Passwords) -> None:
    """NFC, not NFKC."""
    stored = await passwords.hash("password\u00b2")
    assert not await matches(passwords, "password2", stored)


async def test_a_password_that_is_too_long_is_just_wrong(passwords: Passwords) -> None:
    """It is measured as it is compared: in UTF-8 after NFC."""
    too_long = "x" * (MAX_PASSWORD_BYTES + 1)
    assert not await matches(passwords, too_long, await passwords.hash(too_long))
    assert not await matches(passwords, too_long, plain(too_long))
    assert not await matches(passwords, "ü" * 513, await passwords.hash("ü" * 513))
    fits = "ü" * 512
    decomposed = unicodedata.normalize("NFD", fits)
    assert len(decomposed.encode()) > MAX_PASSWORD_BYTES
    assert await matches(passwords, decomposed, await passwords.hash(fits))


@pytest.mark.parametrize("password", ["", "\ud800", "a\udfff", "\x00", "🦊" * 256])
async def test_any_text_is_a_password(passwords: Passwords, password: str) -> None:
    assert await matches(passwords, password, await passwords.hash(password))
    assert not await matches(passwords, password + "x", await passwords.hash(password))


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
async def test_a_plain_hash_is_understood_and_needs_renewal(passwords: Passwords, prefix: str) -> None:
    stored = plain(PASSWORD, prefix)
    assert await matches(passwords, PASSWORD, stored)
    assert not await matches(passwords, PASSWORD + "x", stored)
    assert passwords.needs_renewal(stored)


async def test_a_plain_hash_is_compared_as_it_was_made(passwords: Passwords) -> None:
    """By its first 72 bytes: the rest counts from the renewal on."""
    stored = plain("x" * 72)
    assert await matches(passwords, "x" * 72 + "anything", stored)
    assert not await matches(passwords, "x" * 71 + "y", stored)


async def test_a_hash_behind_what_is_made_now_needs_renewal(make_passwords: MakePasswords) -> None:
    """Shows ASVS 11.2.2, NIST 3.1.1.2-h."""
    now = make_passwords(KeyChain.of("n" * 32, (SECRET,)), cost=5)
    assert not now.needs_renewal(await now.hash(PASSWORD))
    cheaper = make_passwords(KeyChain.of("n" * 32), cost=4)
    for behind in (await cheaper.hash(PASSWORD), await make_passwords(cost=5).hash(PASSWORD), plain(PASSWORD, cost=5)):
        assert await matches(now, PASSWORD, behind)
        assert now.needs_renewal(behind)


async def test_a_hash_under_a_secret_that_is_not_at_hand_confirms_nothing(make_passwords: MakePasswords) -> None:
    stored = await make_passwords().hash(PASSWORD)
    assert not await matches(make_passwords(KeyChain.of("n" * 32)), PASSWORD, stored)
    assert await matches(make_passwords(KeyChain.of("n" * 32, ("o" * 32, SECRET))), PASSWORD, stored)


async def test_a_dump_of_redis_confirms_no_password(passwords: Passwords) -> None:
    """T35: without the secret nobody can compute what bcrypt was given. Shows NIST 3.1.1.2-k."""
    stored = await passwords.hash(PASSWORD)
    scheme, key_id, digest = stored.split("$", 2)
    assert (scheme, key_id) == ("p1", KEYCHAIN.current.key_id)
    digest = "$" + digest.removeprefix("$")
    octets = PASSWORD.encode()
    guesses = [octets, hashlib.sha384(octets).digest(), base64.b64encode(hashlib.sha384(octets).digest())]
    for name in (b"", key_id.encode(), b"token-gateway/password-pepper/v1"):
        mac = hashlib.sha384(name + octets).digest()
        guesses += [mac, base64.b64encode(mac)]
    assert not any(bcrypt.checkpw(guess[:72], digest.encode()) for guess in guesses)
    assert PASSWORD not in stored


MALFORMED = [
    "",
    "x",
    "p1$",
    "p1$$$",
    PASSWORD,
    "$2b$04$" + "." * 52,
    "$2b$04$" + "." * 54,
    "$2b$03$" + "." * 53,
    "$2b$32$" + "." * 53,
    "$2b$99$" + "." * 53,
    "$2b$-4$" + "." * 53,
    "$2x$04$" + "." * 53,
    "$2$04$" + "." * 53,
    "$2b$04$" + "é" * 53,
    "$2b$04$" + "$" * 53,
    "$2b$04$" + " " * 53,
    "$2b$04$" + "." * 53 + "\n",
    "\n$2b$04$" + "." * 53,
    f"p1${KEYCHAIN.current.key_id}$$2b$04$" + "$" * 53,
    f"p1${KEYCHAIN.current.key_id}$$2b$99$" + "." * 53,
    f"p1${KEYCHAIN.current.key_id}$$2a$04$" + "." * 53,
    f"p2${KEYCHAIN.current.key_id}$$2b$04$" + "." * 53,
    f"p1${KEYCHAIN.current.key_id}$$2b$04$" + "." * 21 + "/" + "." * 31,
    "$argon2id$v=19$m=65536,t=3,p=4$",
    "pbkdf2_sha256$",
    "{SSHA}x",
    "!",
    "*",
]


@pytest.mark.parametrize("stored", MALFORMED)
async def test_a_hash_of_no_known_kind_confirms_nothing(passwords: Passwords, stored: str) -> None:
    for password in ("", PASSWORD, stored):
        assert not await matches(passwords, password, stored)


@given(st.text())
def test_no_stored_text_is_an_error(stored: str) -> None:
    """Whatever stands in Redis is a wrong password at worst."""
    passwords = Passwords(KEYCHAIN, COST, 1, time.monotonic)
    assert not asyncio.run(matches(passwords, PASSWORD, stored))
    passwords.close()


async def test_everybody_costs_the_same(make_passwords: MakePasswords) -> None:
    """
    T26: in processor time of the thread that compares, so that other work on the machine does not matter.

    Shows ASVS 6.3.8.
    """
    readings: list[float] = []

    def reading() -> float:
        readings.append(time.thread_time())
        return readings[-1]

    cost = 8
    passwords = make_passwords(KeyChain.of(SECRET, ("p" * 32,)), cost, 1, reading)
    too_long = "x" * (MAX_PASSWORD_BYTES + 1)
    ours = await passwords.hash(PASSWORD)
    of_previous = await make_passwords(KeyChain.of("p" * 32), cost).hash(PASSWORD)
    of_strangers = await make_passwords(KeyChain.of("q" * 32), cost).hash(PASSWORD)
    classes: dict[str, tuple[str, str | None]] = {
        "wrong password": ("another password", ours),
        "right password": (PASSWORD, ours),
        "nobody": (PASSWORD, None),
        "nobody, too long": (too_long, None),
        "too long": (too_long, ours),
        "no password": (PASSWORD, ""),
        "unknown kind": (PASSWORD, "!"),
        "previous secret": ("another password", of_previous),
        "unknown secret": (PASSWORD, of_strangers),
        "plain": ("another password", plain(PASSWORD, cost=cost)),
        **{f"cost {old}": ("another password", await make_passwords(cost=old).hash(PASSWORD)) for old in (4, 6, 7)},
        "right password, cost 6": (PASSWORD, await make_passwords(cost=6).hash(PASSWORD)),
    }
    taken: dict[str, list[float]] = {name: [] for name in classes}
    for _ in range(5):
        for name, (password, stored) in classes.items():
            readings.clear()
            await matches(passwords, password, stored)
            taken[name].append(readings[-1] - readings[0])
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    usual = statistics.median(medians.values())
    print({name: round(seconds / usual, 3) for name, seconds in medians.items()})
    for name, seconds in medians.items():
        assert 0.8 < seconds / usual < 1.25, name


async def test_too_many_at_once_are_told_that_and_the_others_are_served(make_passwords: MakePasswords) -> None:
    """
    Ten seconds for one hash, by the clock that the hasher is given: nobody should wait for so long.

    Shows ASVS 15.2.2.
    """
    seconds = 0.0

    def ten_seconds_later() -> float:
        nonlocal seconds
        seconds += 10
        return seconds

    passwords = make_passwords(threads=1, monotonic=ten_seconds_later)
    stored = await passwords.hash(PASSWORD)
    answers = await asyncio.gather(*(matches(passwords, PASSWORD, stored) for _ in range(30)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) >= 20
    assert set(answers) - set(refused) == {True}
    assert refused[0].retry_after_seconds >= 1
    assert await matches(passwords, PASSWORD, stored)


async def test_quick_hashes_are_not_refused(passwords: Passwords) -> None:
    stored = await passwords.hash(PASSWORD)
    assert all(await asyncio.gather(*(matches(passwords, PASSWORD, stored) for _ in range(20))))


async def test_the_event_loop_goes_on_while_passwords_are_compared(make_passwords: MakePasswords) -> None:
    passwords = make_passwords(cost=10)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await passwords.hash(PASSWORD)
    turning.cancel()
    assert turns > 100


def test_a_generated_password_is_strong_and_easy_to_copy() -> None:
    generated = {generate_password() for _ in range(100)}
    assert len(generated) == 100
    for password in generated:
        assert re.fullmatch(r"[A-Za-z0-9]{24}", password)
    assert 24 * math.log2(len(LETTERS_AND_DIGITS)) > 128


async def test_a_hash_says_which_secret_it_needs(passwords: Passwords) -> None:
    """So that an operator can count those that still need a previous one."""
    stored = await passwords.hash(PASSWORD)
    assert stored.startswith(f"p1${DerivedKeys.of(SECRET).key_id}$")
    assert SECRET not in stored


async def test_a_hash_has_its_scheme_its_cost_and_a_salt_of_its_own(make_passwords: MakePasswords) -> None:
    """Shows ASVS 11.4.2, NIST 3.1.1.2-h."""
    assert Settings().bcrypt_cost == 12
    passwords = make_passwords(cost=10)
    stored = [await passwords.hash(PASSWORD) for _ in range(2)]
    salts = []
    for one in stored:
        found = re.fullmatch(r"p1\$[A-Za-z0-9_-]{8}\$\$2b\$10\$([./A-Za-z0-9]{22})[./A-Za-z0-9]{31}", one)
        assert found
        salts.append(found[1])
    assert salts[0] != salts[1], "22 characters are 128 bits"


@pytest.mark.parametrize("cost", [9, 17])
def test_no_setting_makes_hashes_cheaper_or_dearer_than_that(cost: int) -> None:
    """Shows ASVS 11.4.2."""
    with pytest.raises(StartupError, match="bcrypt_cost"):
        load_settings({}, environment(secret=SECRET, bcrypt_cost=cost))
