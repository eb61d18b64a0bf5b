"""
Random lives of an account against a model: passwords, second factors, pending logins, resets, and a Redis that is
killed before and while a factor is shown. Never is there a session without all that is required, and no factor is
accepted twice.

Two gateways share the account, one with `second_factor` = `optional`, one with `required`. The usual run is short;
`make soak` has a long one.
"""

import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import httpx2
import hypothesis
import jwt
import pytest
from hypothesis import HealthCheck, Phase, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from gateway.accounts.factors.totp import STEP_SECONDS, hotp, step_at
from gateway.state import Gateway
from tests.authenticators import Authenticator
from tests.conftest import quick_environment
from tests.harness import GatewayProcess, RedisServer, TestUser, free_port, in_gateway, wait_until
from tests.web.asking import PROBLEM, client_of
from tests.web.second_steps import App, passkey_of

SEED = 20261
STEPS_PER_LIFE = 30
LIVES_PER_SEED = 20
USUAL_STEPS, SOAK_STEPS = 150, 10_000
SECONDS_FOR_A_CODE = 4
MOST_APPS, MOST_KEYS, MOST_SESSIONS = 3, 5, 40
AMR_OF = {"totp": ["pwd", "otp", "mfa"], "recovery": ["pwd", "otp", "mfa"], "passkey": ["pop", "user", "mfa", "hwk"]}
GONE_SECONDS = 2.0

# How often each deed is tried, where it can be done.
DEEDS = {
    "log_in_with_a_factor": 8,
    "show_a_factor": 4,
    "show_the_password": 4,
    "show_it_several_times_at_once": 3,
    "begin_with_a_passkey_alone": 2,
    "set_up_an_app": 3,
    "set_up_a_passkey": 2,
    "set_up_a_first_app_to_log_in": 2,
    "make_recovery_codes": 2,
    "look_at_a_session": 2,
    "kill_redis_while_a_factor_is_shown": 1,
    "show_a_factor_while_redis_is_away": 1,
    "show_a_wrong_password": 1,
    "change_the_password": 1,
    "reset_the_password": 1,
    "remove_a_factor": 1,
    "reset_the_factors": 1,
}


@dataclass(frozen=True)
class Dice:
    """What chance says of one step."""

    deed: str
    gateway: int
    which: int
    kind: str
    pick: int
    offset: int
    at_once: int
    milliseconds: int


picks = strategies.integers(0, 2**16)
dice = strategies.builds(
    Dice,
    deed=strategies.sampled_from([deed for deed, times in DEEDS.items() for _ in range(times)]),
    gateway=strategies.integers(0, 1),
    which=picks,
    kind=strategies.sampled_from(["totp", "totp", "recovery", "passkey"]),
    pick=picks,
    offset=strategies.integers(-1, 1),
    at_once=strategies.integers(2, 5),
    milliseconds=strategies.integers(0, 12),
)


@dataclass(eq=False)
class Factor:
    """
    One factor as the model has it: an app, a passkey or a recovery code.

    `is_used` is of a recovery code, `last_step` of an app. `is_unsure` when nobody knows whether it was used, since
    Redis was killed meanwhile.
    """

    kind: str
    factor_id: str = ""
    secret: bytes = b""
    device: Authenticator | None = None
    code: str = ""
    last_step: int = 0
    is_used: bool = False
    unsure_steps: set[int] = field(default_factory=set)
    is_unsure: bool = False


@dataclass(eq=False)
class Pending:
    """A login that waits: for what, for which password, and the options for a passkey."""

    text: str
    purpose: str
    password_version: int
    options: dict[str, Any] | None
    is_used: bool = False
    is_unsure: bool = False


@dataclass(eq=False)
class Held:
    """A session that somebody holds."""

    access_token: str
    has_factor: bool
    is_alive: bool = True

    @property
    def bearer(self) -> dict[str, str]:
        """Give the header that carries its token."""
        return {"Authorization": f"Bearer {self.access_token}"}


@dataclass
class Shown:
    """A factor that is about to be shown: the members of the body, and the step that a code is of."""

    kind: str
    factor: Factor | None
    body: dict[str, Any]
    step: int = 0


class World:
    """What outlives a single life: Redis, and two gateways behind one issuer."""

    def __init__(self, server: RedisServer, directory: Any, tally: Counter[str]) -> None:
        self.server = server
        self.tally = tally
        port, prefix = free_port(), f"t{secrets.token_hex(4)}:"
        shared: dict[str, Any] = {"redis_key_prefix": prefix, "issuer": f"http://127.0.0.1:{port}"}
        self.gateways = [
            GatewayProcess(
                quick_environment(server.url, second_factor=policy, **shared, **more), directory / f"{policy}.log"
            ).start()
            for policy, more in (("optional", {"port": port}), ("required", {}))
        ]
        self.clients = [client_of(gateway) for gateway in self.gateways]

    def restart_redis(self) -> None:
        """Start Redis again, on what it has on disk, and wait until both gateways have noticed."""
        self.server.start()
        for client in self.clients:
            wait_until(partial(is_served, client), 5, "the gateway to notice")

    def close(self) -> None:
        """End the gateways."""
        for client in self.clients:
            client.close()
        for gateway in self.gateways:
            gateway.stop()


class Life(RuleBasedStateMachine):
    """The life of one account."""

    world: ClassVar[World]

    @initialize()
    def begin(self) -> None:
        """Add the user, who has a password alone."""
        self.user: TestUser = self.world.gateways[0].add_user()
        self.password, self.password_version = self.user.password, 0
        self.factors: list[Factor] = []
        self.removed: list[Factor] = []
        self.pending: list[Pending] = []
        self.sessions: list[Held] = []

    @rule(dice=dice)
    def live(self, dice: Dice) -> None:
        """Do what chance says, if it can be done."""
        if self.can(dice.deed):
            self.world.tally["steps"] += 1
            self.world.tally[dice.deed.replace("_", " ")] += 1
            getattr(self, dice.deed)(dice)

    def can(self, deed: str) -> bool:
        """Tell whether there is what a deed needs."""
        if deed in ("log_in_with_a_factor", "reset_the_factors"):
            return self.has_factor
        if deed in ("show_it_several_times_at_once", "kill_redis_while_a_factor_is_shown"):
            return self.has_factor and bool(self.pending)
        if deed in ("show_a_factor", "show_a_factor_while_redis_is_away", "set_up_a_first_app_to_log_in"):
            return bool(self.pending)
        if deed in ("make_recovery_codes", "change_the_password", "look_at_a_session"):
            return bool(self.sessions)
        if deed == "remove_a_factor":
            return bool(self.sessions) and self.has_factor
        most = {"set_up_an_app": ("totp", MOST_APPS), "set_up_a_passkey": ("passkey", MOST_KEYS)}
        if deed in most:
            return bool(self.sessions) and len(self.of_kind(most[deed][0])) < most[deed][1]
        return True

    # ---- what the model knows

    def of_kind(self, kind: str) -> list[Factor]:
        return [factor for factor in self.factors if factor.kind == kind]

    @property
    def has_factor(self) -> bool:
        return bool(self.of_kind("totp") or self.of_kind("passkey"))

    def is_good(self, pending: Pending) -> bool:
        is_of_now = pending.purpose == "passkey" or pending.password_version == self.password_version
        return is_of_now and not pending.is_used

    def may_change(self, session: Held) -> bool:
        return session.is_alive and (session.has_factor or not self.has_factor)

    def post(self, gateway: int, path: str, body: Any, session: Held | None = None) -> httpx2.Response:
        return self.world.clients[gateway].post(path, json=body, headers=session.bearer if session else {})

    # ---- the first step

    def show_the_password(self, dice: Dice) -> None:
        body = {"username": self.user.email, "password": self.password, "delivery": "body"}
        answer = self.post(dice.gateway, "/auth/login", body)
        if not self.has_factor and dice.gateway == 0:
            self.opened(answer, ["pwd"])
            return
        problem = refused(answer, "second-factor-required")
        kinds = [kind for kind in ("passkey", "totp", "recovery") if self.of_kind(kind)] if self.has_factor else []
        assert problem["methods"] == kinds
        purpose = "factor" if self.has_factor else "enrolment"
        self.pending.append(Pending(problem["pending"], purpose, self.password_version, problem.get("publicKey")))

    def show_a_wrong_password(self, dice: Dice) -> None:
        body = {"username": self.user.email, "password": "not " + self.password, "delivery": "body"}
        refused(self.post(dice.gateway, "/auth/login", body), "invalid-credentials")

    def begin_with_a_passkey_alone(self, dice: Dice) -> None:
        asked = self.post(dice.gateway, "/auth/login/passkey", {}).json()
        self.pending.append(Pending(asked["pending"], "passkey", 0, asked["publicKey"]))

    # ---- the second step

    def chosen(self, dice: Dice, offset: int, pending: Pending) -> Shown:
        """Give what is shown: one of the user's factors, one that was removed, or a guess."""
        kind = dice.kind
        known = self.of_kind(kind) * 3 + [factor for factor in self.removed if factor.kind == kind]
        factor = known[dice.pick % len(known)] if known and dice.pick % 7 else None
        if kind == "passkey":
            device = factor.device if factor and factor.device else passkey_of(self.world.gateways[0], user_handle="AA")
            return Shown(kind, factor, {"passkey": device.get(pending.options or {"challenge": "AAAA"})})
        if kind == "recovery":
            return Shown(kind, factor, {"recovery": factor.code if factor else "00000-00000"})
        step = moment_for_a_code() + offset
        return Shown(kind, factor, {"totp": hotp(factor.secret, step) if factor else "000000"}, step)

    def is_right(self, pending: Pending, shown: Shown) -> bool | None:
        """Tell whether it completes the login; None when that depends on what a kill has left."""
        factor = shown.factor
        if factor is None or factor in self.removed or not self.is_good(pending):
            return False
        if pending.purpose == "enrolment" or (pending.purpose == "passkey" and shown.kind != "passkey"):
            return False
        if shown.kind == "passkey" and pending.options is None:
            return False
        if factor.is_used or (shown.kind == "totp" and shown.step <= factor.last_step):
            return False
        is_unsure = factor.is_unsure or any(shown.step <= step for step in factor.unsure_steps)
        return None if pending.is_unsure or is_unsure else True

    def used(self, pending: Pending, shown: Shown) -> None:
        pending.is_used = True
        assert shown.factor
        if shown.kind == "totp":
            assert shown.step > shown.factor.last_step, "a code was accepted twice"
            shown.factor.last_step = shown.step
        if shown.kind == "recovery":
            assert not shown.factor.is_used, "a recovery code was accepted twice"
            shown.factor.is_used = True

    def judge(self, pending: Pending, shown: Shown, answer: httpx2.Response, is_right: bool | None) -> None:
        if answer.status_code == 200:
            assert is_right is not False, f"{shown.kind} was accepted"
            self.used(pending, shown)
            self.opened(answer, AMR_OF[shown.kind], delivery_of=pending)
            self.world.tally["accepted"] += 1
        else:
            refused(answer, "second-factor-invalid")
            assert is_right is not True, f"{shown.kind} was refused: {answer.text}"

    def show_a_factor(self, dice: Dice) -> None:
        pending = self.one_of(self.pending, dice.which)
        shown = self.chosen(dice, dice.offset, pending)
        is_right = self.is_right(pending, shown)
        self.judge(pending, shown, self.post(dice.gateway, "/auth/login", body_of(pending, shown)), is_right)

    def log_in_with_a_factor(self, dice: Dice) -> None:
        """Do both steps, one after the other."""
        if dice.kind == "passkey" and dice.which % 2:
            self.begin_with_a_passkey_alone(dice)
        else:
            self.show_the_password(dice)
        pending = self.pending[-1]
        shown = self.chosen(dice, dice.offset, pending)
        is_right = self.is_right(pending, shown)
        self.judge(pending, shown, self.post(1 - dice.gateway, "/auth/login", body_of(pending, shown)), is_right)

    def show_it_several_times_at_once(self, dice: Dice) -> None:
        pending = self.one_of(self.pending, dice.which)
        shown = self.chosen(dice, 1, pending)
        is_right = self.is_right(pending, shown)
        body = body_of(pending, shown)
        with ThreadPoolExecutor(dice.at_once) as pool:
            answers = list(pool.map(lambda one: self.post(one % 2, "/auth/login", body), range(dice.at_once)))
        right = [answer for answer in answers if answer.status_code == 200]
        assert len(right) <= 1, f"{shown.kind} was accepted {len(right)} times"
        self.judge(pending, shown, (right or answers)[0], is_right)

    # ---- Redis dies

    def show_a_factor_while_redis_is_away(self, dice: Dice) -> None:
        pending = self.one_of(self.pending, dice.which)
        self.world.server.kill()
        try:
            answer = self.post(0, "/auth/login", body_of(pending, self.chosen(dice, 0, pending)))
        finally:
            self.world.restart_redis()
        refused(answer, "store-unavailable")

    def kill_redis_while_a_factor_is_shown(self, dice: Dice) -> None:
        pending = self.one_of(self.pending, dice.which)
        shown = self.chosen(dice, 1, pending)
        is_right = self.is_right(pending, shown)
        killer = threading.Timer(dice.milliseconds / 1000, self.world.server.kill)
        killer.start()
        try:
            answer = self.post(0, "/auth/login", body_of(pending, shown))
        finally:
            killer.join()
            self.world.restart_redis()
        if answer.status_code != 503:
            self.judge(pending, shown, answer, is_right)
        elif is_right is not False and shown.factor:
            self.world.tally["unsure"] += 1
            pending.is_unsure = True
            shown.factor.is_unsure |= shown.kind == "recovery"
            shown.factor.unsure_steps |= {shown.step} if shown.kind == "totp" else set()

    # ---- setting up and taking away

    def set_up_an_app(self, dice: Dice) -> None:
        session = self.one_of(self.sessions, dice.which)
        new = self.post(dice.gateway, "/auth/factors/totp", {}, session)
        if not self.may_change(session):
            refused(new, *self.slug_for(session))
            return
        factor, code = app_of(new)
        answer = self.post(dice.gateway, "/auth/factors/totp/confirm", {"id": factor.factor_id, "code": code}, session)
        assert answer.status_code == 200, answer.text
        self.factors.append(factor)

    def set_up_a_passkey(self, dice: Dice) -> None:
        session = self.one_of(self.sessions, dice.which)
        options = self.post(dice.gateway, "/auth/factors/passkeys/options", {}, session)
        if not self.may_change(session):
            refused(options, *self.slug_for(session))
            return
        device = passkey_of(self.world.gateways[0])
        credential = device.create(options.json()["publicKey"])
        answer = self.post(dice.gateway, "/auth/factors/passkeys", {"credential": credential}, session)
        assert answer.status_code == 200, answer.text
        self.factors.append(Factor("passkey", answer.json()["id"], device=device))

    def set_up_a_first_app_to_log_in(self, dice: Dice) -> None:
        pending = self.one_of(self.pending, dice.which)
        new = self.post(dice.gateway, "/auth/factors/totp", {"pending": pending.text})
        if pending.purpose != "enrolment" or not (self.is_good(pending) or pending.is_unsure):
            refused(new, "second-factor-invalid")
            return
        factor, code = app_of(new)
        body = {"pending": pending.text, "id": factor.factor_id, "code": code}
        answer = self.post(dice.gateway, "/auth/factors/totp/confirm", body)
        if self.has_factor:
            refused(answer, "second-factor-invalid")
            return
        pending.is_used = True
        self.factors.append(factor)
        self.opened(answer, AMR_OF["totp"])

    def make_recovery_codes(self, dice: Dice) -> None:
        session = self.one_of(self.sessions, dice.which)
        answer = self.post(dice.gateway, "/auth/factors/recovery", {}, session)
        if not self.may_change(session):
            refused(answer, *self.slug_for(session))
        elif not self.has_factor:
            refused(answer, "malformed-request")
        else:
            self.take_away(self.of_kind("recovery"))
            self.factors += [Factor("recovery", code=code) for code in answer.json()["codes"]]

    def remove_a_factor(self, dice: Dice) -> None:
        session = self.one_of(self.sessions, dice.which)
        factor = self.one_of([one for one in self.factors if one.factor_id], dice.pick)
        path = f"/auth/factors/{factor.factor_id}"
        answer = self.world.clients[dice.gateway].delete(path, headers=session.bearer)
        if not self.may_change(session):
            refused(answer, *self.slug_for(session))
            return
        assert answer.status_code == 204, answer.text
        self.take_away([factor])
        if not self.has_factor:
            self.take_away(self.of_kind("recovery"))

    def reset_the_factors(self, dice: Dice) -> None:
        in_gateway(self.world.gateways[0].env, lambda parts: parts.reset_factors(self.user.user_id))
        self.take_away(list(self.factors))
        self.end(self.sessions)

    # ---- passwords and sessions

    def change_the_password(self, dice: Dice) -> None:
        session, new = self.one_of(self.sessions, dice.which), f"a new sentence {secrets.token_hex(8)}"
        body = {"current_password": self.password, "new_password": new}
        answer = self.post(dice.gateway, "/auth/change-password", body, session)
        if not session.is_alive:
            refused(answer, "access-token-invalid")
            return
        assert answer.status_code == 204, answer.text
        self.password, self.password_version = new, self.password_version + 1
        self.end([one for one in self.sessions if one is not session])

    def reset_the_password(self, dice: Dice) -> None:

        async def link(parts: Gateway) -> str:
            user = await parts.users.get(self.user.user_id)
            assert user is not None
            return await parts.invitations.make(user)

        self.password, self.password_version = f"a new sentence {secrets.token_hex(8)}", self.password_version + 1
        form = {"code": in_gateway(self.world.gateways[0].env, link), "password": self.password}
        answer = self.world.clients[dice.gateway].post("/auth/welcome", data=form, headers={"Accept": "text/html"})
        assert answer.status_code < 500, answer.text
        is_signed_in = any("gateway_session=" in line for line in answer.headers.get_list("Set-Cookie"))
        assert is_signed_in == (dice.gateway == 0 and not self.has_factor)
        self.end(self.sessions)

    def look_at_a_session(self, dice: Dice) -> None:
        self.look(dice.gateway, self.one_of(self.sessions, dice.which))

    def teardown(self) -> None:
        """Every session is as the model says."""
        for session in getattr(self, "sessions", []):
            self.look(1, session)

    def look(self, gateway: int, session: Held) -> None:
        status = 200 if session.is_alive else 401
        wait_until(
            lambda: self.world.clients[gateway].get("/auth/me", headers=session.bearer).status_code == status,
            GONE_SECONDS,
            f"a session to be {status}",
        )

    # ---- what several of these do

    def one_of(self, things: list[Any], pick: int) -> Any:
        """Give one, more often a late one: those from before are over, mostly."""
        return things[-1 - min(pick % len(things), pick // 7 % len(things))]

    def opened(self, answer: httpx2.Response, amr: list[str], delivery_of: Pending | None = None) -> None:
        """Note a session that somebody was given, which was made as it should be."""
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        assert jwt.decode(token, options={"verify_signature": False})["amr"] == amr
        if len(self.sessions) < MOST_SESSIONS:
            self.sessions.append(Held(token, "mfa" in amr))

    def slug_for(self, session: Held) -> tuple[str, ...]:
        return ("authentication-too-weak",) if session.is_alive else ("access-token-invalid",)

    def take_away(self, factors: list[Factor]) -> None:
        self.factors = [factor for factor in self.factors if factor not in factors]
        self.removed += factors

    def end(self, sessions: list[Held]) -> None:
        """Note that sessions have ended, once both gateways know it."""
        for session in sessions:
            if session.is_alive:
                session.is_alive = False
                for gateway in (0, 1):
                    self.look(gateway, session)


def is_served(client: httpx2.Client) -> bool:
    """Tell whether a gateway reaches Redis; what /readyz says may be a second old."""
    return client.post("/auth/login/passkey").status_code == 200


def refused(answer: httpx2.Response, slug: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json() if answer.status_code >= 400 else {}
    assert problem.get("type") == PROBLEM + slug, f"{answer.status_code} {answer.text}, not {slug}"
    return problem


def body_of(pending: Pending, shown: Shown) -> dict[str, Any]:
    return {"pending": pending.text, "delivery": "body", **shown.body}


def moment_for_a_code() -> int:
    """Give the time step of now, which is not about to end."""
    while (now := time.time()) % STEP_SECONDS > STEP_SECONDS - SECONDS_FOR_A_CODE:  # noqa: TID251 - as the gateways'
        time.sleep(0.1)
    return step_at(int(now))


def app_of(new: httpx2.Response) -> tuple[Factor, str]:
    """Give the app of an answer, and the earliest code by which it can be confirmed."""
    secret, step = App.of(new).secret, moment_for_a_code() - 1
    return Factor("totp", new.json()["id"], secret=secret, last_step=step), hotp(secret, step)


@pytest.fixture
def world(own_redis: Callable[..., RedisServer], tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    # With `everysec` a kill may lose what was answered in the last moments.
    world = World(own_redis("--appendfsync", "always"), tmp_path, Counter())
    yield world
    world.close()
    with capsys.disabled():
        print("\nfactors: " + ", ".join(f"{name} {count}" for name, count in world.tally.items()))


def test_every_life_of_an_account_goes_as_the_model_says(world: World, pytestconfig: pytest.Config) -> None:
    is_soak = pytestconfig.getoption("--soak", default=False)
    seed, steps = (secrets.randbelow(2**32), SOAK_STEPS) if is_soak else (SEED, USUAL_STEPS)
    Life.world = world
    for batch in itertools.count():
        if world.tally["steps"] >= steps:
            break
        run_state_machine_as_test(
            hypothesis.seed(seed + batch)(Life),
            settings=hypothesis.settings(
                max_examples=LIVES_PER_SEED if is_soak else 5,
                stateful_step_count=STEPS_PER_LIFE,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
