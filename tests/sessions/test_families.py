"""Refresh-token families: the six cases of the contract, races, limits, sizes; all on a real Redis."""

import asyncio
import base64
import contextlib
import dataclasses
import hmac
import itertools
import secrets
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.users import Users
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import InvalidCredentials, RefreshTokenInvalid, RefreshTokenReused, StoreUnavailable
from gateway.sessions.families import KEPT_SECONDS, RefreshFamilies, RefreshToken, Rotation, new_family_id
from gateway.sessions.revocations import LONGEST_ACCESS_TOKEN_LIFE_SECONDS, Revocations
from gateway.store.store import Store
from tests.conftest import OpenStore
from tests.harness import SECRET, RedisServer, free_port

pytestmark = pytest.mark.redis

IDLE_SECONDS = 1_209_600
ABSOLUTE_SECONDS = 2_592_000
WINDOW_SECONDS = 60
KEYCHAIN = KeyChain.of(SECRET)
HEAD = struct.Struct(">B6s6sIII")
IPV6 = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
LABEL = "Firefox on Android 16 x"[:22]


def make_families(store: Store, keychain: KeyChain = KEYCHAIN, **changes: Any) -> RefreshFamilies:
    options: dict[str, Any] = {
        "idle_ttl_seconds": IDLE_SECONDS,
        "absolute_ttl_seconds": ABSOLUTE_SECONDS,
        "replay_window_seconds": WINDOW_SECONDS,
        "max_per_user": 50,
    }
    return RefreshFamilies(store, keychain, **options | changes)


async def add_user(store: Store, roles: tuple[str, ...] = ("staff",)) -> str:
    users = Users(store, lambda: 1_790_000_000)
    return (await users.add(f"{secrets.token_hex(6)}@example.com", "Ann Example", roles, "no hash")).user_id


async def open_family(families: RefreshFamilies, user_id: str, password_version: int = 1) -> RefreshToken:
    opened = await families.open(user_id, password_version, new_family_id(), "192.0.2.7", "Firefox on Linux")
    return families.parse(opened.refresh_token)


async def successor(families: RefreshFamilies, token: RefreshToken) -> RefreshToken:
    return families.parse((await families.rotate(token)).refresh_token)


def families_key(store: Store, user_id: str) -> str:
    return store.key(f"families:{{{user_id}}}")


@dataclasses.dataclass(frozen=True)
class Record:
    """A family as it lies in Redis; times in milliseconds."""

    ended: int
    created: int
    rotated: int
    lifetime: int
    generation: int
    nonce: int
    tail: bytes

    def packed(self) -> bytes:
        created, rotated = self.created.to_bytes(6, "big"), self.rotated.to_bytes(6, "big")
        return HEAD.pack(self.ended, created, rotated, self.lifetime, self.generation, self.nonce) + self.tail


async def read_record(store: Store, token: RefreshToken) -> Record | None:
    packed = await store.execute("HGET", families_key(store, token.user_id), token.family_id)
    if packed is None:
        return None
    ended, created, rotated, lifetime, generation, nonce = HEAD.unpack(packed[: HEAD.size])
    moments = int.from_bytes(created, "big"), int.from_bytes(rotated, "big")
    return Record(ended, *moments, lifetime, generation, nonce, packed[HEAD.size :])


async def record_of(store: Store, token: RefreshToken) -> Record:
    record = await read_record(store, token)
    assert record is not None
    return record


async def rewrite(store: Store, token: RefreshToken, **changes: Any) -> Record:
    """Change what Redis holds of a family: the way to move its time."""
    record = dataclasses.replace(await record_of(store, token), **changes)
    await store.execute("HSET", families_key(store, token.user_id), token.family_id, record.packed())
    return record


async def age(store: Store, token: RefreshToken, *, rotated: float = 0, created: float = 0) -> Record:
    """Let the last rotation, and the login, be so many seconds longer ago."""
    record = await record_of(store, token)
    return await rewrite(
        store,
        token,
        rotated=record.rotated - round(rotated * 1000),
        created=record.created - round(created * 1000),
    )


async def refused_as(error: type[Exception], call: Awaitable[Rotation]) -> Any:
    with pytest.raises(error) as caught:
        await call
    return caught.value


class TestToken:
    """The wire form."""

    def test_what_is_written_is_read_back(self) -> None:
        for generation in (0, 1, 2**31, 2**32 - 1):
            token = RefreshToken("usr_" + new_family_id(), new_family_id(), generation)
            assert RefreshToken.parse(token.format(KEYCHAIN.current), KEYCHAIN) == token

    def test_there_is_no_room_for_a_second_spelling(self) -> None:
        """The characters carry exactly the bits of the token: neither padding nor spare bits."""
        text = RefreshToken("usr_" + new_family_id(), new_family_id(), 7).format(KEYCHAIN.current)
        octets = base64.urlsafe_b64decode(text)
        assert len(text) * 6 == len(octets) * 8

    def test_every_change_of_one_bit_is_refused_without_asking_redis(self) -> None:
        """
        Families on a port where nobody listens: a question to Redis would be another error.

        Shows RFC 9700 4.14.2c.
        """
        families = make_families(Store(f"redis://127.0.0.1:{free_port()}/0", "gw:"))
        octets = base64.urlsafe_b64decode(RefreshToken("usr_" + "A" * 22, "B" * 21 + "A", 1).format(KEYCHAIN.current))
        for bit in range(len(octets) * 8):
            changed = (int.from_bytes(octets, "big") ^ (1 << bit)).to_bytes(len(octets), "big")
            with pytest.raises(RefreshTokenInvalid):
                families.parse(base64.urlsafe_b64encode(changed).decode())

    def test_every_change_of_one_character_is_refused(self) -> None:
        text = RefreshToken("usr_" + "A" * 22, "B" * 21 + "A", 1).format(KEYCHAIN.current)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        for place, character in itertools.product(range(len(text)), alphabet + "+/=. \n\0é%"):
            changed = text[:place] + character + text[place + 1 :]
            if changed == text:
                continue
            with pytest.raises(RefreshTokenInvalid):
                RefreshToken.parse(changed, KEYCHAIN)

    def test_another_spelling_is_refused(self) -> None:
        # Octets of ones alone give the characters that base64 spells in two ways.
        octets = b"\x01" + b"\xff" * 36
        octets += hmac.digest(KEYCHAIN.current.refresh_token_mac, octets, "sha256")
        text = base64.urlsafe_b64encode(octets).decode()
        assert RefreshToken.parse(text, KEYCHAIN).generation == 2**32 - 1
        others = {
            base64.b64encode(octets).decode(),
            *(text + end for end in ("=", "==", "A", "\n", " ", "\0", "%3D")),
            *(start + text for start in ("=", "A", "\n", " ", "\ufeff")),
            *(text[:place] + "\n" + text[place:] for place in (1, 46, 91)),
            text.lower(),
            text.upper(),
            text[:-1],
            text[1:],
            text * 2,
            octets.hex(),
            text.replace("_", "%5F"),
            text.translate({ord("_"): "\uff3f"}),
            "",
        } - {text}
        for other in others:
            with pytest.raises(RefreshTokenInvalid):
                RefreshToken.parse(other, KEYCHAIN)

    @given(st.text(max_size=120) | st.text("AZaz09-_", min_size=92, max_size=92))
    def test_any_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(RefreshTokenInvalid):
            RefreshToken.parse(text, KEYCHAIN)

    def test_another_version_is_refused_whatever_its_mac(self) -> None:
        fields = bytes([2]) + secrets.token_bytes(36)
        mac = hmac.digest(KEYCHAIN.current.refresh_token_mac, fields, "sha256")
        with pytest.raises(RefreshTokenInvalid):
            RefreshToken.parse(base64.urlsafe_b64encode(fields + mac).decode(), KEYCHAIN)

    def test_a_token_under_a_foreign_secret_is_refused(self) -> None:
        foreign = RefreshToken("usr_" + new_family_id(), new_family_id(), 0).format(DerivedKeys.of("f" * 32))
        with pytest.raises(RefreshTokenInvalid):
            RefreshToken.parse(foreign, KEYCHAIN)

    def test_a_token_is_not_mac_d_with_another_key_of_the_same_secret(self) -> None:
        """One key, one purpose."""
        fields = bytes([1]) + secrets.token_bytes(36)
        keys = KEYCHAIN.current
        for key in (keys.key_sealing, keys.password_pepper, keys.known_device_mac, SECRET.encode()):
            text = base64.urlsafe_b64encode(fields + hmac.digest(key, fields, "sha256")).decode()
            with pytest.raises(RefreshTokenInvalid):
                RefreshToken.parse(text, KEYCHAIN)

    async def test_a_token_under_a_previous_secret_is_taken_and_its_successor_is_under_the_new_one(
        self, store: Store
    ) -> None:
        before = make_families(store)
        after = make_families(store, keychain=KeyChain.of("n" * 32, (SECRET,)))
        opened = await before.open(await add_user(store), 1, new_family_id(), "", "")
        rotation = await after.rotate(after.parse(opened.refresh_token))
        with pytest.raises(RefreshTokenInvalid):
            before.parse(rotation.refresh_token)
        with pytest.raises(RefreshTokenInvalid):
            make_families(store, keychain=KeyChain.of("n" * 32)).parse(opened.refresh_token)
        assert (await after.rotate(after.parse(rotation.refresh_token))).outcome == "rotated"


async def rotate_in_the_end(families: RefreshFamilies, token: RefreshToken) -> Rotation:
    """Rotate, and try again while a busy machine takes too long to connect to Redis."""
    while True:
        with contextlib.suppress(StoreUnavailable):
            return await families.rotate(token)
        await asyncio.sleep(0.1)


class TestRotation:
    """The table of the contract; d is the stored generation minus the presented one."""

    async def test_the_current_token_is_rotated(self, store: Store) -> None:
        """d = 0."""
        families = make_families(store, new_nonce=lambda: 2**32 - 1)
        user_id = await add_user(store, roles=("staff", "ops"))
        opened = await families.open(user_id, 1, new_family_id(), "192.0.2.7", "Firefox on Linux")
        first = families.parse(opened.refresh_token)
        before = await age(store, first, rotated=100, created=100)
        rotation = await families.rotate(first)
        after = await record_of(store, first)
        assert rotation.outcome == "rotated"
        assert families.parse(rotation.refresh_token) == dataclasses.replace(first, generation=1)
        assert after.rotated - before.rotated >= 100_000
        assert after == dataclasses.replace(before, generation=1, rotated=after.rotated, nonce=2**32 - 1)
        assert (rotation.user_id, rotation.family_id) == (user_id, opened.family_id)
        assert rotation.roles == ("staff", "ops")
        assert rotation.name == "Ann Example"
        assert rotation.auth_time == before.created // 1000

    @pytest.mark.parametrize("seconds", [0, 30, WINDOW_SECONDS - 1])
    async def test_a_lost_answer_can_be_asked_for_again_within_the_window(self, store: Store, seconds: int) -> None:
        """d = 1: the very same successor, and nothing moves."""
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        rotation = await families.rotate(first)
        before = await age(store, first, rotated=seconds)
        for _ in range(3):
            again = await families.rotate(first)
            assert again.outcome == "replayed"
            assert again.refresh_token == rotation.refresh_token
            assert await record_of(store, first) == before
        assert (await families.rotate(families.parse(rotation.refresh_token))).outcome == "rotated"

    async def test_asking_again_does_not_extend_the_window(self, store: Store) -> None:
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        await families.rotate(first)
        await age(store, first, rotated=WINDOW_SECONDS - 1)
        assert (await families.rotate(first)).outcome == "replayed"
        await age(store, first, rotated=2)
        await refused_as(RefreshTokenReused, families.rotate(first))

    async def test_a_superseded_token_after_the_window_ends_its_whole_family(self, store: Store) -> None:
        """d = 1, later. Shows ASVS 10.4.5, RFC 9700 2.2.2, RFC 9700 4.14.2b."""
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        second = await successor(families, first)
        before = await age(store, first, rotated=WINDOW_SECONDS + 1)
        reused = await refused_as(RefreshTokenReused, families.rotate(first))
        assert (reused.user_id, reused.family_id) == (first.user_id, first.family_id)
        mark = await record_of(store, first)
        assert mark == dataclasses.replace(before, ended=1, rotated=mark.rotated, nonce=mark.nonce)
        for token in (first, second):
            refused = await refused_as(RefreshTokenInvalid, families.rotate(token))
            assert refused.unannounced == (first.family_id,)
        assert await record_of(store, first) == mark
        assert await families.list(first.user_id) == []

    async def test_without_a_window_a_token_is_good_once(self, store: Store) -> None:
        """Shows ASVS 10.4.5."""
        families = make_families(store, replay_window_seconds=0)
        first = await open_family(families, await add_user(store))
        second = await successor(families, first)
        await refused_as(RefreshTokenReused, families.rotate(first))
        await refused_as(RefreshTokenInvalid, families.rotate(second))

    @pytest.mark.parametrize("window_seconds", [0, 300])
    @pytest.mark.parametrize("distance", [2, 3, 10])
    async def test_an_older_ancestor_ends_the_family_at_any_time(
        self, store: Store, distance: int, window_seconds: int
    ) -> None:
        """d >= 2. Shows ASVS 10.4.5, RFC 9700 4.14.2b."""
        families = make_families(store, replay_window_seconds=window_seconds)
        first = await open_family(families, await add_user(store))
        token = first
        for _ in range(distance):
            token = await successor(families, token)
        await refused_as(RefreshTokenReused, families.rotate(first))
        await refused_as(RefreshTokenInvalid, families.rotate(token))
        assert (await record_of(store, first)).ended == 1

    @pytest.mark.parametrize("lost", [1, 2, 1000])
    async def test_lost_writes_heal(self, store: Store, lost: int) -> None:
        """d < 0: the stored generation becomes the presented one plus one, and the family goes on."""
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        await families.rotate(first)
        before = await age(store, first, rotated=5)
        later = dataclasses.replace(first, generation=before.generation + lost)
        rotation = await families.rotate(later)
        after = await record_of(store, first)
        assert rotation.outcome == "healed"
        assert families.parse(rotation.refresh_token).generation == later.generation + 1
        assert after == dataclasses.replace(
            before, generation=later.generation + 1, rotated=after.rotated, nonce=after.nonce
        )
        assert after.rotated > before.rotated
        assert (await families.rotate(later)).outcome == "replayed"
        assert (await successor(families, families.parse(rotation.refresh_token))).generation == later.generation + 2

    async def test_an_unknown_family_is_never_made(self, store: Store) -> None:
        families = make_families(store)
        stranger = RefreshToken(await add_user(store), new_family_id(), 5)
        refused = await refused_as(RefreshTokenInvalid, families.rotate(stranger))
        assert refused.unannounced == ()
        assert await store.execute("EXISTS", families_key(store, stranger.user_id)) == 0

    @pytest.mark.parametrize("generation", [0, 1, 9])
    async def test_an_unused_family_is_over_after_its_idle_time(self, store: Store, generation: int) -> None:
        """
        Neither the current token, nor its parent, nor one from beyond a lost write brings it back.

        Shows ASVS 7.3.1, RFC 9700 4.14.2e, NIST 5.2b.
        """
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        await families.rotate(first)
        await age(store, first, rotated=IDLE_SECONDS)
        assert await families.list(first.user_id) == []
        await refused_as(RefreshTokenInvalid, families.rotate(dataclasses.replace(first, generation=generation)))
        assert await read_record(store, first) is None

    async def test_a_family_used_a_moment_before_its_idle_end_lives_on(self, store: Store) -> None:
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        await age(store, first, rotated=IDLE_SECONDS - 1)
        assert (await families.rotate(first)).max_age_seconds == IDLE_SECONDS

    async def test_a_family_is_over_after_its_absolute_time_used_or_not(self, store: Store) -> None:
        """Shows ASVS 7.3.2, ASVS 10.4.8, NIST 5.2a."""
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        await age(store, first, created=ABSOLUTE_SECONDS - 10)
        rotation = await families.rotate(first)
        assert 9 <= rotation.max_age_seconds <= 10
        await age(store, first, created=10)
        await refused_as(RefreshTokenInvalid, families.rotate(families.parse(rotation.refresh_token)))
        assert await read_record(store, first) is None

    async def test_refreshing_never_moves_the_absolute_end_nor_the_time_of_the_login(self, store: Store) -> None:
        """Shows ASVS 7.3.2, ASVS 10.4.8, RFC 9068 2.2.1."""
        families = make_families(store, idle_ttl_seconds=ABSOLUTE_SECONDS)
        token = await open_family(families, await add_user(store))
        [listed] = await families.list(token.user_id)
        for _ in range(5):
            created = (await age(store, token, rotated=3600, created=3600)).created
            rotation = await families.rotate(token)
            token = families.parse(rotation.refresh_token)
            assert rotation.auth_time == created // 1000
            [now_listed] = await families.list(token.user_id)
            assert now_listed.expires_at - now_listed.created_at == listed.expires_at - listed.created_at

    async def test_a_shorter_idle_time_holds_for_families_that_are_there(self, store: Store) -> None:
        first = await open_family(make_families(store), await add_user(store))
        await age(store, first, rotated=61)
        shorter = make_families(store, idle_ttl_seconds=60)
        assert await shorter.list(first.user_id) == []
        await refused_as(RefreshTokenInvalid, shorter.rotate(first))

    @pytest.mark.parametrize("generation", [0, 1, 2, 9])
    async def test_a_disabled_user_refreshes_nothing(self, store: Store, generation: int) -> None:
        families, users = make_families(store), Users(store, lambda: 0)
        first = await open_family(families, await add_user(store))
        second = await successor(families, first)
        await store.execute("HSET", store.key(f"user:{{{first.user_id}}}"), "is_active", "0")
        refused = await refused_as(
            RefreshTokenInvalid, families.rotate(dataclasses.replace(first, generation=generation))
        )
        assert refused.unannounced == (first.family_id,)
        assert await families.list(first.user_id) == []
        await families.revoke(first.user_id, refused.unannounced)
        assert await read_record(store, first) is None
        await users.set_active(first.user_id, True)
        await refused_as(RefreshTokenInvalid, families.rotate(second))

    async def test_a_removed_user_refreshes_nothing(self, store: Store) -> None:
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        await store.execute("DEL", store.key(f"user:{{{first.user_id}}}"))
        refused = await refused_as(RefreshTokenInvalid, families.rotate(first))
        assert refused.unannounced == (first.family_id,)

    async def test_roles_and_names_are_those_of_the_user_now(self, store: Store) -> None:
        families, users = make_families(store), Users(store, lambda: 0)
        first = await open_family(families, await add_user(store, roles=("staff",)))
        await users.set_roles(first.user_id, ("audit",))
        rotation = await families.rotate(first)
        assert rotation.roles == ("audit",)
        await users.set_roles(first.user_id, ())
        assert (await families.rotate(first)).roles == ()

    @pytest.mark.parametrize("window_seconds", [0, WINDOW_SECONDS])
    @pytest.mark.parametrize("lost_writes", [0, 3])
    async def test_our_own_command_sent_again_is_not_a_second_use(
        self, store: Store, window_seconds: int, lost_writes: int
    ) -> None:
        """The answer was lost on the way from Redis, and the client library sent the command once more."""
        families = make_families(store, replay_window_seconds=window_seconds, new_nonce=lambda: 77)
        first = await open_family(families, await add_user(store))
        presented = dataclasses.replace(first, generation=lost_writes)
        once = await families.rotate(presented)
        record = await record_of(store, first)
        again = await families.rotate(presented)
        assert again.refresh_token == once.refresh_token
        assert again.outcome == "rotated"
        assert await record_of(store, first) == record

    @pytest.mark.parametrize("window_seconds", [10, WINDOW_SECONDS])
    async def test_of_many_simultaneous_rotations_one_advances_and_all_get_the_same_successor(
        self, store: Store, redis_server: RedisServer, window_seconds: int, open_store: OpenStore
    ) -> None:
        other = open_store(redis_server.url, store.prefix)
        gateways = [make_families(each, replay_window_seconds=window_seconds) for each in (store, other)]
        token = await open_family(gateways[0], await add_user(store))
        for _ in range(5):
            rotations = await asyncio.gather(*(rotate_in_the_end(gateways[n % 2], token) for n in range(64)))
            assert Counter(rotation.outcome for rotation in rotations) == {"rotated": 1, "replayed": 63}
            assert len({rotation.refresh_token for rotation in rotations}) == 1
            token = gateways[0].parse(rotations[0].refresh_token)
            assert (await record_of(store, token)).generation == token.generation
        assert token.generation == 5

    async def test_of_many_simultaneous_rotations_without_a_window_one_succeeds_and_the_family_ends(
        self, store: Store
    ) -> None:
        families = make_families(store, replay_window_seconds=0)
        token = await open_family(families, await add_user(store))
        answers = await asyncio.gather(*(families.rotate(token) for _ in range(64)), return_exceptions=True)
        kinds = Counter(type(answer) for answer in answers)
        assert kinds == {Rotation: 1, RefreshTokenReused: 1, RefreshTokenInvalid: 62}
        assert (await record_of(store, token)).ended == 1

    async def test_an_answer_that_is_another_family_s_is_not_used(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        """A mixed-up connection must not hand one user's session to another."""
        families = make_families(store)
        mine, theirs = [await open_family(families, await add_user(store)) for _ in range(2)]

        class MixedUp(Store):
            async def run(self, script: Any, keys: Any, *arguments: Any, **options: Any) -> Any:
                keys = [key.replace(mine.user_id, theirs.user_id) for key in keys]
                return await super().run(script, keys, theirs.family_id, *arguments[1:], **options)

        mixed_up = MixedUp(redis_server.url, store.prefix)
        with pytest.raises(StoreUnavailable):
            await make_families(mixed_up).rotate(mine)
        with pytest.raises(StoreUnavailable):
            await open_family(make_families(mixed_up), mine.user_id)
        await mixed_up.close()


class TestOpening:
    """Logins."""

    async def test_a_family_is_listed_as_it_was_opened(self, store: Store) -> None:
        families = make_families(store)
        user_id = await add_user(store)
        opened = await families.open(user_id, 1, new_family_id(), IPV6, LABEL)
        [family] = await families.list(user_id)
        assert family.family_id == opened.family_id
        assert family.created_at == family.last_used_at == opened.auth_time
        assert family.expires_at == opened.auth_time + IDLE_SECONDS
        assert (family.address, family.device) == (IPV6, LABEL)
        assert opened.max_age_seconds == IDLE_SECONDS
        assert opened.unannounced == ()
        assert await families.exists(user_id, opened.family_id)
        assert not await families.exists(user_id, new_family_id())

    @pytest.mark.parametrize(
        ("address", "device", "shown"),
        [
            ("192.0.2.7", "curl", ("192.0.2.7", "curl")),
            ("::1", "", ("::1", "")),
            ("", "x" * 300, ("", "x" * 22)),
            ("not an address", "Füchslein ✨", ("", "F?chslein ?")),
            ("fe80::1%eth0", "a\x00b", ("fe80::1", "a\x00b")),
        ],
    )
    async def test_an_address_and_a_label_of_any_kind_fit(
        self, store: Store, address: str, device: str, shown: tuple[str, str]
    ) -> None:
        families = make_families(store)
        user_id = await add_user(store)
        await families.open(user_id, 1, new_family_id(), address, device)
        [family] = await families.list(user_id)
        assert (family.address, family.device) == shown

    async def test_families_are_listed_newest_first(self, store: Store) -> None:
        families = make_families(store)
        user_id = await add_user(store)
        tokens = [await open_family(families, user_id) for _ in range(4)]
        for place, token in enumerate(tokens):
            await age(store, token, created=(place * 7) % 4 * 60)
        listed = [family.created_at for family in await families.list(user_id)]
        assert listed == sorted(listed, reverse=True)
        assert len(set(listed)) == 4

    async def test_the_least_recently_used_family_gives_way_to_one_too_many(self, store: Store) -> None:
        families = make_families(store, max_per_user=3)
        user_id = await add_user(store)
        first, second, third = [await open_family(families, user_id) for _ in range(3)]
        for token, seconds in ((first, 30), (second, 20), (third, 10)):
            await age(store, token, rotated=seconds)
        await families.rotate(first)
        opened = await families.open(user_id, 1, new_family_id(), "", "")
        assert opened.unannounced == opened.gave_way == (second.family_id,)
        assert {family.family_id for family in await families.list(user_id)} == {
            first.family_id,
            third.family_id,
            opened.family_id,
        }
        refused = await refused_as(RefreshTokenInvalid, families.rotate(second))
        assert refused.unannounced == (second.family_id,)

    async def test_a_lower_maximum_makes_room_at_the_next_login(self, store: Store) -> None:
        user_id = await add_user(store)
        tokens = [await open_family(make_families(store), user_id) for _ in range(5)]
        for place, token in enumerate(tokens):
            await age(store, token, rotated=place)
        opened = await make_families(store, max_per_user=2).open(user_id, 1, new_family_id(), "", "")
        assert set(opened.unannounced) == {token.family_id for token in tokens[1:]}
        alive = {family.family_id for family in await make_families(store).list(user_id)}
        assert alive == {tokens[0].family_id, opened.family_id}

    async def test_who_gave_way_is_named_again_to_a_command_that_is_sent_again_and_to_no_other(
        self, store: Store
    ) -> None:
        families = make_families(store, max_per_user=1, new_nonce=lambda: 7)
        user_id, family_id = await add_user(store), new_family_id()
        first = await open_family(families, user_id)
        opened = [await families.open(user_id, 1, family_id, "", "") for _ in range(2)]
        assert [one.gave_way for one in opened] == [(first.family_id,)] * 2
        later = await make_families(store, max_per_user=2).open(user_id, 1, new_family_id(), "", "")
        assert (later.unannounced, later.gave_way) == ((first.family_id,), ())

    async def test_a_mark_is_named_until_it_is_revoked(self, store: Store) -> None:
        """Whoever was to announce it has crashed: the next login makes it good."""
        families = make_families(store, replay_window_seconds=0)
        user_id = await add_user(store)
        token = await open_family(families, user_id)
        await families.rotate(token)
        await refused_as(RefreshTokenReused, families.rotate(token))
        for _ in range(2):
            opened = await families.open(user_id, 1, new_family_id(), "", "")
            assert (opened.unannounced, opened.gave_way) == ((token.family_id,), ())
        assert await families.exists(user_id, token.family_id)
        assert await families.revoke(user_id, opened.unannounced) == 1
        assert (await families.open(user_id, 1, new_family_id(), "", "")).unannounced == ()

    async def test_a_family_that_is_over_makes_no_other_give_way(self, store: Store) -> None:
        families = make_families(store, max_per_user=2)
        user_id = await add_user(store)
        over, alive = [await open_family(families, user_id) for _ in range(2)]
        await age(store, over, rotated=IDLE_SECONDS)
        assert (await families.open(user_id, 1, new_family_id(), "", "")).unannounced == ()
        assert await read_record(store, over) is None
        assert (await families.rotate(alive)).outcome == "rotated"

    @pytest.mark.parametrize("change", [("is_active", "0"), ("password_version", "2")])
    async def test_a_login_that_comes_too_late_is_refused(self, store: Store, change: tuple[str, str]) -> None:
        """The password was compared before the user was disabled, or before it was changed."""
        families = make_families(store)
        user_id = await add_user(store)
        await store.execute("HSET", store.key(f"user:{{{user_id}}}"), *change)
        with pytest.raises(InvalidCredentials):
            await open_family(families, user_id)
        assert await store.execute("EXISTS", families_key(store, user_id)) == 0

    async def test_a_login_of_nobody_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidCredentials):
            await open_family(make_families(store), "usr_" + new_family_id())

    @pytest.mark.parametrize("change", ["disable", "set_password", "remove"])
    async def test_logins_and_refreshes_that_race_a_change_leave_no_living_family_of_the_old_state(
        self, store: Store, redis_server: RedisServer, change: str, open_store: OpenStore
    ) -> None:
        other = open_store(redis_server.url, store.prefix)
        families, users = make_families(store), Users(other, lambda: 0)
        user_id = await add_user(store)
        user = await users.get(user_id)
        assert user is not None
        token = await open_family(families, user_id)

        somebody_is_in = asyncio.Event()

        auth_times: dict[str, int] = {}

        async def login() -> RefreshToken:
            opened = await families.open(user_id, 1, new_family_id(), "192.0.2.7", "Firefox on Linux")
            auth_times[opened.family_id] = opened.auth_time
            somebody_is_in.set()
            return families.parse(opened.refresh_token)

        async def end() -> tuple[str, ...]:
            await somebody_is_in.wait()
            if change == "set_password":
                return await users.set_password(user_id, "another hash")
            ended = await users.set_active(user_id, False)
            return await users.remove(user_id, user.email) if change == "remove" else ended

        logins = (login() for _ in range(40))
        refreshes = (families.rotate(token, is_cookie=bool(number % 2)) for number in range(40))
        works = [work for pair in zip(logins, refreshes, strict=True) for work in pair]
        answers = await asyncio.gather(*works[:40], end(), *works[40:], return_exceptions=True)
        unexpected = {type(answer) for answer in answers} - {
            RefreshToken, Rotation, InvalidCredentials, RefreshTokenInvalid, StoreUnavailable, tuple
        }  # fmt: skip
        assert not unexpected  # and who had no answer within half a second, on a busy host, is in or is not
        assert await families.list(user_id) == []
        # Nor does an access token that was made of any of these answers.
        (revocations,) = [answer for answer in answers if isinstance(answer, tuple)]
        view = Revocations(store, lambda: 0)
        await view.announce((revocations[-1],))
        auth_times |= {answer.family_id: answer.auth_time for answer in answers if isinstance(answer, Rotation)}
        assert auth_times
        assert all(view.has_ended(user_id, *session) for session in auth_times.items())
        with pytest.raises(InvalidCredentials):
            await open_family(families, user_id)
        if change != "remove":
            assert (await record_of(store, token)).ended == 1


class TestKept:
    """d = 0 by cookie, within 30 s of the last rotation: tabs that share a jar get the same token again."""

    @pytest.mark.parametrize("seconds", [0, 15, KEPT_SECONDS - 1])
    async def test_the_very_same_token_comes_back_and_nothing_moves(self, store: Store, seconds: int) -> None:
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        rotation = await families.rotate(first, is_cookie=True)
        assert rotation.outcome == "rotated"  # a login is no rotation
        second = families.parse(rotation.refresh_token)
        before = await age(store, first, rotated=seconds)
        expires_at = await store.execute("PEXPIRETIME", families_key(store, first.user_id))
        for _ in range(3):
            kept = await families.rotate(second, is_cookie=True)
            assert kept.outcome == "kept"
            assert kept.refresh_token == rotation.refresh_token
            assert await record_of(store, first) == before
            assert 0 <= IDLE_SECONDS - seconds - kept.max_age_seconds <= 2
        assert await store.execute("PEXPIRETIME", families_key(store, first.user_id)) == expires_at
        # What was kept was not used: neither its parent is reused by that, nor its own next rotation replayed.
        assert (await families.rotate(first, is_cookie=True)).refresh_token == rotation.refresh_token
        await age(store, first, rotated=KEPT_SECONDS)
        assert (await families.rotate(second, is_cookie=True)).outcome == "rotated"

    @pytest.mark.parametrize("seconds", [KEPT_SECONDS + 1, WINDOW_SECONDS + 1])
    async def test_later_it_is_rotated(self, store: Store, seconds: int) -> None:
        families = make_families(store)
        second = await successor(families, await open_family(families, await add_user(store)))
        await age(store, second, rotated=seconds)
        assert (await families.rotate(second, is_cookie=True)).outcome == "rotated"

    async def test_in_the_body_it_is_rotated(self, store: Store) -> None:
        """Only tabs share a jar."""
        families = make_families(store)
        second = await successor(families, await open_family(families, await add_user(store)))
        assert (await families.rotate(second)).outcome == "rotated"

    async def test_without_a_replay_window_it_is_rotated(self, store: Store) -> None:
        families = make_families(store, replay_window_seconds=0)
        second = await successor(families, await open_family(families, await add_user(store)))
        assert (await families.rotate(second, is_cookie=True)).outcome == "rotated"

    async def test_a_short_replay_window_does_not_shorten_it(self, store: Store) -> None:
        families = make_families(store, replay_window_seconds=1)
        second = await successor(families, await open_family(families, await add_user(store)))
        await age(store, second, rotated=KEPT_SECONDS - 1)
        assert (await families.rotate(second, is_cookie=True)).outcome == "kept"

    async def test_after_healing_it_is_kept_too(self, store: Store) -> None:
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        healed = await families.rotate(dataclasses.replace(first, generation=7), is_cookie=True)
        assert healed.outcome == "healed"
        assert (await families.rotate(families.parse(healed.refresh_token), is_cookie=True)).outcome == "kept"

    async def test_superseded_tokens_are_judged_as_ever(self, store: Store) -> None:
        families = make_families(store)
        first = await open_family(families, await add_user(store))
        second = await successor(families, first)
        await age(store, first, rotated=KEPT_SECONDS + 1)
        third = await successor(families, second)
        assert (await families.rotate(third, is_cookie=True)).outcome == "kept"
        assert (await families.rotate(second, is_cookie=True)).outcome == "replayed"
        await refused_as(RefreshTokenReused, families.rotate(first, is_cookie=True))
        await refused_as(RefreshTokenInvalid, families.rotate(third, is_cookie=True))

    async def test_of_a_user_who_is_disabled_nothing_is_kept(self, store: Store) -> None:
        families = make_families(store)
        second = await successor(families, await open_family(families, await add_user(store)))
        await store.execute("HSET", store.key(f"user:{{{second.user_id}}}"), "is_active", "0")
        await refused_as(RefreshTokenInvalid, families.rotate(second, is_cookie=True))

    async def test_our_own_command_sent_again_is_told_what_it_did(self, store: Store) -> None:
        """A rotation stays one though the token that it made would be kept; what was kept is kept, or rotated late."""
        families = make_families(store, new_nonce=lambda: 77)
        first = await open_family(families, await add_user(store))
        rotations = [await families.rotate(first, is_cookie=True) for _ in range(2)]
        assert [rotation.outcome for rotation in rotations] == ["rotated", "rotated"]
        second = families.parse(rotations[0].refresh_token)
        kept = [await families.rotate(second, is_cookie=True) for _ in range(2)]
        await age(store, first, rotated=KEPT_SECONDS + 1)
        late = [await families.rotate(second, is_cookie=True) for _ in range(2)]
        assert [rotation.outcome for rotation in (*kept, *late)] == ["kept", "kept", "rotated", "rotated"]
        assert {rotation.refresh_token for rotation in kept} == {rotations[0].refresh_token}
        assert {families.parse(rotation.refresh_token).generation for rotation in late} == {2}


class TestCuttingOff:
    """Ending all sessions of a user, those too that Redis has lost."""

    async def test_it_names_the_families_and_the_second_up_to_which_logins_have_ended(self, store: Store) -> None:
        families, users = make_families(store), Users(store, lambda: 0)
        user_id = await add_user(store)
        tokens = [await open_family(families, user_id) for _ in range(3)]
        now = (await store.execute("TIME"))[0]
        *ended, cut_off = await users.set_password(user_id, "another hash", keep_family=tokens[1].family_id)
        assert set(ended) == {tokens[0].family_id, tokens[2].family_id}
        subject, second, kept = cut_off.split(" ")
        assert (subject, kept) == (user_id, tokens[1].family_id)
        assert int(now) <= int(second) <= int(now) + 1
        assert [family.family_id for family in await families.list(user_id)] == [tokens[1].family_id]

    async def test_a_family_that_does_not_live_is_not_kept(self, store: Store) -> None:
        families, users = make_families(store), Users(store, lambda: 0)
        user_id = await add_user(store)
        token = await open_family(families, user_id)
        await families.mark(user_id, (token.family_id,))
        for family_id in (token.family_id, new_family_id()):
            ended = await users.set_password(user_id, secrets.token_hex(8), keep_family=family_id)
            assert ended[0] == token.family_id
            assert ended[-1].endswith(" ")

    async def test_a_login_in_the_second_of_a_cut_off_counts_as_one_of_the_next(self, store: Store) -> None:
        """Also where Redis's clock has gone back since; its session does not live longer for that."""
        families = make_families(store, idle_ttl_seconds=ABSOLUTE_SECONDS)
        user_id = await add_user(store)
        now = int((await store.execute("TIME"))[0])
        _, (cut_off,) = await families.mark_all(user_id)
        assert int(cut_off.split(" ")[1]) >= now
        for ahead in (0, 1, 100):
            second = now + ahead
            await store.execute("HSET", store.key(f"user:{{{user_id}}}"), "cut_off", str(second))
            opened = await families.open(user_id, 1, new_family_id(), "", "")
            assert opened.auth_time > second
            assert ABSOLUTE_SECONDS - 2 <= opened.max_age_seconds <= ABSOLUTE_SECONDS
            await store.execute("DEL", families_key(store, user_id))  # lost, and cut off all the same
            _, (cut_off,) = await families.mark_all(user_id)
            assert int(cut_off.split(" ")[1]) >= opened.auth_time

    async def test_a_second_never_goes_back(self, store: Store) -> None:
        families, user_id = make_families(store), await add_user(store)
        later = int((await store.execute("TIME"))[0]) + 50
        await store.execute("HSET", store.key(f"user:{{{user_id}}}"), "cut_off", str(later))
        assert (await families.mark_all(user_id))[1][-1] == f"{user_id} {later} "

    async def test_it_is_told_until_it_was_announced(self, store: Store) -> None:
        """By every login, refresh and ending: whoever was to announce it may have crashed."""
        families, users = make_families(store), Users(store, lambda: 0)
        user_id = await add_user(store)
        token = await open_family(families, user_id)
        (cut_off,) = await users.set_password(user_id, "another hash", keep_family=token.family_id)
        rotation = await families.rotate(token)
        opened = await families.open(user_id, 2, new_family_id(), "", "")
        assert rotation.unannounced == opened.unannounced == (cut_off,)
        assert await families.mark(user_id, (opened.family_id,)) == (opened.family_id, cut_off)
        assert await families.revoke(user_id, (opened.family_id, cut_off)) == 1
        assert (await families.rotate(token)).unannounced == ()
        assert (await families.open(user_id, 2, new_family_id(), "", "")).unannounced == ()

    async def test_one_that_was_made_since_is_not_taken_for_announced(self, store: Store) -> None:
        families, user_id = make_families(store), await add_user(store)
        _, first = await families.mark_all(user_id)
        await store.execute("HSET", store.key(f"user:{{{user_id}}}"), "cut_off", "9999999999")
        _, second = await families.mark_all(user_id)
        await families.revoke(user_id, first)
        assert await families.mark(user_id, (new_family_id(),)) == second

    async def test_of_a_user_who_is_gone_nothing_is_kept(self, store: Store) -> None:
        families, users = make_families(store), Users(store, lambda: 0)
        user_id = await add_user(store)
        user = await users.get(user_id)
        assert user is not None
        token = await open_family(families, user_id)
        first = await users.remove(user_id, user.email)
        again = await users.remove(user_id, user.email)
        assert first[:-1] == again[:-1] == (token.family_id,)
        assert first[-1].startswith(f"{user_id} ")
        assert (await families.mark_all(user_id))[1][0] == token.family_id
        assert await store.execute("EXISTS", store.key(f"user:{{{user_id}}}")) == 0


class TestRevoking:
    """Ending families for good."""

    async def test_a_marked_family_never_works_again(self, store: Store) -> None:
        """Nor does marking it once more, which lets the mark live on, give it another life."""
        families = make_families(store)
        user_id = await add_user(store)
        first, second = [await open_family(families, user_id) for _ in range(2)]
        assert await families.mark(user_id, (first.family_id, new_family_id())) == (first.family_id,)
        before = await age(store, first, rotated=100)
        assert await families.mark(user_id, (first.family_id,)) == (first.family_id,)
        after = await record_of(store, first)
        assert (after.ended, after.nonce) == (1, before.nonce)
        assert after.rotated - before.rotated >= 100_000
        for token in (first, dataclasses.replace(first, generation=9)):
            refused = await refused_as(RefreshTokenInvalid, families.rotate(token))
            assert refused.unannounced == (first.family_id,)
        assert [family.family_id for family in await families.list(user_id)] == [second.family_id]

    async def test_all_are_counted_that_lived_and_named_that_are_there(self, store: Store) -> None:
        """Also when the command is sent again, since its answer was lost on the way."""
        families = make_families(store, new_nonce=lambda: 77)
        user_id = await add_user(store)
        tokens = [await open_family(families, user_id) for _ in range(4)]
        await make_families(store).mark(user_id, (tokens[0].family_id,))
        await age(store, tokens[1], rotated=IDLE_SECONDS)
        for _ in range(2):
            living, named = await families.mark_all(user_id)
            assert living == 2
            assert set(named[:-1]) == {token.family_id for token in tokens}

    async def test_a_login_whose_family_was_ended_before_it_heard_of_it_does_not_open_it_again(
        self, store: Store
    ) -> None:
        """The command is sent again when a connection breaks."""
        families = make_families(store)
        user_id, family_id = await add_user(store), new_family_id()
        await families.open(user_id, 1, family_id, "", "")
        await families.mark(user_id, (family_id,))
        with pytest.raises(StoreUnavailable):
            await families.open(user_id, 1, family_id, "", "")
        assert await families.list(user_id) == []

    async def test_a_revoked_family_is_gone_and_the_others_stay(self, store: Store) -> None:
        families = make_families(store)
        user_id = await add_user(store)
        first, second, third = [await open_family(families, user_id) for _ in range(3)]
        assert await families.revoke(user_id, (first.family_id, third.family_id)) == 2
        assert await families.revoke(user_id, (first.family_id, third.family_id)) == 0
        assert await families.revoke(user_id, ()) == 0
        await refused_as(RefreshTokenInvalid, families.rotate(first))
        assert (await families.rotate(second)).outcome == "rotated"

    async def test_a_thousand_families_are_revoked_at_once(self, store: Store) -> None:
        """As many as `max_sessions_per_user` allows."""
        families = make_families(store)
        user_id = await add_user(store)
        packed = (await record_of(store, await open_family(families, user_id))).packed()
        family_ids = tuple(new_family_id() for _ in range(1000))
        words = [word for family_id in family_ids for word in (family_id, packed)]
        await store.execute("HSET", families_key(store, user_id), *words)
        assert len(await families.list(user_id)) == 1001
        assert await families.revoke(user_id, family_ids) == 1000
        assert len(await families.list(user_id)) == 1

    async def test_a_revoked_family_does_not_come_back_with_a_crash(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        server = own_redis()
        store = open_store(server.url, "gw:")
        families = make_families(store)
        user_id = await add_user(store)
        revoked, kept = [await open_family(families, user_id) for _ in range(2)]
        await families.revoke(user_id, (revoked.family_id,))
        server.kill()
        with pytest.raises(StoreUnavailable):
            await families.rotate(kept)
        server.start()
        await refused_as(RefreshTokenInvalid, families.rotate(revoked))
        assert (await families.rotate(kept)).outcome == "rotated"

    async def test_sessions_can_be_ended_when_redis_is_full(
        self, own_redis: Callable[..., RedisServer], open_store: OpenStore
    ) -> None:
        """Reuse is marked, users are disabled, revocations announced; whatever needs memory is a 503, no verdict."""
        server = own_redis()
        store = open_store(server.url, "gw:")
        families, users = make_families(store, replay_window_seconds=0), Users(store, lambda: 0)
        revocations = Revocations(store, lambda: 0)
        ann, ben = [await add_user(store) for _ in range(2)]
        reused, mine, current = [await open_family(families, ann) for _ in range(3)]
        theirs = await open_family(families, ben)
        await families.rotate(reused)
        server.command("CONFIG", "SET", "maxmemory", "1")

        with pytest.raises(StoreUnavailable):
            await open_family(families, ann)
        with pytest.raises(StoreUnavailable):
            await families.rotate(current)
        await refused_as(RefreshTokenReused, families.rotate(reused))
        both = (reused.family_id, mine.family_id)
        assert await families.mark(ann, both) == both
        await revocations.announce(both)
        assert await families.revoke(ann, both) == 2
        assert (await users.set_active(ben, False))[:-1] == (theirs.family_id,)
        assert (await users.set_password(ann, "another hash"))[:-1] == (current.family_id,)
        assert await store.execute("XLEN", store.key("revocations")) == 2

        assert (await families.mark_all(ann))[0] == 0
        assert (await users.remove(ben, "ben@example.com"))[0] == theirs.family_id

        server.command("CONFIG", "SET", "maxmemory", "0")
        for token in (reused, mine, current, theirs):
            await refused_as(RefreshTokenInvalid, families.rotate(token))
        assert (await families.rotate(await open_family(families, ann, password_version=2))).outcome == "rotated"


class TestLifetimeInRedis:
    """Everything that can expire does."""

    async def expires_at(self, store: Store, user_id: str) -> int:
        """When the hash expires, in milliseconds since the epoch; -1 for never, -2 when there is none."""
        moment: int = await store.execute("PEXPIRETIME", families_key(store, user_id))
        return moment

    async def test_the_key_expires_with_its_last_family(self, store: Store) -> None:
        families = make_families(store)
        user_id = await add_user(store)

        async def end_of(token: RefreshToken) -> int:
            record = await record_of(store, token)
            return min(record.rotated + IDLE_SECONDS * 1000, record.created + record.lifetime * 1000)

        first = await open_family(families, user_id)
        assert await self.expires_at(store, user_id) == await end_of(first)
        second = await open_family(families, user_id)
        assert await self.expires_at(store, user_id) == await end_of(second)
        await asyncio.sleep(0.002)
        await families.rotate(first)
        assert await self.expires_at(store, user_id) == await end_of(first) > await end_of(second)
        await families.revoke(user_id, (first.family_id,))
        assert await self.expires_at(store, user_id) == await end_of(second)
        await age(store, second, created=ABSOLUTE_SECONDS - 600)
        third = await open_family(families, user_id)
        await families.revoke(user_id, (third.family_id,))
        assert await self.expires_at(store, user_id) == await end_of(second)
        await families.rotate(second)
        assert await self.expires_at(store, user_id) == await end_of(second)
        await families.revoke(user_id, (second.family_id,))
        assert await self.expires_at(store, user_id) == -2

    async def test_a_mark_outlives_the_access_tokens_of_its_family(self, store: Store) -> None:
        """However short the idle time is: else a crash before the announcement would leave them good."""
        families = make_families(store, idle_ttl_seconds=60, replay_window_seconds=0)
        token = await open_family(families, await add_user(store))
        await families.rotate(token)
        await age(store, token, rotated=59)
        await refused_as(RefreshTokenReused, families.rotate(token))
        marked_at = (await record_of(store, token)).rotated
        expires_at = await self.expires_at(store, token.user_id)
        assert expires_at > marked_at + LONGEST_ACCESS_TOKEN_LIFE_SECONDS * 1000
        await age(store, token, rotated=LONGEST_ACCESS_TOKEN_LIFE_SECONDS)
        assert (await refused_as(RefreshTokenInvalid, families.rotate(token))).unannounced == (token.family_id,)
        await age(store, token, rotated=60)
        assert (await refused_as(RefreshTokenInvalid, families.rotate(token))).unannounced == ()
        assert await read_record(store, token) is None

    async def test_no_operation_leaves_a_key_without_an_end(self, store: Store) -> None:
        """Shows ASVS 14.2.7."""
        families, users = make_families(store, max_per_user=2), Users(store, lambda: 0)
        user_id = await add_user(store)
        token = await open_family(families, user_id)
        operations: list[Callable[[], Awaitable[object]]] = [
            lambda: families.rotate(token),
            lambda: families.rotate(dataclasses.replace(token, generation=9)),
            lambda: open_family(families, user_id),
            lambda: open_family(families, user_id),
            lambda: families.revoke(user_id, (token.family_id,)),
            lambda: users.set_password(user_id, "another hash", keep_family=token.family_id),
            lambda: users.set_active(user_id, False),
        ]
        for operation in operations:
            await operation()
            assert await self.expires_at(store, user_id) > 0


class TestSize:
    """What a session costs."""

    async def test_a_session_costs_at_most_256_bytes(self, redis_server: RedisServer, open_store: OpenStore) -> None:
        """By MEMORY USAGE, under the default prefix, the longest address and label included."""
        store = open_store(redis_server.url, "gw:")
        families = make_families(store)
        user_id = await add_user(store)
        used: dict[int, int] = {}
        client = redis_server.client()
        for number in range(1, 51):
            opened = await families.open(user_id, 1, new_family_id(), IPV6, LABEL)
            if number in (1, 10, 50):
                # SAMPLES 0: all fields are weighed, none is guessed.
                used[number] = client.memory_usage(families_key(store, user_id), samples=0)
        record = await record_of(store, families.parse(opened.refresh_token))
        print(f"bytes of sessions: {used}; record: {len(record.packed())}")
        assert len(LABEL) == 22
        assert len(record.packed()) == 64
        assert used[1] <= 256
        assert client.object("encoding", families_key(store, user_id)) in (b"listpack", b"ziplist")
        client.close()

    async def test_a_record_stays_small_however_often_it_is_rotated(self, store: Store) -> None:
        families = make_families(store, new_nonce=lambda: 2**32 - 1)
        token = await open_family(families, await add_user(store))
        before = len((await record_of(store, token)).packed())
        await rewrite(store, token, generation=2**32 - 2)
        await families.rotate(dataclasses.replace(token, generation=2**32 - 2))
        assert len((await record_of(store, token)).packed()) == before


class TestSecrecy:
    """What lies in Redis lets nobody refresh."""

    async def test_no_refresh_token_and_no_mac_is_in_redis(self, store: Store) -> None:
        """Shows ASVS 14.2.4."""
        families = make_families(store)
        opened = await families.open(await add_user(store), 1, new_family_id(), IPV6, LABEL)
        rotation = await families.rotate(families.parse(opened.refresh_token))
        stored = b""
        async for key in store.scan("*"):
            kind = await store.execute("TYPE", key)
            content = await store.execute(*(("HGETALL", key) if kind == b"hash" else ("GET", key)))
            stored += b"|".join([content] if isinstance(content, bytes) else itertools.chain(*content.items()))
        assert opened.family_id.encode() in stored
        for text in (opened.refresh_token, rotation.refresh_token):
            octets = base64.urlsafe_b64decode(text)
            assert text[-43:].encode() not in stored
            assert octets[-32:] not in stored
        for key_bytes in (KEYCHAIN.current.refresh_token_mac, SECRET.encode()):
            assert key_bytes not in stored

    def test_a_token_does_not_show_itself(self) -> None:
        """Neither rendering of the keys shows them."""
        shown = f"{KEYCHAIN!r} {KEYCHAIN.current!r} {KEYCHAIN.current!s}"
        assert KEYCHAIN.current.refresh_token_mac.hex() not in shown
        assert "refresh_token_mac" not in shown
