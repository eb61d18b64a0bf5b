"""
Random lives of users with second factors against a model, on a real Redis that is killed.

Two gateways share it, one of which sends every script twice. Whatever happens: a session is opened by all that was
required and is still there, and nothing that is good once is taken twice.
"""

import asyncio
import base64
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from gateway.accounts.factors.pending import PendingLogin
from gateway.accounts.factors.steps import Proved
from gateway.accounts.factors.totp import hotp, step_at
from gateway.accounts.users import User
from gateway.derived_keys import KeyChain
from gateway.errors import InvalidCredentials, MalformedRequest, SecondFactorInvalid, StoreUnavailable
from gateway.sessions.families import RefreshFamilies, new_family_id
from gateway.store.store import Store
from tests.accounts.factors.conftest import Desk, assertion
from tests.authenticators import Authenticator
from tests.clocks import FakeClock
from tests.doubles import SendsTwice
from tests.harness import SECRET, RedisServer

pytestmark = pytest.mark.redis

USERS, LIVES, STEPS = 2, 60, 80
KILLS_APART = 15
R = TypeVar("R")
picks = strategies.integers(0, 2**16)
people = strategies.integers(0, USERS - 1)
gateways = strategies.integers(0, 1)


@dataclass
class App:
    """An authenticator app in somebody's hands, and the last step of it that was taken."""

    secret: bytes
    last_step: int


@dataclass
class Person:
    """What a user has, as the model knows it; `version` is of the password."""

    user: User
    version: int = 1
    apps: dict[str, App] = field(default_factory=dict)
    passkeys: dict[str, Authenticator] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    codes_id: str = ""

    @property
    def factors(self) -> list[str]:
        """Give the ids of all that he has, in an order that does not depend on chance."""
        return [*self.apps, *self.passkeys, *([self.codes_id] if self.codes_id else [])]

    def forget(self, factor_id: str) -> None:
        """Take a factor away, and with the last the codes."""
        self.apps.pop(factor_id, None)
        self.passkeys.pop(factor_id, None)
        if factor_id == self.codes_id or not (self.apps or self.passkeys):
            self.codes, self.codes_id = [], ""


@dataclass
class Waiting:
    """A login whose password was right: of whom, at which password, and whether it is good still."""

    person: Person
    text: str
    challenge: str
    version: int
    is_used: bool = False

    @property
    def is_good(self) -> bool:
        """Whether a right factor completes it."""
        return not self.is_used and self.version == self.person.version


class World:
    """What outlives a single life: Redis, two gateways on it, and their clock."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.clock, self.counts = server, FakeClock(), Counter[str]()
        self.runner = asyncio.Runner()
        self.stores = [Store(server.url, "gw:"), SendsTwice(server.url, "gw:")]
        self.desks = [Desk(store, clock=self.clock) for store in self.stores]
        self.families = [
            RefreshFamilies(
                store, KeyChain.of(SECRET), idle_ttl_seconds=3600, absolute_ttl_seconds=3600, replay_window_seconds=60,
                max_per_user=1000,
            )
            for store in self.stores
        ]  # fmt: skip

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Do something on the loop of the gateways."""
        return self.runner.run(work)

    def close(self) -> None:
        """End it."""
        for store in self.stores:
            self.run(store.close())
        self.runner.close()


class Life(RuleBasedStateMachine):
    """The life of two users and their factors."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.killed_at = 0, 0
        self.waiting: list[Waiting] = []
        self.proved: list[tuple[Person, Proved]] = []
        number = self.world.counts["lives"]
        self.count("lives")
        emails = [f"{name}{number}@example.com" for name in ("ann", "bob")]
        self.people = [Person(self.world.run(self.world.desks[0].user(email))) for email in emails]

    def count(self, what: str) -> None:
        self.world.counts[what] += 1
        self.steps = getattr(self, "steps", 0) + 1

    def person_with(self, pick: int, has: Callable[[Person], object]) -> Person | None:
        found = [person for person in self.people if has(person)]
        return found[pick % len(found)] if found else None

    # ------------------------------------------------------------------------------------------------ what users have

    @rule(who=people, gateway=gateways)
    def set_an_app_up(self, who: int, gateway: int) -> None:
        person, desk = self.people[who], self.world.desks[gateway]
        new = self.world.run(desk.factors.begin_totp(person.user))
        secret, step = base64.b32decode(new.secret), step_at(self.world.clock.now)
        try:
            self.world.run(desk.factors.confirm_totp(person.user.user_id, new.factor_id, hotp(secret, step)))
        except MalformedRequest:
            assert len(person.apps) == 3
        else:
            assert len(person.apps) < 3
            person.apps[new.factor_id] = App(secret, step)
            self.count("apps")

    @rule(who=people, gateway=gateways)
    def set_a_passkey_up(self, who: int, gateway: int) -> None:
        person, desk = self.people[who], self.world.desks[gateway]
        if len(person.passkeys) < 3:
            device, factor = self.world.run(desk.with_passkey(person.user))
            person.passkeys[factor.factor_id] = device
            self.count("passkeys")

    @rule(who=people, gateway=gateways)
    def make_recovery_codes(self, who: int, gateway: int) -> None:
        person, desk = self.people[who], self.world.desks[gateway]
        try:
            codes = self.world.run(desk.factors.make_recovery_codes(person.user.user_id))
        except MalformedRequest:
            assert not person.apps
            assert not person.passkeys
        else:
            assert person.apps or person.passkeys
            [made] = [one for one in self.world.run(desk.factors.all(person.user.user_id)) if one.kind == "recovery"]
            person.codes, person.codes_id = list(codes), made.factor_id
            self.count("sets of codes")

    @precondition(lambda self: self.steps % 4 == 0)
    @rule(pick=picks, gateway=gateways)
    def take_a_factor_away(self, pick: int, gateway: int) -> None:
        person = self.person_with(pick, lambda one: one.factors)
        if person is not None:
            factor_id = person.factors[pick % len(person.factors)]
            assert self.world.run(self.world.desks[gateway].factors.remove(person.user.user_id, factor_id)) in (
                True,
                gateway == 0,  # where the script is sent twice the second answer counts, and nothing is there then
            )
            person.forget(factor_id)
            self.count("taken away")

    @precondition(lambda self: self.steps % 7 == 0)
    @rule(who=people, gateway=gateways)
    def reset(self, who: int, gateway: int) -> None:
        person = self.people[who]
        removed = self.world.run(self.world.desks[gateway].factors.reset(person.user.user_id))
        assert removed == len(person.factors)
        person.apps, person.passkeys, person.codes, person.codes_id = {}, {}, [], ""
        self.count("resets")

    @precondition(lambda self: self.steps % 5 == 0)
    @rule(who=people, gateway=gateways)
    def change_the_password(self, who: int, gateway: int) -> None:
        person, desk = self.people[who], self.world.desks[gateway]
        self.world.run(desk.users.set_password(person.user.user_id, f"hash {self.steps} {self.world.counts['lives']}"))
        person.version += 1
        found = self.world.run(desk.users.get(person.user.user_id))
        assert found is not None
        assert found.password_version == person.version
        person.user = found
        self.count("passwords")

    # ---------------------------------------------------------------------------------------------------------- logins

    @rule(who=people, gateway=gateways)
    def log_in_with_the_password(self, who: int, gateway: int) -> None:
        person, logins = self.people[who], self.world.desks[gateway].logins
        demand = self.world.run(logins.demand(person.user.user_id))
        assert demand.what == ("factor" if person.apps or person.passkeys else "none")
        login = PendingLogin(purpose="factor", user_id=person.user.user_id, password_version=person.version)
        asked = self.world.run(logins.ask(login))
        challenge = str((asked.public_key or {}).get("challenge", ""))
        self.waiting.append(Waiting(person, asked.pending, challenge, person.version))
        self.count("first steps")

    def waiting_one(self, pick: int) -> Waiting | None:
        return self.waiting[-1 - pick // 4 % min(4, len(self.waiting))] if self.waiting else None

    def candidates(self, waiting: Waiting | None, pick: int) -> list[Person]:
        """Give who may show his factor for a login: mostly whose login it is."""
        if waiting is None:
            return []
        return [waiting.person] if pick % 4 else self.people

    def prove(self, waiting: Waiting, attempt: Coroutine[Any, Any, Proved], *, is_right: bool) -> bool:
        """Show a factor; see that it completes the login if it is right and the login good, and not otherwise."""
        try:
            proved = self.world.run(attempt)
        except SecondFactorInvalid as error:
            cause = error.cause
        else:
            cause = "proved"
        assert (cause == "proved") == (is_right and waiting.is_good), cause
        self.count(cause)
        if cause != "proved":
            return False
        waiting.is_used = True
        self.proved.append((waiting.person, proved))
        return True

    @rule(who=people, gateway=gateways)
    def log_in_with_password_and_passkey(self, who: int, gateway: int) -> None:
        if self.people[who].passkeys:
            self.log_in_with_the_password(who, gateway)
            self.show_a_passkey(1, 1 - gateway)

    @rule(who=people, skew=strategies.integers(-1, 1), gateway=gateways)
    def log_in_with_password_and_app(self, who: int, skew: int, gateway: int) -> None:
        if self.people[who].apps:
            self.world.clock.now += 30
            self.log_in_with_the_password(who, gateway)
            self.show_a_code_of_an_app(1, skew, 1 - gateway)

    @rule(pick=picks, skew=strategies.integers(-2, 2), gateway=gateways)
    def show_a_code_of_an_app(self, pick: int, skew: int, gateway: int) -> None:
        waiting = self.waiting_one(pick)
        owned = [item for one in self.candidates(waiting, pick) for item in one.apps.items()]
        if waiting is None or not owned:
            return
        factor_id, app = owned[pick % len(owned)]
        step = step_at(self.world.clock.now) + skew
        is_right = factor_id in waiting.person.apps and abs(skew) <= 1 and step > app.last_step
        attempt = self.world.desks[gateway].logins.prove_totp(waiting.text, hotp(app.secret, step))
        if self.prove(waiting, attempt, is_right=is_right):
            app.last_step = step

    @rule(pick=picks, gateway=gateways)
    def show_a_recovery_code(self, pick: int, gateway: int) -> None:
        waiting = self.waiting_one(pick)
        owners = [one for one in self.candidates(waiting, pick) if one.codes]
        if waiting is None or not owners:
            return
        owner = owners[pick % len(owners)]
        code = owner.codes[pick % len(owner.codes)]
        attempt = self.world.desks[gateway].logins.prove_recovery(waiting.text, code)
        if self.prove(waiting, attempt, is_right=waiting.person is owner):
            owner.codes.remove(code)
            again = self.world.desks[1 - gateway].factors._recovery.use(owner.user.user_id, code)
            with pytest.raises(SecondFactorInvalid):
                self.world.run(again)

    @rule(pick=picks, gateway=gateways)
    def show_a_passkey(self, pick: int, gateway: int) -> None:
        waiting = self.waiting_one(pick)
        owned = [item for one in self.candidates(waiting, pick) for item in one.passkeys.items()]
        if waiting is None or not owned:
            return
        factor_id, device = owned[pick % len(owned)]
        answer = assertion(device.get({"challenge": waiting.challenge}))
        attempt = self.world.desks[gateway].logins.prove_passkey(waiting.text, answer)
        is_right = factor_id in waiting.person.passkeys and waiting.challenge != ""
        self.prove(waiting, attempt, is_right=is_right)

    @precondition(lambda self: self.proved)
    @rule(pick=picks, gateway=gateways)
    def open_the_session(self, pick: int, gateway: int) -> None:
        """Maybe long after the factor was shown: what it stands on may be gone."""
        person, proved = self.proved.pop(pick % len(self.proved))
        is_good = proved.factor_id in person.factors and proved.user.password_version == person.version
        try:
            self.world.run(
                self.world.families[gateway].open(
                    proved.user.user_id, proved.user.password_version, new_family_id(), "192.0.2.7", "curl",
                    amr=proved.amr, by_recovery_code=proved.by_recovery_code, factor_id=proved.factor_id,
                )
            )  # fmt: skip
        except InvalidCredentials:
            assert not is_good
            self.count("sessions refused")
        else:
            assert is_good
            self.count("sessions")

    # ------------------------------------------------------------------------------------------------- time and faults

    @rule(steps=strategies.integers(1, 4))
    def let_time_pass(self, steps: int) -> None:
        self.world.clock.now += steps * 30

    @precondition(lambda self: self.steps - self.killed_at >= KILLS_APART)
    @rule()
    def kill_redis_and_start_it_again(self) -> None:
        self.world.server.kill()
        self.world.server.start()
        self.killed_at = self.steps
        self.count("kills")
        for store in self.world.stores:
            self.world.run(self.heard_again(store))

    @staticmethod
    async def heard_again(store: Store) -> None:
        for _ in range(100):
            try:
                await store.execute("EXISTS", store.key("keyring"), durable=True)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return
        raise AssertionError("Redis is not heard again")

    def teardown(self) -> None:
        """See that what is stored is what the model knows."""
        for person in self.people:
            factors = self.world.run(self.world.desks[0].factors.all(person.user.user_id))
            assert {factor.factor_id for factor in factors} == set(person.factors)
            assert [factor.left for factor in factors if factor.kind == "recovery"] == (
                [len(person.codes)] if person.codes_id else []
            )


def test_every_life_goes_as_the_model_says(
    own_redis: Callable[..., RedisServer], capsys: pytest.CaptureFixture[str]
) -> None:
    # With `everysec` a kill may lose what was answered in the last moments.
    world = World(own_redis("--appendfsync", "always"))
    machine = type("LifeOfThisTest", (Life,), {"world": world})
    try:
        run_state_machine_as_test(
            seed(20260)(machine),
            settings=settings(
                max_examples=LIVES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        world.close()
    with capsys.disabled():
        print(f"\nfactors: lives against the model: {dict(sorted(world.counts.items()))}", file=sys.stderr, flush=True)
    assert min(world.counts[what] for what in ("sessions", "pending-over", "spent", "wrong-code")) >= 5
    assert world.counts["kills"] >= LIVES // 10
