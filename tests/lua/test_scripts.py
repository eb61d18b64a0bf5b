"""The Lua scripts: their headers tell the truth, and they keep to one slot and to what Redis 6.2 has."""

import ast
import base64
import re
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.changes import Changes
from gateway.accounts.factors.pending import PendingLogin
from gateway.accounts.factors.second_factors import SecondFactors
from gateway.accounts.factors.totp import hotp
from gateway.accounts.factors.webauthn import RelyingParty
from gateway.accounts.users import User, Users
from gateway.derived_keys import KeyChain
from gateway.limits.guessing import GuessingThrottle
from gateway.limits.rate_limits import RateLimiter
from gateway.machines import Clients, read_client_keys
from gateway.machines.personal_tokens import PersonalTokens
from gateway.sessions.browser import SessionCookie
from gateway.sessions.families import RefreshFamilies, new_family_id
from gateway.sessions.revocations import Revocations
from gateway.sessions.session_looks import SessionLooks
from gateway.sessions.status_indexes import StatusIndexes
from gateway.settings import Quota
from gateway.store.store import Script, Store
from gateway.telemetry.audit_trail import AuditTrail
from gateway.telemetry.events import USER_ADDED
from gateway.tokens.keyring import Keyring
from tests.harness import SECRET, RedisServer, free_port, wait_until
from tests.machines.clients import KeyedService, new_key, public_pem
from tests.scripts import PLACES, load_script

REPOSITORY = Path(__file__).parents[2]
INCLUDED = ("family_record", "guess_lane", "factor_record", "token_record")
FIELDS = ("RETURNS", "CLOCK", "COST", "CALLER")
COMMANDS_OF_REDIS_6_2 = {
    *(
        "DEL",
        "EXISTS",
        "EXPIRE",
        "GET",
        "HDEL",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HINCRBY",
        "HMGET",
        "HSET",
        "HVALS",
        "INFO",
    ),
    *("PEXPIREAT", "PTTL", "SET", "TIME", "TTL", "XADD", "XREVRANGE", "XTRIM"),
}


@cache
def text_of(name: str) -> str:
    return PLACES[name].read_text()


def all_names() -> list[str]:
    return sorted(PLACES)


SCRIPTS = [name for name in all_names() if name not in INCLUDED]


def header_of(name: str) -> str:
    lines = text_of(name).splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:end])


def body_of(name: str) -> str:
    code = text_of(name).splitlines()[header_of(name).count("\n") + 1 :]
    return "\n".join(line.partition("--")[0] for line in code)


def numbers(kind: str, text: str) -> set[int]:
    return {int(number) for number in re.findall(rf"{kind}\[(\d+)\]", text)}


def test_there_are_scripts() -> None:
    assert {"family_rotate", "gcra_take", "user_change"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_begins_with_the_name_and_says_what_the_script_does(name: str) -> None:
    assert re.match(rf"-- {name}: [a-z].+", header_of(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_names_the_keys_that_are_used_and_no_others(name: str) -> None:
    named = re.findall(r"^-- KEYS\[(\d+)\]  <prefix>\S+ ", header_of(name), re.MULTILINE)
    assert [int(number) for number in named] == list(range(1, len(named) + 1))
    assert numbers("KEYS", body_of(name)) == {int(number) for number in named}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_names_the_arguments_that_are_used_and_no_others(name: str) -> None:
    named = re.findall(r"^-- ARGV\[(\d+)(\+?)\] +\S", header_of(name), re.MULTILINE)
    assert [int(number) for number, _ in named] == list(range(1, len(named) + 1))
    assert "+" not in [more for _, more in named[:-1]]
    body = body_of(name)
    rest = {
        int(number)
        for number in re.findall(r"unpack\(ARGV, (\d+)\)|for i = (\d+), #ARGV", body)
        for number in number
        if number
    }
    if rest:
        assert named[-1] == (str(*rest), "+")
    else:
        assert "+" not in [more for _, more in named]
    used = numbers("ARGV", body)
    single = {int(number) for number, more in named if not more}
    assert single <= used
    assert {number for number in used if not rest or number < min(rest)} == single


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_tells_answer_clock_cost_and_caller_once(name: str) -> None:
    for field in FIELDS:
        assert len(re.findall(rf"(?:^-- |  ){field} +\S", header_of(name), re.MULTILINE)) == 1, field


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_tells_which_clock_the_script_reads(name: str) -> None:
    reads = "redis.call('TIME')" in body_of(name) or "now_milliseconds()" in body_of(name)
    [told] = re.findall(r"^-- CLOCK +(Redis TIME, \w+|none) ", header_of(name), re.MULTILINE)
    assert told.startswith("Redis TIME") is reads


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_caller_exists_and_loads_the_script(name: str) -> None:
    [(path, callers)] = re.findall(r"^-- CALLER +(\S+): (.+)$", header_of(name), re.MULTILINE)
    source = (REPOSITORY / path).read_text()
    assert f'Script.load(__package__, "{name}")' in source
    assert PLACES[name].parent == (REPOSITORY / path).parent
    classes = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    for caller in callers.split(", "):
        class_name, _, method = caller.partition(".")
        methods = {node.name for node in classes[class_name].body if isinstance(node, ast.AsyncFunctionDef)}
        assert not method or method in methods, caller


def test_every_script_is_loaded_by_somebody() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "gateway").rglob("*.py"))
    assert sorted(re.findall(r'Script\.load\(__package__, "(\w+)"\)', sources)) == sorted(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_includes_what_it_uses(name: str) -> None:
    helpers = {
        included: set(re.findall(r"^local function (\w+)", text_of(included), re.MULTILINE)) for included in INCLUDED
    }
    called = set(re.findall(r"\b(\w+)\(", body_of(name)))
    named = re.findall(r"^-- INCLUDES \w+/(\w+)$", header_of(name), re.MULTILINE)
    own = set().union(*(helpers[included] for included in named))
    assert called & set().union(*helpers.values()) <= own
    assert all(called & helpers[included] for included in named)
    loaded = load_script(name)
    assert [included for included in INCLUDED if text_of(included) in loaded.text] == named
    assert loaded.text.endswith(text_of(name))


@pytest.mark.parametrize("name", all_names())
def test_a_script_keeps_to_redis_6_2(name: str) -> None:
    """No shebang, no newer commands, and every call by a plain name."""
    text = body_of(name) if name in SCRIPTS else text_of(name)
    assert not text_of(name).startswith("#!")
    called = re.findall(r"redis\.p?call\(([^,)]+)", text)
    assert {call.strip("'") for call in called} <= COMMANDS_OF_REDIS_6_2
    assert not re.search(r"'(NX|GT|LT|KEEPTTL|GETDEL|IFEQ)'", re.sub(r"redis\.call\('SET'[^\n]*", "", text))


@pytest.mark.redis
def test_every_script_loads(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for name in SCRIPTS:
            script = load_script(name)
            assert client.script_load(script.text) in (script.sha1, script.sha1.encode())


@pytest.fixture
async def cluster_store(own_redis: Callable[..., RedisServer]) -> AsyncIterator[Store]:
    """Give a store on a cluster of one node, which refuses keys of several slots as a large one does."""
    server = own_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    wait_until(lambda: b"cluster_state:ok" in server.command("CLUSTER", "INFO"), what="the cluster")
    store = Store(f"redis+cluster://127.0.0.1:{server.port}", "gw:")
    yield store
    await store.close()


async def use_a_second_factor(store: Store, users: Users, keychain: KeyChain, user: User) -> None:
    """Set one up, show it, give it a name and take it away."""
    party = RelyingParty("example.com", "Example", "https://example.com")
    factors = SecondFactors(store, keychain, lambda: 0, users, policy="required", party=party)
    new = await factors.begin_totp(user)
    secret = base64.b32decode(new.secret)
    await factors.confirm_totp(user.user_id, new.factor_id, hotp(secret, 0))
    login = PendingLogin(purpose="factor", user_id=user.user_id, password_version=user.password_version)
    await factors.logins.prove_totp((await factors.logins.ask(login)).pending, hotp(secret, 1))
    assert await factors.rename(user.user_id, new.factor_id, "My phone")
    assert await factors.remove(user.user_id, new.factor_id)


@pytest.mark.redis
@pytest.mark.one_server("makes a cluster of one node of it, wherever the other tests run")
async def test_every_script_keeps_to_one_slot_of_a_cluster(cluster_store: Store) -> None:
    """And so do the commands that take several keys."""
    seen = set()

    async def run(script: Script, *arguments: Any, **options: Any) -> Any:
        seen.add(script.name)
        return await Store.run(cluster_store, script, *arguments, **options)

    cluster_store.run = run  # type: ignore[method-assign]
    users, keychain = Users(cluster_store, lambda: 0), KeyChain.of(SECRET)
    families = RefreshFamilies(
        cluster_store, keychain, idle_ttl_seconds=60, absolute_ttl_seconds=60, replay_window_seconds=60, max_per_user=1
    )
    user = await users.add("ann@example.com", "Ann", ("staff",), "a hash")
    opened = [await families.open(user.user_id, 1, new_family_id(), "::1", "curl") for _ in range(2)]
    rotation = await families.rotate(families.parse(opened[1].refresh_token))
    assert rotation.outcome == "rotated"
    assert [family.family_id for family in await families.list(user.user_id)] == [opened[1].family_id]
    assert await families.exists(user.user_id, opened[1].family_id)
    revocations = Revocations(cluster_store, lambda: 0)
    looks = SessionLooks(cluster_store, keychain, revocations, idle_ttl_seconds=60)
    cookie = SessionCookie(user.user_id, opened[1].family_id, opened[1].auth_time)
    assert (await looks.look(cookie)).presence.roles == ("staff",)
    assert await families.mark(user.user_id, opened[1].unannounced) == opened[1].unannounced
    await revocations.announce(opened[1].unannounced)
    assert await families.revoke(user.user_id, opened[1].unannounced) == 1
    await StatusIndexes(cluster_store, keychain, lambda: 0).new_session_id()
    await use_a_second_factor(cluster_store, users, keychain, user)
    tokens = PersonalTokens(cluster_store, keychain)
    text, token = await tokens.create(user.user_id, "backup", ("staff",))
    assert (await tokens.look(tokens.parse(text))).roles == ("staff",)
    assert [one.token_id for one in await tokens.all(user.user_id)] == [token.token_id]
    assert await tokens.mark(user.user_id, token.token_id)
    await tokens.revoke(user.user_id, token.token_id)
    await Changes(cluster_store, lambda: 0).note(user.user_id, "reset")
    assert (await users.set_active(user.user_id, False))[:-1] == (opened[1].family_id,)
    await users.remove(user.user_id, user.email)
    assert [user async for user in users.all()] == []
    assert len(await cluster_store.read_stream("gw:revocations", "0-0", 10, wait=True)) == 1

    clients = Clients(cluster_store, keychain, lambda: 0)
    service, _ = await clients.add("Service", ("staff",), ("https://api.example.com",))
    await clients.renew_secret(service.client_id)
    assert (await clients.mark(service.client_id)).startswith(service.client_id)
    await clients.delete(service.client_id)
    key = new_key()
    keyed, _ = await clients.add("Keyed", (), ("https://api.example.com",), read_client_keys(public_pem(key)))
    assertion = KeyedService(keyed.client_id, key).assertion("https://auth.example.com", now=1)
    assert (await clients.by_assertion(assertion, issuer="https://auth.example.com", now=1)) == keyed

    keyring = Keyring(
        cluster_store, keychain, algorithm="EdDSA", rsa_key_bits=2048, access_token_ttl_seconds=60, rotation_days=30
    )
    await keyring.open()
    await RateLimiter(cluster_store, {"login": Quota(10, 60)}).take("login", "192.0.2.7")
    throttle = GuessingThrottle(cluster_store, keychain, lambda: 0, is_on=True)
    async with throttle.login("ann@example.com", None):
        pass
    trail = AuditTrail(cluster_store, keychain)
    trail.tell(USER_ADDED, sub=user.user_id)
    await trail.close()
    assert trail.lost == 0
    assert seen == set(SCRIPTS)
    assert (await cluster_store.server_facts())["cluster_enabled"] == 1
