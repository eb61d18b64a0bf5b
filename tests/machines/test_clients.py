"""Machine clients in Redis: secrets that change, assertions that are good once, removal that is completed."""

import asyncio
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from gateway.accounts.users import new_user_id
from gateway.derived_keys import KeyChain
from gateway.errors import CommandError, InvalidClient, StoreUnavailable
from gateway.machines import Client, Clients, UnknownClient, read_client_keys
from gateway.machines.clients import CLOCK_MARGIN_SECONDS, ClientChanged, new_client_id
from gateway.sessions import Revocations
from gateway.store.store import Script, Store
from tests.conftest import OpenStore
from tests.harness import SECRET, RedisServer
from tests.machines.clients import KeyedService, new_key, public_pem

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

ISSUER = "https://auth.example.com"
AUDIENCES = ("https://api.example.com", "urn:example:other")
CHAIN = KeyChain.of(SECRET)
NOW = 1_790_000_000


@pytest.fixture
async def clients(store: Store) -> Clients:
    """Give the clients of a prefix of its own."""
    return Clients(store, CHAIN, lambda: NOW)


@pytest.fixture
async def other(redis_server: RedisServer, store: Store) -> AsyncIterator[Clients]:
    """Give the same clients, as another gateway sees them."""
    opened = Store(redis_server.url, store.prefix)
    yield Clients(opened, CHAIN, lambda: NOW)
    await opened.close()


async def add(clients: Clients) -> tuple[Client, str]:
    return await clients.add("Service", ("reader",), AUDIENCES)


async def add_keyed(clients: Clients) -> KeyedService:
    key = new_key()
    client, secret = await clients.add("Keyed", (), AUDIENCES, read_client_keys(public_pem(key)))
    assert secret == ""
    return KeyedService(client.client_id, key)


async def cause_of(clients: Clients, client: Client, secret: str) -> str:
    with pytest.raises(InvalidClient) as caught:
        await clients.by_secret(client.client_id, secret)
    return caught.value.cause


async def test_a_client_is_found_as_it_was_added(clients: Clients) -> None:
    client, secret = await add(clients)
    assert await clients.get(client.client_id) == client
    assert await clients.by_secret(client.client_id, secret) == client
    assert (client.name, client.roles, client.audiences, client.created_at) == ("Service", ("reader",), AUDIENCES, NOW)
    assert (client.secret_count, client.keys, client.cut_off) == (1, (), "")
    keyed = await add_keyed(clients)
    assert {one.client_id async for one in clients.all()} == {client.client_id, keyed.client_id}


@pytest.mark.parametrize("client_id", ["", "cli_", "cli_" + "x" * 22, "cli_x}{", "usr_" + "x" * 22, "\ud800", "a\nb"])
async def test_an_id_of_nobody_finds_nobody(client_id: str, clients: Clients) -> None:
    assert await clients.get(client_id) is None
    for work in (clients.renew_secret, clients.end_old_secret, clients.mark):
        with pytest.raises(UnknownClient):
            await work(client_id)
    with pytest.raises(InvalidClient):
        await clients.by_secret(client_id, "x")


async def test_a_new_secret_leaves_the_one_before_good_and_the_third_ends_the_first(clients: Clients) -> None:
    client, first = await add(clients)
    second = await clients.renew_secret(client.client_id)
    for secret in (first, second):
        assert (await clients.by_secret(client.client_id, secret)).secret_count == 2
    third = await clients.renew_secret(client.client_id)
    assert await cause_of(clients, client, first) == "wrong-secret"
    for secret in (second, third):
        await clients.by_secret(client.client_id, secret)


async def test_the_old_secret_is_ended_and_the_new_one_is_good(clients: Clients) -> None:
    client, first = await add(clients)
    assert not await clients.end_old_secret(client.client_id)
    second = await clients.renew_secret(client.client_id)
    assert await clients.end_old_secret(client.client_id)
    assert await cause_of(clients, client, first) == "wrong-secret"
    assert (await clients.by_secret(client.client_id, second)).secret_count == 1


async def test_of_changes_at_once_each_that_succeeds_leaves_its_secret_good(clients: Clients, other: Clients) -> None:
    client, _ = await add(clients)
    for _ in range(20):
        made = await asyncio.gather(
            *(one.renew_secret(client.client_id) for one in (clients, other) * 3), return_exceptions=True
        )
        good = [secret for secret in made if isinstance(secret, str)]
        assert good
        assert all(isinstance(one, ClientChanged) for one in made if not isinstance(one, str))
        found = await clients.get(client.client_id)
        assert found is not None
        assert found.secret_count == 2
        checks = [clients.by_secret(client.client_id, secret) for secret in good]
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        assert sum(isinstance(outcome, Client) for outcome in outcomes) == min(2, len(good))


async def test_a_change_that_is_sent_again_is_done_once(clients: Clients, store: Store) -> None:
    client, _ = await add(clients)
    script = Script.load("gateway.machines", "client_change")
    words = [store.key(f"client:{{{client.client_id}}}")], client.version, "another", "name", "New"
    assert await store.run(script, *words) == b"changed"
    assert await store.run(script, *words) == b"changed"
    assert await store.run(script, words[0], client.version, "third", "name", "x") == b"conflict"


async def test_keys_and_secrets_do_not_mix(clients: Clients) -> None:
    client, _ = await add(clients)
    keyed = await add_keyed(clients)
    with pytest.raises(CommandError, match="has public keys"):
        await clients.renew_secret(keyed.client_id)
    with pytest.raises(CommandError, match="has a secret"):
        await clients.set_keys(client.client_id, read_client_keys(public_pem(new_key())))
    with pytest.raises(InvalidClient):
        await clients.by_secret(keyed.client_id, "")
    unkeyed = KeyedService(client.client_id, new_key())
    with pytest.raises(InvalidClient):
        await clients.by_assertion(unkeyed.assertion(ISSUER, now=NOW), issuer=ISSUER, now=NOW)


async def test_other_keys_take_the_place_of_the_first(clients: Clients) -> None:
    keyed, key = await add_keyed(clients), new_key()
    await clients.set_keys(keyed.client_id, read_client_keys(public_pem(key)))
    with pytest.raises(InvalidClient):
        await clients.by_assertion(keyed.assertion(ISSUER, now=NOW), issuer=ISSUER, now=NOW)
    await clients.by_assertion(keyed.assertion(ISSUER, key=key, now=NOW), issuer=ISSUER, now=NOW)


async def test_a_secret_moves_to_the_new_secret_of_the_settings_when_it_is_used(store: Store) -> None:
    new = "another secret for tests alone, 32 bytes"
    before, after = Clients(store, CHAIN, lambda: NOW), Clients(store, KeyChain.of(new, (SECRET,)), lambda: NOW)
    client, first = await add(before)
    second = await before.renew_secret(client.client_id)
    for secret in (first, second):
        await after.by_secret(client.client_id, secret)
    alone = Clients(store, KeyChain.of(new), lambda: NOW)
    for secret in (first, second):
        assert (await alone.by_secret(client.client_id, secret)).key_ids == (KeyChain.of(new).current.key_id,) * 2
    assert await cause_of(before, client, first) == "wrong-secret"


async def test_of_twenty_requests_with_one_assertion_one_is_served(clients: Clients, other: Clients) -> None:
    """Two hundred times, by two gateways."""
    keyed, served, begun = await add_keyed(clients), Counter[int](), time.monotonic()
    for _ in range(200):
        text = keyed.assertion(ISSUER, now=NOW)
        outcomes = await asyncio.gather(
            *(one.by_assertion(text, issuer=ISSUER, now=NOW) for one in (clients, other) * 10), return_exceptions=True
        )
        assert all(
            isinstance(one, Client) or (isinstance(one, InvalidClient) and one.cause == "assertion-used")
            for one in outcomes
        )
        served[sum(isinstance(one, Client) for one in outcomes)] += 1
    print(f"rounds by requests served: {dict(served)}, {time.monotonic() - begun:.1f} s")
    assert served == {1: 200}


async def test_a_jti_is_forgotten_after_its_assertion(clients: Clients, store: Store) -> None:
    keyed = await add_keyed(clients)
    await clients.by_assertion(keyed.assertion(ISSUER, now=NOW, exp=NOW + 30.5), issuer=ISSUER, now=NOW)
    (key,) = [key async for key in store.scan("jti:*")]
    assert 31 + CLOCK_MARGIN_SECONDS - 2 <= await store.execute("TTL", key) <= 31 + CLOCK_MARGIN_SECONDS


async def test_a_jti_that_is_taken_again_by_the_same_request_is_taken(store: Store) -> None:
    """The store sends a command once more when the connection broke."""
    script, keys = Script.load("gateway.machines", "jti_take"), [store.key("jti:x")]
    assert [await store.run(script, keys, nonce, 60) for nonce in ("a", "a", "b", "a")] == [1, 1, 0, 1]


async def test_a_client_that_is_marked_authenticates_no_more_and_is_not_changed(clients: Clients) -> None:
    client, secret = await add(clients)
    cut_off = await clients.mark(client.client_id)
    assert cut_off == await clients.mark(client.client_id), "as often as it takes"
    with pytest.raises(InvalidClient) as caught:
        await clients.by_secret(client.client_id, secret)
    assert caught.value.unfinished == (client.client_id, cut_off)
    with pytest.raises(UnknownClient):
        await clients.renew_secret(client.client_id)
    with pytest.raises((UnknownClient, ClientChanged)):
        await clients._apply(client, {"secret": client.stored_secrets[0]})
    assert await cause_of(clients, client, secret) == "client-removed"
    await clients.delete(client.client_id)
    assert await cause_of(clients, client, secret) == "unknown-client"
    with pytest.raises(UnknownClient):
        await clients.mark(client.client_id)
    with pytest.raises(UnknownClient):
        await clients._apply(client, {"secret": client.stored_secrets[0]})
    assert await clients.get(client.client_id) is None


async def test_a_removal_cuts_off_the_client_and_nobody_else(clients: Clients, store: Store) -> None:
    client, _ = await add(clients)
    revocations = Revocations(store, lambda: NOW)
    await revocations.announce((await clients.mark(client.client_id),))
    assert revocations.has_ended(client.client_id, "", 0)
    assert not revocations.has_ended("cli_" + "x" * 22, "", 0)


@pytest.mark.one_server
async def test_a_client_is_removed_when_redis_is_full(
    own_redis: Callable[..., RedisServer], open_store: OpenStore
) -> None:
    server = own_redis()
    clients = Clients(open_store(server.url), CHAIN, lambda: NOW)
    client, secret = await add(clients)
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable):
        await add(clients)
    cut_off = await clients.mark(client.client_id)
    await Revocations(open_store(server.url), lambda: NOW).announce((cut_off,))
    assert await cause_of(clients, client, secret) == "client-removed"
    await clients.delete(client.client_id)
    assert await clients.get(client.client_id) is None


@pytest.mark.one_server
async def test_redis_has_no_secret_and_no_private_key(
    own_redis: Callable[..., RedisServer], open_store: OpenStore
) -> None:
    """Neither in what it answers nor in what it has written to disk. Shows ASVS 14.2.4."""
    server = own_redis("--aof-use-rdb-preamble", "no")
    clients = Clients(open_store(server.url), CHAIN, lambda: NOW)
    client, first = await add(clients)
    second = await clients.renew_secret(client.client_id)
    keyed = await add_keyed(clients)
    text = keyed.assertion(ISSUER, now=NOW)
    await clients.by_assertion(text, issuer=ISSUER, now=NOW)
    await clients.by_secret(client.client_id, first)
    await cause_of(clients, client, "gws_wrong")
    written = b"".join(path.read_bytes() for path in server.directory.rglob("*") if path.is_file())
    assert client.client_id.encode() in written
    private = keyed.key.private_bytes_raw()  # type: ignore[union-attr]  # it is Ed25519
    for secret in (first, second, first[4:40], "gws_wrong", text, text.split(".")[2]):
        assert secret.encode() not in written
    assert private not in written


def test_a_client_shows_nothing_of_what_is_stored() -> None:
    client = Client("cli_x", "n", (), ("a",), 1, ("key:mac", ""), "", "v", "")
    assert "mac" not in repr(client)
    assert msgspec.json.decode(read_client_keys(public_pem(new_key())))["keys"][0].keys() == {"kty", "kid", "crv", "x"}


async def test_a_client_of_the_longest_name_is_found(clients: Clients) -> None:
    name = "\u00e4" * 200
    client, _ = await clients.add(name, (), (secrets.token_hex(100),))
    found = await clients.get(client.client_id)
    assert found is not None
    assert found.name == name


def test_no_client_can_be_taken_for_a_user() -> None:
    """Their ids begin with other letters, and a user's is made here too: nobody chooses his. Shows RFC 9700 4.15.1."""
    clients, users = ({make() for _ in range(1000)} for make in (new_client_id, new_user_id))
    assert all(re.fullmatch(r"cli_[A-Za-z0-9_-]{22}", one) for one in clients)
    assert all(re.fullmatch(r"usr_[A-Za-z0-9_-]{22}", one) for one in users)
    assert len(clients | users) == 2000
