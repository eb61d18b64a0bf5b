"""Users in Redis: one account for one address, however it is spelt and however many add it at once."""

import asyncio
import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.users import (
    EmailTaken,
    UnknownUser,
    User,
    UserChanged,
    Users,
    check_email,
    check_name,
    check_roles,
    new_user_id,
    normalise_email,
)
from gateway.errors import CommandError, StoreUnavailable
from gateway.store.store import Store
from tests.doubles import SendsTwice
from tests.harness import RedisServer

pytestmark = pytest.mark.redis

NOW = 1_790_000_000
EMAIL = "ann@example.com"
KEY_FORMS = re.compile(
    r"user:\{usr_[A-Za-z0-9_-]{22}\}|email:[0-9a-f]{64}|families:\{usr_[A-Za-z0-9_-]{22}\}",
)
HOSTILE = [
    "a:b@example.com",
    "{x}@example.com",
    "a}{b@example.com",
    "*@example.com",
    "[a-z]?@example.com",
    "%2e%0a@example.com",
    "../../@example.com",
    "' OR 1=1@example.com",
    "a\nb@example.com",
    "a\r\nX: 1@example.com",
    "a\0b@example.com",
    "\ud800@example.com",
    "漢字@例え.jp",
    "a" * 10_000 + "@example.com",
    "gw:user:{usr_AAAAAAAAAAAAAAAAAAAAAA}@x",
]


def users_of(store: Store) -> Users:
    return Users(store, lambda: NOW)


async def add(users: Users, email: str = EMAIL, **changes: Any) -> User:
    options: dict[str, Any] = {"name": "Ann Example", "roles": ("staff",), "password_hash": "a hash"}
    return await users.add(email, **options | changes)


async def keys_of(store: Store) -> set[str]:
    return {key.removeprefix(store.prefix) async for key in store.scan("*")}


def email_key(store: Store, email: str) -> str:
    return store.key("email:" + hashlib.sha256(email.encode()).hexdigest())


class TestAddress:
    """T31: one person, one account."""

    @pytest.mark.parametrize(
        "alias",
        [
            "Zoë@Example.COM",
            "ZOË@EXAMPLE.COM",
            " zoë@example.com\t\n",
            "\u3000zoë@example.com\u00a0",
            "zoe\u0308@example.com",
            "\uff5a\uff4f\u00eb@example.com",
            "zoë\uff20example.com",
            "zoë@ex\u00aample.com",
            "zoë@example.\u24d2\u24de\u24dc",
        ],
    )
    async def test_all_spellings_of_one_address_are_one_account(self, store: Store, alias: str) -> None:
        users = users_of(store)
        user = await add(users, "zoë@example.com")
        assert await users.find(alias) == user
        with pytest.raises(EmailTaken, match=r"zoë@example\.com"):
            await add(users, alias)

    @given(st.text() | st.emails())
    def test_the_normal_spelling_is_its_own(self, text: str) -> None:
        assert normalise_email(normalise_email(text)) == normalise_email(text)

    @pytest.mark.parametrize(
        "text",
        [
            *["", " ", "ann", "@", "ann@", "@example.com", "ann@@example.com", "a@b@c", "ann example@x.y"],
            *["ann@exam ple.com", "ann\n@x.y", "ann@x.y\0", "ann\u200b@x.y", "ann\u202e@x.y", "ann@x.y\x7f"],
            *["\ud800@x.y", "ann\u2028@x.y", "a" * 251 + "@x.y", "ann\ufeff@x.y", "a\u00adb@x.y"],
        ],
    )
    async def test_what_is_no_address_is_refused_and_changes_nothing(self, store: Store, text: str) -> None:
        with pytest.raises(CommandError):
            await add(users_of(store), text)
        assert await keys_of(store) == set()

    def test_an_address_of_greatest_length_is_one(self) -> None:
        assert check_email("a" * 248 + "@xy.zq") == "a" * 248 + "@xy.zq"
        with pytest.raises(CommandError):
            check_email("a" * 249 + "@xy.zq")

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_no_address_finds_its_way_into_a_key(self, store: Store, text: str) -> None:
        """T33: keys are of fixed forms, whatever is asked for. Shows ASVS 1.2.4."""
        users = users_of(store)
        assert await users.find(text) is None
        try:
            user = await add(users, text)
        except CommandError:
            assert await keys_of(store) == set()
        else:
            assert await users.find(text) == user
        assert all(KEY_FORMS.fullmatch(key) for key in await keys_of(store))


class TestFields:
    """What a user has."""

    async def test_a_user_is_found_as_added(self, store: Store) -> None:
        users = users_of(store)
        added = await add(users, name="  Zoe\u0308 Example ", roles=("staff", "ops", "staff"))
        assert re.fullmatch(r"usr_[A-Za-z0-9_-]{22}", added.user_id)
        assert added == User(added.user_id, EMAIL, "Zoë Example", ("staff", "ops"), True, NOW, "a hash", 1)
        assert await users.get(added.user_id) == added
        assert await users.find(EMAIL) == added
        assert [user async for user in users.all()] == [added]
        assert await users.get(new_user_id()) is None
        assert await users.find("nobody@example.com") is None

    async def test_a_user_can_be_added_disabled_and_without_name_and_roles(self, store: Store) -> None:
        users = users_of(store)
        added = await add(users, name="", roles=(), is_active=False, durable=False)
        assert await users.get(added.user_id) == added
        assert (added.name, added.roles, added.is_active) == ("", (), False)

    @pytest.mark.parametrize("name", ["a\nb", "a\r\nSet-Cookie: x", "a\0", "a\x1b[2J", "\ud800", "a" * 201, "a\u2028b"])
    async def test_a_name_that_cannot_be_shown_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(CommandError):
            await add(users_of(store), name=name)
        assert await keys_of(store) == set()

    @pytest.mark.parametrize("name", ["", "Zoë", "漢字 かな", "O'Brien; DROP TABLE", "a" * 200, "🦊"])
    def test_any_other_name_is_a_name(self, name: str) -> None:
        assert check_name(name) == name

    @pytest.mark.parametrize(
        "role",
        [
            "",
            "Staff",
            "a b",
            "a,b",
            "ä",
            "-a",
            "_a",
            ".a",
            ":a",
            "a\n",
            "a\0",
            "a" * 65,
            "a\r\nX: 1",
            "a/b",
            "a=b",
            "*",
        ],
    )
    async def test_a_role_of_another_form_is_refused(self, store: Store, role: str) -> None:
        users = users_of(store)
        with pytest.raises(CommandError):
            await add(users, roles=("staff", role))
        assert await keys_of(store) == set()
        user = await add(users)
        with pytest.raises(CommandError):
            await users.set_roles(user.user_id, (role,))
        assert await users.get(user.user_id) == user

    def test_roles_are_kept_in_order_and_once(self) -> None:
        assert check_roles(("b", "a:b.c_d-e", "0", "b", "a" * 64)) == ("b", "a:b.c_d-e", "0", "a" * 64)
        many = tuple(f"role-{number}" for number in range(50))
        assert check_roles(many) == many
        with pytest.raises(CommandError):
            check_roles((*many, "one-more"))
        long = tuple(f"{number:02}" + "x" * 60 for number in range(20))
        assert check_roles(long[:15]) == long[:15]
        with pytest.raises(CommandError, match="1000"):
            check_roles(long)

    async def test_a_user_s_hash_is_not_shown(self, store: Store) -> None:
        assert "a hash" not in repr(await add(users_of(store)))


class TestAddingAtOnce:
    """The address and the user lie in different slots; still one address is one user."""

    async def test_of_many_who_add_one_address_exactly_one_succeeds(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        other = Store(redis_server.url, store.prefix)
        for number in range(8):
            email = f"ann-{number}@example.com"
            adders = (add(users_of(each), email) for each in [store, other] * 25)
            answers = await asyncio.gather(*adders, return_exceptions=True)
            added = [answer for answer in answers if isinstance(answer, User)]
            assert len(added) == 1
            assert {type(answer) for answer in answers} == {User, EmailTaken}
            assert await users_of(store).find(email) == added[0]
        assert len([user async for user in users_of(store).all()]) == 8
        await other.close()

    @pytest.mark.parametrize("step", [1, 2])
    async def test_a_slow_adder_who_was_taken_for_dead_loses_and_leaves_no_user(
        self, store: Store, redis_server: RedisServer, step: int
    ) -> None:
        """He stands still between any two of his steps while another adds the same address."""

        class StandsStill(Store):
            steps = 0

            async def run(self, *arguments: Any, **options: Any) -> Any:
                self.steps += 1
                if self.steps == step:
                    answers.append(await asyncio.gather(add(users_of(store)), return_exceptions=True))
                return await super().run(*arguments, **options)

        answers: list[Any] = []
        slow = StandsStill(redis_server.url, store.prefix)
        answers.append(await asyncio.gather(add(users_of(slow)), return_exceptions=True))
        assert {type(answer) for [answer] in answers} == {EmailTaken, User}
        assert len([user async for user in users_of(store).all()]) == 1
        assert await users_of(store).find(EMAIL) is not None
        await slow.close()

    async def test_an_address_whose_user_was_never_written_is_taken_over(self, store: Store) -> None:
        """Somebody's `users add` was killed in between."""
        users = users_of(store)
        await store.execute("SET", email_key(store, EMAIL), new_user_id())
        assert await users.find(EMAIL) is None
        user = await add(users)
        assert await users.find(EMAIL) == user
        assert [found async for found in users.all()] == [user]
        with pytest.raises(EmailTaken):
            await add(users)

    async def test_a_refused_user_leaves_nothing_that_stays(self, store: Store) -> None:
        abandoned = new_user_id()
        await store.execute("SET", email_key(store, EMAIL), abandoned)
        await add(users_of(store))
        assert 0 < await store.execute("TTL", store.key(f"user:{{{abandoned}}}")) <= 3600
        for call in (
            users_of(store).set_active(abandoned, True),
            users_of(store).set_roles(abandoned, ()),
            users_of(store).set_password(abandoned, "another hash"),
        ):
            with pytest.raises(UnknownUser):
                await call
        assert await users_of(store).get(abandoned) is None

    async def test_our_own_command_sent_again_is_not_another_who_was_quicker(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        twice = SendsTwice(redis_server.url, store.prefix)
        users = users_of(twice)
        user = await add(users)
        await users.renew_hash(user.user_id, "renewed", 1)
        await users.set_password(user.user_id, "another", expected_version=1)
        found = await users.find(EMAIL)
        assert found is not None
        assert (found.password_hash, found.password_version) == ("another", 2)
        await users.set_active(user.user_id, False)
        await users.remove(user.user_id, EMAIL)
        assert await keys_of(store) == set()
        await twice.close()


class TestChanging:
    """Changes, and who is too late for them."""

    async def test_a_user_is_disabled_and_enabled(self, store: Store) -> None:
        users = users_of(store)
        user = await add(users)
        for is_active in (False, False, True, True):
            revocations = await users.set_active(user.user_id, is_active)
            assert [text.split(" ")[0] for text in revocations] == [] if is_active else [user.user_id]
            found = await users.get(user.user_id)
            assert found is not None
            assert found.is_active is is_active

    async def test_a_new_password_steps_the_version_and_a_renewed_hash_does_not(self, store: Store) -> None:
        users = users_of(store)
        user = await add(users)
        await users.renew_hash(user.user_id, "renewed", 1)
        await users.set_password(user.user_id, "second", expected_version=1)
        await users.set_password(user.user_id, "third")
        found = await users.get(user.user_id)
        assert found is not None
        assert (found.password_hash, found.password_version) == ("third", 3)

    async def test_of_two_new_passwords_on_one_old_one_the_second_is_refused(self, store: Store) -> None:
        users = users_of(store)
        user = await add(users)
        answers = await asyncio.gather(
            *(users.set_password(user.user_id, f"hash {number}", expected_version=1) for number in range(20)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, tuple) for answer in answers) == 1
        assert sum(isinstance(answer, UserChanged) for answer in answers) == 19
        with pytest.raises(UserChanged):
            await users.renew_hash(user.user_id, "of the old password", 1)
        found = await users.get(user.user_id)
        assert found is not None
        assert found.password_version == 2

    async def test_nobody_cannot_be_changed(self, store: Store) -> None:
        users, nobody = users_of(store), new_user_id()
        for call in (
            users.set_active(nobody, True),
            users.set_active(nobody, False),
            users.set_roles(nobody, ("staff",)),
            users.set_password(nobody, "a hash"),
            users.renew_hash(nobody, "a hash", 1),
        ):
            with pytest.raises(UnknownUser):
                await call
        assert await keys_of(store) == set()

    async def test_removing_a_user_frees_the_address(self, store: Store) -> None:
        users = users_of(store)
        user = await add(users)
        await users.set_active(user.user_id, False)
        await users.remove(user.user_id, user.email)
        assert await keys_of(store) == set()
        again = await add(users)
        assert again.user_id != user.user_id
        # Removing him once more does not take the address from the one who has it now.
        await users.remove(user.user_id, user.email)
        assert await users.find(EMAIL) == again

    async def test_all_users_are_listed(self, store: Store) -> None:
        users = users_of(store)
        added = [await add(users, f"user-{number}@example.com", durable=False) for number in range(600)]
        found = [user async for user in users.all()]
        assert sorted(found, key=lambda user: user.user_id) == sorted(added, key=lambda user: user.user_id)

    async def test_something_else_in_the_place_of_a_user_is_told(self, store: Store) -> None:
        user_id = new_user_id()
        await store.execute("SET", store.key(f"user:{{{user_id}}}"), "no hash")
        with pytest.raises(StoreUnavailable):
            await users_of(store).get(user_id)
