"""The keyring: one for all gateways, sealed, rotated by the rules, and never lost while somebody remembers it."""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from gateway.derived_keys import KeyChain
from gateway.errors import CommandError, StartupError, StoreUnavailable
from gateway.store.store import Store
from gateway.tokens.keyring import Keyring
from gateway.tokens.signing_keys import Keys, PrivateKey, SigningKey, load_private_key
from gateway.verifier import thumbprint
from tests.doubles import SendsTwice
from tests.harness import SECRET, RedisServer, free_port, until

pytestmark = pytest.mark.redis

DAY = 86_400
TTL_SECONDS = 600
KEPT_SECONDS = TTL_SECONDS + 3600 + 5
ALGORITHMS = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
MEMBERS = {"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}


def keyring_of(
    store: Store, *previous_secrets: str, secret: str = SECRET, kind: type[Keyring] = Keyring, **changes: Any
) -> Keyring:
    """Give the keyring of one more gateway. Ed25519 keys, since they are made at once."""
    options: dict[str, Any] = {
        "algorithm": "Ed25519",
        "rsa_key_bits": 2048,
        "access_token_ttl_seconds": TTL_SECONDS,
        "rotation_days": 30,
    }
    return kind(store, KeyChain.of(secret, previous_secrets), **options | changes)


async def document_of(store: Store) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(await store.execute("GET", store.key("keyring")))
    return document


async def put_document(store: Store, document: dict[str, Any] | bytes) -> None:
    text = document if isinstance(document, bytes) else json.dumps(document)
    await store.execute("SET", store.key("keyring"), text)


def dropped_key(store: Store) -> str:
    return store.key(f"{{{store.key('keyring')}}}:dropped")


async def age(keyring: Keyring, **seconds: int) -> Keys:
    """Let moments of the keys, named by their state, be so much longer ago: sealed again as a gateway does it."""

    def aged(key: SigningKey) -> SigningKey:
        back = seconds.get(key.state, 0)
        return dataclasses.replace(
            key,
            published_at=key.published_at - back,
            signs_since=key.signs_since and key.signs_since - back,
            leaves_at=key.leaves_at and key.leaves_at - back,
        )

    keys = await keyring.open()
    assert await keyring._replace(keys.version, tuple(aged(key) for key in keys.keys))
    return keyring.keys


def states(keys: Keys) -> dict[str, str]:
    return {key.kid: key.state for key in keys.keys}


def kids_in(keys: Keys, state: str) -> list[str]:
    return [key.kid for key in keys.keys if key.state == state]


@asynccontextmanager
async def following(*keyrings: Keyring) -> AsyncIterator[None]:
    """Let keyrings follow Redis for as long as the block lasts."""
    followers = [asyncio.create_task(keyring.follow()) for keyring in keyrings]
    try:
        yield
    finally:
        assert not any(follower.done() for follower in followers)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


@cache
def rsa_key(bits: int = 2048, exponent: int = 65_537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=exponent, key_size=bits)


def pem_of(key: Any, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem


class TestFirstStart:
    """Nobody has made a key yet."""

    async def test_the_first_start_makes_a_key_that_signs_and_the_next_one(self, store: Store) -> None:
        keys = await keyring_of(store).open()
        assert sorted(states(keys).values()) == ["current", "next"]
        assert keys.next is not None
        assert keys.current.kid != keys.next.kid
        assert keys.current.signs_since == keys.current.published_at == keys.next.published_at
        assert keys.version == 1
        assert await store.execute("TTL", store.key("keyring")) == -1

    async def test_of_many_first_starts_one_makes_the_keys(self, store: Store, redis_server: RedisServer) -> None:
        other = Store(redis_server.url, store.prefix)
        keyrings = [keyring_of(each) for each in [store, other] * 5]
        opened = await asyncio.gather(*(keyring.open() for keyring in keyrings))
        assert len({keys.jwks for keys in opened}) == 1
        assert {keys.version for keys in opened} == {1}
        await other.close()

    async def test_opening_again_changes_nothing(self, store: Store) -> None:
        first = await keyring_of(store).open()
        before = await document_of(store)
        again = keyring_of(store)
        assert (await again.open()).jwks == first.jwks
        assert (await again.open()).jwks == first.jwks
        assert await document_of(store) == before

    async def test_without_redis_there_are_no_keys_and_that_is_told(self) -> None:
        store = Store(f"redis://127.0.0.1:{free_port()}/0", "gw:")
        keyring = keyring_of(store)
        with pytest.raises(StoreUnavailable):
            await keyring.open()
        assert not keyring.is_open
        for ask in (lambda: keyring.keys, lambda: keyring.signing_key):
            with pytest.raises(StoreUnavailable):
                ask()
        await store.close()

    async def test_a_gateway_that_started_without_redis_opens_the_keyring_when_redis_is_there(
        self, own_redis: Callable[..., RedisServer]
    ) -> None:
        server = own_redis()
        server.kill()
        store = Store(server.url, "gw:")
        keyring = keyring_of(store)
        async with following(keyring):
            await asyncio.sleep(0.2)
            server.start()
            assert await until(lambda: keyring.is_open) < 1.0
        await store.close()


class TestSeal:
    """Whoever reads Redis learns no key, and whoever writes to it cannot bring one in."""

    @pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "RS256"])
    async def test_no_private_key_is_in_redis(self, store: Store, algorithm: str) -> None:
        keys = await keyring_of(store, algorithm=algorithm).open()
        stored: bytes = await store.execute("GET", store.key("keyring"))
        assert keys.current.kid.encode() in stored
        for key in keys.keys:
            for octets in private_octets(key.private_key):
                for spelling in (octets, octets.hex().encode(), base64.b64encode(octets)):
                    assert spelling[:24] not in stored
                assert base64.urlsafe_b64encode(octets)[:24] not in stored
        assert b"PRIVATE" not in stored
        assert SECRET.encode() not in stored
        assert "PrivateKey" not in repr(keys)

    async def test_sealing_twice_gives_other_texts(self, store: Store) -> None:
        """A nonce is used once. Shows ASVS 11.3.4."""
        keyring = keyring_of(store)
        keys = await keyring.open()
        texts = [keyring._seals.seal_keys(1, keys.keys) for _ in range(20)]
        seals = {key["sealed"][:16] for text in texts for key in json.loads(text)["keys"]}
        assert len(seals) == 40

    async def test_another_secret_opens_nothing_and_changes_nothing(self, store: Store) -> None:
        await keyring_of(store).open()
        before = await document_of(store)
        stranger = keyring_of(store, "p" * 32, secret="n" * 32)
        for attempt in (
            stranger.open(),
            stranger.rotate(force=True),
            stranger.add(ed25519.Ed25519PrivateKey.generate()),
        ):
            with pytest.raises(StartupError, match="previous_secrets"):
                await attempt
        assert not stranger.is_open
        assert await document_of(store) == before

    async def test_a_previous_secret_opens_and_the_keys_are_sealed_again_under_the_new_one(self, store: Store) -> None:
        before = await keyring_of(store).open()
        moved = await keyring_of(store, "x" * 32, SECRET, secret="n" * 32).open()
        assert moved.jwks == before.jwks
        assert (await keyring_of(store, secret="n" * 32).open()).jwks == before.jwks
        with pytest.raises(StartupError):
            await keyring_of(store).open()

    async def test_a_gateway_of_the_old_secret_goes_on_from_memory_and_leaves_the_keyring_alone(
        self, store: Store
    ) -> None:
        """A secret is changed one gateway after another."""
        old = keyring_of(store)
        before = await old.open()
        await keyring_of(store, SECRET, secret="n" * 32).open()
        document = await document_of(store)
        async with following(old):
            await asyncio.sleep(0.1)
        assert old.keys.jwks == before.jwks
        assert await document_of(store) == document

    async def test_every_flipped_bit_is_found(self, store: Store) -> None:
        """
        In the text of the seal, in what it says of the keys, in the names and in between.

        Shows ASVS 11.2.5, ASVS 11.3.3.
        """
        keyring = keyring_of(store)
        await keyring.open()
        await age(keyring, next=DAY)
        await keyring.rotate()
        stored: bytes = await store.execute("GET", store.key("keyring"))
        for bit in range(len(stored) * 8):
            flipped = (int.from_bytes(stored, "big") ^ (1 << bit)).to_bytes(len(stored), "big")
            with pytest.raises(StartupError):
                keyring._seals.unseal_keys(flipped)

    @pytest.mark.parametrize(
        "change",
        [
            {"published_at": 1},
            {"signs_since": 1},
            {"leaves_at": 2**40},
            {"algorithm": "HS256"},
            {"algorithm": "RS256"},
            {"kid": "another"},
            {"kid": ""},
            {"sealed": ""},
            {"sealed": "AAAA"},
            {"sealed": "é"},
        ],
    )
    async def test_what_the_document_says_of_a_key_is_under_its_seal(
        self, store: Store, change: dict[str, Any]
    ) -> None:
        """Nobody can let a key sign early, stay longer, or be of another kind."""
        await keyring_of(store).open()
        for place in (0, 1):
            document = await document_of(store)
            good = json.dumps(document).encode()
            document["keys"][place] |= change
            await put_document(store, document)
            with pytest.raises(StartupError):
                await keyring_of(store).open()
            await put_document(store, good)

    async def test_a_document_cannot_be_made_newer_nor_mixed_with_another(self, store: Store) -> None:
        keyring = keyring_of(store)
        await keyring.open()
        older = await document_of(store)
        await keyring.rotate(force=True)
        newer = await document_of(store)
        for forged in (
            older | {"version": 99},
            newer | {"version": 1},
            newer | {"keys": [*newer["keys"], older["keys"][0]]},
            newer | {"keys": []},
            newer | {"keys": [key for key in newer["keys"] if not key["signs_since"]]},
        ):
            await put_document(store, forged)
            with pytest.raises(StartupError):
                await keyring_of(store).open()

    @pytest.mark.parametrize(
        "text",
        [b"x", b"{}", b"[]", b"5", b'{"version":1}', b'{"version":"1","keys":[]}', b"\xff", b'{"a":' + b"[" * 100_000],
    )
    async def test_what_is_no_keyring_is_refused_and_left_alone(self, store: Store, text: bytes) -> None:
        await put_document(store, text)
        keyring = keyring_of(store)
        with pytest.raises(StartupError, match="restore"):
            await keyring.open()
        async with following(keyring):
            await asyncio.sleep(0.05)
        assert await store.execute("GET", store.key("keyring")) == text


def private_octets(key: PrivateKey) -> list[bytes]:
    """Give what must stay secret of a key, as octets."""
    match key:
        case rsa.RSAPrivateKey():
            numbers = key.private_numbers()
            secret = [numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp]
            return [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in secret]
        case ec.EllipticCurvePrivateKey():
            return [key.private_numbers().private_value.to_bytes(32, "big")]
        case _:
            return [key.private_bytes_raw()]


class TestRotation:
    """The rules of section 7."""

    async def test_the_next_key_signs_when_it_has_been_public_for_a_day(self, store: Store) -> None:
        keyring = keyring_of(store)
        before = await age(keyring, next=DAY)
        assert before.next is not None
        after = await keyring.rotate()
        assert after.version == before.version + 1
        assert after.current.kid == before.next.kid
        assert after.current.published_at == before.next.published_at
        assert states(after)[before.current.kid] == "retiring"
        assert after.next is not None
        assert after.next.kid not in states(before)
        retiring = next(key for key in after.keys if key.state == "retiring")
        assert retiring.leaves_at == after.current.signs_since + KEPT_SECONDS

    @pytest.mark.parametrize("seconds", [0, DAY - 60])
    async def test_a_younger_next_key_does_not_sign_but_by_force(self, store: Store, seconds: int) -> None:
        keyring = keyring_of(store)
        before = await age(keyring, next=seconds)
        document = await document_of(store)
        with pytest.raises(CommandError, match="--force"):
            await keyring.rotate()
        assert await document_of(store) == document
        forced = await keyring.rotate(force=True)
        assert before.next is not None
        assert forced.current.kid == before.next.kid
        assert states(forced)[before.current.kid] == "retiring"

    async def test_compromised_keys_leave_at_once_and_retiring_ones_stay(self, store: Store) -> None:
        keyring = keyring_of(store)
        await age(keyring, next=DAY)
        before = await keyring.rotate()
        after = await keyring.rotate(compromised=True)
        assert before.next is not None
        assert not {before.current.kid, before.next.kid} & set(states(after))
        assert kids_in(after, "retiring") == kids_in(before, "retiring")
        assert after.next is not None
        assert keyring.signing_key.kid not in {before.current.kid, before.next.kid}

    async def test_a_key_signs_when_every_gateway_may_publish_it(self, store: Store) -> None:
        """After a forced rotation the key before signs for the few seconds in which others may not know yet."""
        now = time.monotonic()
        keyring = keyring_of(store, monotonic=lambda: now)
        before = await keyring.open()
        # The first keys ever sign at once, since there is nothing else.
        assert keyring.signing_key.kid == before.current.kid
        await age(keyring, current=DAY)
        after = await keyring.rotate(force=True)
        assert keyring.signing_key.kid == before.current.kid != after.current.kid
        now += 6
        assert keyring.signing_key.kid == after.current.kid

    async def test_a_key_that_was_public_for_long_signs_at_once(self, store: Store) -> None:
        keyring = keyring_of(store)
        await age(keyring, next=DAY)
        after = await keyring.rotate()
        assert keyring.signing_key.kid == after.current.kid

    async def test_the_key_rotates_by_itself_at_its_age(self, store: Store) -> None:
        """Shows ASVS 13.3.4."""
        told: list[tuple[str, str]] = []
        keyring = keyring_of(store, tell=lambda reason, kid: told.append((reason, kid)))
        young = await age(keyring, current=30 * DAY - 60, next=30 * DAY - 60)
        async with following(keyring):
            await asyncio.sleep(0.1)
        assert keyring.keys.version == young.version
        due = await age(keyring, current=60)
        assert due.next is not None
        async with following(keyring):
            await until(lambda: keyring.keys.version > due.version)
        assert keyring.keys.current.kid == due.next.kid
        assert told == [("first", young.current.kid), ("due", due.next.kid)]

    async def test_of_several_that_find_the_keyring_empty_one_tells_of_the_first_key(self, store: Store) -> None:
        told: list[str] = []
        keyrings = [keyring_of(store, tell=lambda reason, kid: told.append(f"{reason} {kid}")) for _ in range(4)]
        opened = await asyncio.gather(*(keyring.open() for keyring in keyrings))
        assert told == [f"first {opened[0].current.kid}"]

    async def test_an_aged_key_waits_for_a_next_one_that_is_public_for_a_day(self, store: Store) -> None:
        keyring = keyring_of(store)
        before = await age(keyring, current=40 * DAY, next=DAY - 60)
        async with following(keyring):
            await asyncio.sleep(0.1)
        assert keyring.keys.version == before.version

    async def test_without_rotation_days_nothing_rotates_by_itself(self, store: Store) -> None:
        keyring = keyring_of(store, rotation_days=0)
        before = await age(keyring, current=4000 * DAY, next=4000 * DAY)
        async with following(keyring):
            await asyncio.sleep(0.1)
        assert keyring.keys.version == before.version
        assert (await keyring.rotate()).version == before.version + 1

    async def test_of_several_gateways_one_rotates(self, store: Store, redis_server: RedisServer) -> None:
        other = Store(redis_server.url, store.prefix)
        keyrings = [keyring_of(each) for each in [store, other] * 4]
        before = await age(keyrings[0], current=31 * DAY, next=31 * DAY)
        assert before.next is not None
        async with following(*keyrings):
            await until(lambda: all(ring.is_open and ring.keys.version > before.version for ring in keyrings))
            await asyncio.sleep(0.1)
        assert {keyring.keys.version for keyring in keyrings} == {before.version + 1}
        assert {keyring.keys.jwks for keyring in keyrings} == {keyrings[0].keys.jwks}
        assert keyrings[0].keys.current.kid == before.next.kid
        await other.close()

    async def test_of_two_rotations_by_hand_at_once_one_is_told_that_it_was_not_the_first(self, store: Store) -> None:
        keyrings = [keyring_of(store) for _ in range(4)]
        before = await age(keyrings[0], next=DAY)
        answers = await asyncio.gather(*(keyring.rotate() for keyring in keyrings), return_exceptions=True)
        assert sum(isinstance(answer, Keys) for answer in answers) == 1
        assert sum(isinstance(answer, CommandError) for answer in answers) == 3
        assert (await keyring_of(store).open()).version == before.version + 1

    async def test_a_retired_key_leaves_when_its_time_is_over_and_not_before(self, store: Store) -> None:
        keyring = keyring_of(store)
        await age(keyring, next=DAY)
        await keyring.rotate()
        [retiring] = kids_in(keyring.keys, "retiring")
        await age(keyring, retiring=KEPT_SECONDS - 60)
        async with following(keyring):
            await asyncio.sleep(0.1)
        assert retiring in keyring.keys.verification
        await age(keyring, retiring=60)
        async with following(keyring):
            await until(lambda: retiring not in keyring.keys.verification)
        assert sorted(states(keyring.keys).values()) == ["current", "next"]

    async def test_gateways_learn_of_a_rotation_within_five_seconds(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        other = Store(redis_server.url, store.prefix)
        a, b = keyring_of(store), keyring_of(other)
        await a.open()
        await b.open()
        async with following(a, b):
            await a.rotate(compromised=True)
            seconds = await until(lambda: b.keys.jwks == a.keys.jwks)
        print(f"learnt of a rotation after {seconds:.2f} s")
        await other.close()

    async def test_our_own_command_sent_again_is_not_another_gateway_s(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        twice = SendsTwice(redis_server.url, store.prefix)
        keyring = keyring_of(twice)
        await keyring.open()
        await keyring.rotate(force=True)
        await keyring.add(ed25519.Ed25519PrivateKey.generate())
        assert keyring.keys.version == 3
        await twice.close()

    async def test_without_a_next_key_nothing_rotates_and_that_is_told(self, store: Store) -> None:
        keyring = keyring_of(store)
        keys = await keyring.open()
        assert await keyring._replace(keys.version, (keys.current,))
        with pytest.raises(CommandError, match="no next key"):
            await keyring.rotate(force=True)
        assert (await keyring.rotate(compromised=True)).next is not None

    @pytest.mark.parametrize(("old", "new"), [("RS256", "ES256"), ("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")])
    async def test_a_new_algorithm_takes_over_by_normal_rotations(self, store: Store, old: str, new: str) -> None:
        """Shows ASVS 11.2.2, RFC 8725 3.2."""
        before = await age(keyring_of(store, algorithm=old), next=DAY)
        keyring = keyring_of(store, algorithm=new)
        assert (await keyring.open()).jwks == before.jwks
        first = await keyring.rotate()
        assert first.next is not None
        assert (first.current.algorithm, first.next.algorithm) == (old, new)
        await age(keyring, next=DAY)
        second = await keyring.rotate()
        assert second.current.kid == first.next.kid
        assert {key.algorithm for key in second.keys} == {old, new}


class TestLostInRedis:
    """F21: what a gateway remembers is put back."""

    @pytest.mark.parametrize("rotations", [0, 3])
    async def test_a_deleted_keyring_is_put_back_from_memory(self, store: Store, rotations: int) -> None:
        keyring = keyring_of(store)
        await keyring.open()
        for _ in range(rotations):
            await keyring.rotate(force=True)
        before = keyring.keys
        await store.execute("DEL", store.key("keyring"))
        async with following(keyring):
            await until(lambda: keyring.keys.version > before.version)
        assert keyring.keys.jwks == before.jwks
        assert (await keyring_of(store).open()).jwks == before.jwks

    async def test_an_older_keyring_is_replaced_by_the_newer_one(self, store: Store) -> None:
        """A server with older data has taken over: compromised keys must not come back with it."""
        keyring = keyring_of(store)
        await keyring.open()
        older: bytes = await store.execute("GET", store.key("keyring"))
        newer = await keyring.rotate(compromised=True)
        await put_document(store, older)
        async with following(keyring):
            await until(lambda: keyring.keys.version > newer.version)
        assert keyring.keys.jwks == newer.jwks
        assert (await keyring_of(store).open()).jwks == newer.jwks

    async def test_a_keyring_that_somebody_made_anew_gives_way_to_the_one_that_is_remembered(
        self, store: Store
    ) -> None:
        keyring = keyring_of(store)
        await keyring.open()
        newer = await keyring.rotate(force=True)
        await store.execute("DEL", store.key("keyring"))
        newcomer = keyring_of(store)
        assert (await newcomer.open()).jwks != newer.jwks
        async with following(keyring, newcomer):
            await until(lambda: newcomer.keys.jwks == newer.jwks)
        assert keyring.keys.jwks == newer.jwks

    async def test_several_who_remember_put_one_keyring_back(self, store: Store) -> None:
        keyrings = [keyring_of(store) for _ in range(4)]
        for keyring in keyrings:
            await keyring.open()
        before = keyrings[0].keys
        await store.execute("DEL", store.key("keyring"))
        async with following(*keyrings):
            await until(lambda: all(keyring.keys.version > before.version for keyring in keyrings))
        assert {keyring.keys.version for keyring in keyrings} == {before.version + 1}
        assert {keyring.keys.jwks for keyring in keyrings} == {before.jwks}

    async def test_keys_stay_in_memory_while_redis_is_away(self, own_redis: Callable[..., RedisServer]) -> None:
        server = own_redis()
        store = Store(server.url, "gw:")
        keyring = keyring_of(store)
        before = await keyring.open()
        async with following(keyring):
            server.kill()
            await asyncio.sleep(0.3)
            assert keyring.keys == before
            assert keyring.signing_key == before.current
        await store.close()


class TestDroppedForGood:
    """What was dropped as compromised never comes back, whatever is restored."""

    async def test_a_keyring_from_before_does_not_bring_it_back_though_no_gateway_remembers(self, store: Store) -> None:
        keyring = keyring_of(store)
        await age(keyring, next=DAY)
        await keyring.rotate()
        older: bytes = await store.execute("GET", store.key("keyring"))
        dropped = set(kids_in(keyring.keys, "current") + kids_in(keyring.keys, "next"))
        retiring = kids_in(keyring.keys, "retiring")
        await keyring.rotate(compromised=True)
        for _ in range(2):
            await put_document(store, older)
            newcomer = keyring_of(store)
            keys = await newcomer.open()
            assert dropped.isdisjoint(states(keys))
            assert newcomer.signing_key.kid not in dropped
            assert sorted(states(keys).values()) == ["current", "next", "retiring"]
            assert kids_in(keys, "retiring") == retiring
            assert dropped.isdisjoint(key["kid"] for key in (await document_of(store))["keys"])

    @pytest.mark.parametrize("state", ["current", "next"])
    async def test_the_one_of_two_that_was_not_dropped_stays_what_it_was(self, store: Store, state: str) -> None:
        keyring = keyring_of(store)
        before = await keyring.open()
        older: bytes = await store.execute("GET", store.key("keyring"))
        [kid] = kids_in(before, state)
        [other] = set(states(before)) - {kid}
        assert await keyring._replace(before.version, before.keys, dropping={kid: 1})
        await put_document(store, older)
        keys = await keyring_of(store).open()
        assert kid not in states(keys)
        assert states(keys)[other] == {"current": "next", "next": "current"}[state]
        assert sorted(states(keys).values()) == ["current", "next"]

    async def test_what_was_read_before_does_not_take_the_names_away_that_came_meanwhile(self, store: Store) -> None:
        """Between the reading and the writing of one gateway lie a compromise and a restored keyring."""
        await keyring_of(store).rotate(compromised=True)
        older: bytes = await store.execute("GET", store.key("keyring"))
        may_write, has_read = asyncio.Event(), asyncio.Event()

        class Slow(Keyring):
            async def _new_key(self, published_at: int, signs_since: int = 0) -> SigningKey:
                has_read.set()
                await may_write.wait()
                return await super()._new_key(published_at, signs_since)

        slow = keyring_of(store, kind=Slow)
        rotating = asyncio.create_task(slow.rotate(force=True))
        await has_read.wait()
        other = keyring_of(store)
        dropped = set(states(await other.open()))
        await other.rotate(compromised=True)
        await put_document(store, older)
        may_write.set()
        with pytest.raises(CommandError, match="at the same moment"):
            await rotating
        newcomer = keyring_of(store)
        assert dropped.isdisjoint(states(await newcomer.open()))
        assert newcomer.signing_key.kid not in dropped

    async def test_gateways_at_work_never_publish_it_again(self, store: Store, redis_server: RedisServer) -> None:
        """Not even when others built newer keyrings upon the restored one."""
        other = Store(redis_server.url, store.prefix)
        a, b = keyring_of(store), keyring_of(other)
        before = await a.open()
        await b.open()
        older: bytes = await store.execute("GET", store.key("keyring"))
        await a.rotate(compromised=True)
        async with following(a, b):
            await until(lambda: b.keys.jwks == a.keys.jwks)
            names = await store.execute("GET", dropped_key(store))
            await store.execute("DEL", dropped_key(store))
            await put_document(store, older)
            ignorant = keyring_of(store)
            await ignorant.open()
            with contextlib.suppress(CommandError):
                await ignorant.rotate(force=True)
            for _ in range(25):
                for keyring in (a, b):
                    assert not set(states(before)) & set(states(keyring.keys))
                    assert keyring.signing_key.kid not in states(before)
                await asyncio.sleep(0.1)
        assert a.keys.jwks == b.keys.jwks == (await keyring_of(store).open()).jwks
        assert keyring_of(store)._seals.unseal_names(await store.execute("GET", dropped_key(store)), "") == keyring_of(
            store
        )._seals.unseal_names(names, "")
        await other.close()

    async def test_the_names_are_put_back_when_they_alone_are_lost(self, store: Store) -> None:
        keyring = keyring_of(store)
        before = await keyring.open()
        await keyring.rotate(compromised=True)
        older = json.dumps(await document_of(store)).encode()
        for restored in (None, older):
            version = keyring.keys.version
            await store.execute("DEL", dropped_key(store))
            if restored:
                await put_document(store, restored)
            async with following(keyring):
                await until(lambda: keyring.keys.version > version)  # noqa: B023
            names, _ = keyring._seals.unseal_names(await store.execute("GET", dropped_key(store)), "")
            assert set(names) == set(states(before))

    async def test_nobody_who_writes_to_redis_can_drop_a_good_key(self, store: Store) -> None:
        keyring = keyring_of(store)
        await keyring.open()
        await keyring.rotate(compromised=True)
        good = await keyring.rotate(force=True)
        stored: bytes = await store.execute("GET", dropped_key(store))
        stranger = keyring_of(store, secret="n" * 32)
        forged = stranger._seals.seal_names({good.current.kid: 1})
        claimed = json.dumps(json.loads(forged) | {"sealed_with": json.loads(stored)["sealed_with"]}).encode()
        flipped = [
            (int.from_bytes(stored, "big") ^ (1 << bit)).to_bytes(len(stored), "big") for bit in range(len(stored) * 8)
        ]
        for text in (forged, claimed, b"x", b"{}", b"[]", b"\xff", *flipped):
            with pytest.raises(StartupError):
                keyring._seals.unseal_names(text, "")
        for text in (forged, claimed, b"x"):
            await store.execute("SET", dropped_key(store), text)
            with pytest.raises(StartupError):
                await keyring_of(store).open()
            async with following(keyring):
                await asyncio.sleep(0.05)
            assert keyring.keys.jwks == good.jwks

    async def test_the_names_move_over_to_a_new_secret(self, store: Store) -> None:
        before = await keyring_of(store).open()
        older: bytes = await store.execute("GET", store.key("keyring"))
        await keyring_of(store).rotate(compromised=True)
        await keyring_of(store, SECRET, secret="n" * 32).open()
        await keyring_of(store, secret="n" * 32).open()
        await put_document(store, older)
        keys = await keyring_of(store, SECRET, secret="n" * 32).open()
        assert not set(states(before)) & set(states(keys))

    async def test_a_dropped_key_cannot_be_brought_in_again(self, store: Store) -> None:
        keyring = keyring_of(store)
        key = ed25519.Ed25519PrivateKey.generate()
        await keyring.add(key)
        await keyring.rotate(compromised=True)
        before = await document_of(store)
        with pytest.raises(CommandError, match="dropped as compromised"):
            await keyring_of(store).add(key)
        await store.execute("DEL", store.key("keyring"))
        with pytest.raises(CommandError, match="dropped as compromised"):
            await keyring_of(store).add(key)
        assert await store.execute("EXISTS", store.key("keyring")) == 0
        assert before["version"] == 2

    async def test_the_newest_names_are_kept_and_gateways_that_know_different_ones_agree(self, store: Store) -> None:
        keyrings = [keyring_of(store) for _ in range(2)]
        for keyring in keyrings:
            await keyring.open()
        for number, keyring in enumerate(keyrings):
            keyring._dropped = {f"kid-{number}-{time}": time for time in range(200)}
            keyring._seen = b"", b""
        async with following(*keyrings):
            await until(lambda: len(keyrings[0]._dropped) == 256 and keyrings[0]._dropped == keyrings[1]._dropped)
            version = max(keyring.keys.version for keyring in keyrings)
            await asyncio.sleep(2.5)
            assert {keyring.keys.version for keyring in keyrings} == {version}
        assert min(keyrings[0]._dropped.values()) == 72
        assert len(await store.execute("GET", dropped_key(store))) < 16_384

    async def test_without_a_compromise_there_is_nothing_but_the_keyring(self, store: Store) -> None:
        keyring = keyring_of(store)
        await keyring.open()
        await keyring.rotate(force=True)
        assert [key async for key in store.scan("*keyring*")] == [store.key("keyring")]


class TestJwks:
    """What is published."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_a_published_key_has_the_public_members_and_no_other(self, store: Store, algorithm: str) -> None:
        keyring = keyring_of(store, algorithm=algorithm)
        keys = await keyring.open()
        for jwk, key in zip(json.loads(keys.jwks)["keys"], keys.keys, strict=True):
            assert set(jwk) == {"kty", "use", "alg", "kid"} | MEMBERS[jwk["kty"]]
            assert (jwk["use"], jwk["alg"]) == ("sig", algorithm)
            assert jwk["kid"] == key.kid == thumbprint(key.private_key.public_key())
        assert set(keys.verification) == set(states(keys))
        opened = await keyring_of(store, algorithm=algorithm).open()
        assert opened.jwks == keys.jwks

    async def test_the_current_key_comes_first_then_the_next_then_the_retiring_ones(self, store: Store) -> None:
        keyring = keyring_of(store)
        await keyring.open()
        for _ in range(3):
            keys = await keyring.rotate(force=True)
            published = [jwk["kid"] for jwk in json.loads(keys.jwks)["keys"]]
            assert keys.next is not None
            assert published[:2] == [keys.current.kid, keys.next.kid]
            assert sorted(published) == sorted(states(keys))
        assert len(published) == 5

    async def test_the_etag_is_strong_and_changes_with_the_content_alone(self, store: Store) -> None:
        keyring = keyring_of(store)
        first = await keyring.open()
        assert first.etag == f'"{hashlib.sha256(first.jwks).hexdigest()[:32]}"'
        resealed = await age(keyring, next=60)
        assert (resealed.etag, resealed.version) == (first.etag, first.version + 1)
        assert (await keyring.rotate(force=True)).etag != first.etag


class TestBroughtIn:
    """Keys of the operator's."""

    async def test_on_an_empty_keyring_a_key_signs_at_once(self, store: Store) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        keys = await keyring_of(store).add(key)
        assert keys.current.kid == thumbprint(key.public_key())
        assert sorted(states(keys).values()) == ["current", "next"]
        assert (await keyring_of(store).open()).jwks == keys.jwks

    async def test_else_it_becomes_the_next_key(self, store: Store) -> None:
        keyring = keyring_of(store)
        before = await keyring.open()
        key = ed25519.Ed25519PrivateKey.generate()
        after = await keyring.add(key)
        assert before.next is not None
        assert after.next is not None
        assert after.next.kid == thumbprint(key.public_key())
        assert after.current.kid == before.current.kid
        assert before.next.kid not in states(after)
        with pytest.raises(CommandError, match="--force"):
            await keyring.rotate()
        await age(keyring, next=DAY)
        assert (await keyring.rotate()).current.kid == after.next.kid

    async def test_a_key_that_is_there_already_is_refused(self, store: Store) -> None:
        keyring = keyring_of(store)
        keys = await keyring.open()
        for key in keys.keys:
            with pytest.raises(CommandError, match="already"):
                await keyring.add(key.private_key)

    async def test_of_several_brought_in_at_once_each_is_there_or_refused(self, store: Store) -> None:
        keyrings = [keyring_of(store) for _ in range(6)]
        before = await keyrings[0].open()
        keys = [ed25519.Ed25519PrivateKey.generate() for _ in keyrings]
        answers = await asyncio.gather(
            *(keyring.add(key) for keyring, key in zip(keyrings, keys, strict=True)), return_exceptions=True
        )
        added = [answer for answer in answers if isinstance(answer, Keys)]
        assert {type(answer) for answer in answers} <= {Keys, CommandError}
        assert (await keyring_of(store).open()).version == before.version + len(added)

    @pytest.mark.parametrize(
        ("algorithm", "key"),
        [
            ("Ed25519", lambda: rsa_key()),
            ("EdDSA", lambda: rsa_key()),
            ("EdDSA", lambda: ec.generate_private_key(ec.SECP256R1())),
            ("ES256", lambda: ec.generate_private_key(ec.SECP384R1())),
            ("ES256", lambda: ec.generate_private_key(ec.SECP256K1())),
            ("ES256", lambda: ed25519.Ed25519PrivateKey.generate()),
            ("RS256", lambda: ed25519.Ed25519PrivateKey.generate()),
            ("RS256", lambda: rsa_key(1024)),
            ("PS256", lambda: rsa_key(2047)),
            ("RS256", lambda: rsa_key(2048, exponent=3)),
        ],
    )
    @pytest.mark.parametrize("is_empty", [True, False])
    async def test_a_key_that_cannot_sign_is_refused_and_changes_nothing(
        self, store: Store, algorithm: str, key: Callable[[], PrivateKey], is_empty: bool
    ) -> None:
        """
        Nor one whose signatures nobody would accept: it would break the keyring for every gateway.

        Shows RFC 8725 3.5.
        """
        if not is_empty:
            await keyring_of(store).open()
        before: bytes | None = await store.execute("GET", store.key("keyring"))
        with pytest.raises(CommandError):
            await keyring_of(store, algorithm=algorithm).add(key())
        assert await store.execute("GET", store.key("keyring")) == before

    @pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
    async def test_an_rsa_key_signs_by_the_configured_algorithm(self, store: Store, algorithm: str) -> None:
        keys = await keyring_of(store, algorithm=algorithm, rsa_key_bits=2048).add(rsa_key())
        assert keys.current.algorithm == algorithm

    @pytest.mark.parametrize(
        "key", [rsa_key, ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())]
    )
    def test_a_key_is_read_from_pem(self, key: Callable[[], PrivateKey]) -> None:
        made = key()
        assert load_private_key(pem_of(made)).public_key() == made.public_key()

    def test_what_is_no_private_key_that_signs_is_refused(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for pem in (
            b"",
            b"garbage",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            public,
            pem_of(key, b"a passphrase"),
            pem_of(x25519.X25519PrivateKey.generate()),
            pem_of(ed448.Ed448PrivateKey.generate()),
            pem_of(dsa.generate_private_key(2048)),
            pem_of(key)[:-40],
            b"\xff" * 100,
        ):
            with pytest.raises(CommandError) as refused:
                load_private_key(pem)
            assert "\n" not in str(refused.value)


async def test_a_restart_of_redis_loses_no_key(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = Store(server.url, "gw:")
    before = await keyring_of(store).open()
    server.kill()
    server.start()
    assert (await keyring_of(store).open()).jwks == before.jwks
    await store.close()
