"""A scene: two gateways on one Redis, and many clients who use them all the time."""

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.sessions.families import new_family_id
from gateway.state import Gateway
from tests.conftest import quick_environment
from tests.faults.checker import Checker, Strike
from tests.faults.entries import BROWSED_HOST, Entry, Known, Order, Plan, Reader
from tests.faults.resources import Resources
from tests.harness import PASSWORD, GatewayProcess, TestUser, in_gateway

ROOT = Path(__file__).parents[2]
SESSIONS_PER_USER = 40
LOGIN_USERS = 50


@dataclass(frozen=True)
class Size:
    """How much of everything: the long run's, or that of `make test`."""

    users: int
    seconds_between_refreshes: float
    authz_per_second: float
    logins_per_second: float
    logouts_per_second: float
    calm_seconds: float  # until those who were let go at one moment have spread
    idle_seconds: float
    settle_seconds: float
    rest_seconds: float
    slack_seconds: float
    is_long: bool

    def of(self, short: int, long: int) -> int:
        """Choose the number for this size."""
        return long if self.is_long else short


# Two other test processes have the cores too, so that the limits are those of the long run, and two seconds.
SHORT = Size(20, 0.4, 60, 10, 6, 0.0, 0.35, 0.65, 0.1, 2.0, False)
LONG = Size(200, 1.5, 100, 15, 2, 2.0, 20.0, 3.0, 6.0, 0.0, True)


class Scene:
    """
    Two gateways, their clients, and what the clients have written down.

    Attributes:
        gateways: Both; kill and start them by the methods here, so that it is known when they were away.
    """

    def __init__(self, directory: Path, redis_url: str, size: Size, **settings: Any) -> None:
        self.directory = directory
        self.size = size
        directory.mkdir(parents=True, exist_ok=True)
        prefix = f"t{secrets.token_hex(4)}:"
        browsers = {"trusted_proxies": "127.0.0.1", "return_hosts": BROWSED_HOST, "session_check_seconds": 1}
        self.settings = {"redis_key_prefix": prefix, "max_sessions_per_user": 1000} | browsers | settings
        self.redis_url = redis_url
        self.gateways: list[GatewayProcess] = []
        for number in range(2):
            issuer = {"issuer": self.gateways[0].url} if self.gateways else {}
            self.gateways.append(self._gateway(f"gateway-{number}", **issuer))
        self.checker = Checker({}, {})
        self.journal = directory / "journal"
        self.reader = Reader(self.journal)
        self.users: list[Known] = []
        self._clients: subprocess.Popen[str] | None = None
        self._base: list[Resources] = []
        self._newcomers = 0

    @property
    def prefix(self) -> str:
        """The key prefix of both."""
        return str(self.settings["redis_key_prefix"])

    def _gateway(self, name: str, **settings: Any) -> GatewayProcess:
        env = quick_environment(self.redis_url, **{**self.settings, **settings})
        return GatewayProcess(env, self.directory / f"{name}.log")

    def start(self) -> "Scene":
        """Start both gateways, open a session for every user, and let the clients begin."""
        for gateway in self.gateways:
            gateway.start(wait=False)
        for gateway in self.gateways:
            gateway.wait_until_ready()
        self.users = self.open_sessions(self.size.users, per_user=1)
        plan = Plan(
            ports=[gateway.port for gateway in self.gateways],
            users=self.users,
            logins=self._add_login_users(),
            password=PASSWORD,
            seconds_between_refreshes=self.size.seconds_between_refreshes,
            authz_per_second=self.size.authz_per_second,
            logins_per_second=self.size.logins_per_second,
            logouts_per_second=self.size.logouts_per_second,
            journal=str(self.journal),
        )
        path = self.directory / "plan"
        path.write_bytes(msgspec.json.encode(plan))
        self._clients = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.load", str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._hear("running")
        time.sleep(self.size.idle_seconds)
        self._base = [Resources.of(gateway) for gateway in self.gateways]
        self.order(Order("pause"))
        return self

    def stop(self) -> None:
        """End the clients and the gateways."""
        if self._clients is not None and self._clients.poll() is None:
            with contextlib.suppress(OSError):
                self._clients.communicate(msgspec.json.encode(Order("end")).decode() + "\n", timeout=20)
        for gateway in self.gateways:
            if gateway.process is not None:
                gateway.stop()

    def order(self, order: Order) -> None:
        """Tell the clients something, and wait until they have done it."""
        assert self._clients is not None
        assert self._clients.stdin is not None
        self._clients.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._clients.stdin.flush()
        self._hear(order.what)

    def _hear(self, expected: str) -> None:
        assert self._clients is not None
        assert self._clients.stdout is not None
        assert self._clients.stdout.readline().strip() == expected, "the clients have ended"

    def open_sessions(self, count: int, per_user: int = SESSIONS_PER_USER) -> list[Known]:
        """Give sessions of users of their own, without a password."""

        async def work(parts: Gateway) -> list[Known]:
            opened: list[Known] = []
            for start in range(0, count, per_user):
                email = f"{secrets.token_hex(6)}@example.com"
                user = await parts.users.add(email, f"User {start}", ("staff",), "no password")
                for _ in range(min(per_user, count - start)):
                    family = await parts.families.open(user.user_id, 1, new_family_id(), "192.0.2.1", "Test")
                    cookie = parts.families.cookie_of(user.user_id, family)
                    opened.append(Known(user.user_id, email, family.family_id, family.refresh_token, cookie=cookie))
            return opened

        sessions = in_gateway(self.gateways[0].env, work)
        self.checker.owners |= {s.session_id: f"{s.user_id} {s.session_id} {s.email}" for s in sessions}
        return sessions

    def access_token(self) -> str:
        """Log one of the users in and give an access token."""
        user = TestUser("", next(iter(self.checker.subjects)))
        with self.gateways[0].client() as client:
            return str(self.gateways[0].login(user, client)["access_token"])

    def restock(self, count: int) -> None:
        """Give the clients more sessions to log out of."""
        self.order(Order("stock", sessions=self.open_sessions(count)))

    def _add_login_users(self) -> list[str]:
        async def work(parts: Gateway) -> dict[str, str]:
            password_hash, subjects = await parts.passwords.hash(PASSWORD), {}
            for _ in range(LOGIN_USERS):
                email = f"{secrets.token_hex(6)}@example.com"
                subjects[email] = (await parts.users.add(email, "Name", (), password_hash)).user_id
            return subjects

        self.checker.subjects |= in_gateway(self.gateways[0].env, work)
        return list(self.checker.subjects)

    # ------------------------------------------------------------------------------------------------ gateways

    @contextlib.contextmanager
    def away(self, gateway: GatewayProcess) -> Iterator[None]:
        """Note that a gateway is away while the block runs."""
        since = time.monotonic()
        self.checker.downs.append((gateway.port, since, float("inf")))
        place = len(self.checker.downs) - 1
        yield
        self.checker.downs[place] = (gateway.port, since, time.monotonic())

    @contextlib.contextmanager
    def newcomer(self) -> Iterator[GatewayProcess]:
        """Give one more gateway, which knows nothing but what is in Redis."""
        self._newcomers += 1
        gateway = self._gateway(f"newcomer-{self._newcomers}", issuer=self.gateways[0].url).start()
        try:
            yield gateway
        finally:
            gateway.stop()

    def leaks(self, told: list[str]) -> list[str]:
        """Give what the gateways hold more of than at the beginning, when the clients rest; and tell it all."""
        self.order(Order("pause"))
        time.sleep(self.size.rest_seconds)
        wrong = []
        for gateway, base in zip(self.gateways, self._base, strict=True):
            now = Resources.of(gateway)
            told.append(f"{base} → {now}")
            wrong += [f"{gateway.url}: {excess}" for excess in now.excess_over(base)]
            wrong += [f"{gateway.url} logged {line}" for line in gateway.log_lines() if "traceback" in line]
        return wrong


@dataclass
class Fault:
    """
    One row of the fault matrix while it is driven.

    Attributes:
        injected: How often the fault was there, when that is not the number of strikes.
        notes: What else is worth a line in the table.
        rule: Tells what else is wrong with an entry, if anything is.
    """

    scene: Scene
    strikes: list[Strike] = field(default_factory=list)
    injected: int | None = None
    notes: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    rule: Callable[[Entry], str] = lambda entry: ""

    @contextlib.contextmanager
    def strike(self, settle_seconds: float | None = None) -> Iterator[Strike]:
        """Let the block be the fault: at its end it is mended. Then wait until all has settled."""
        strike = Strike(time.monotonic())
        self.strikes.append(strike)
        yield strike
        strike.mended = strike.mended or time.monotonic()
        time.sleep(self.scene.size.settle_seconds if settle_seconds is None else settle_seconds)

    def expect(self, holds: bool, violation: str) -> None:
        """Note a violation when something does not hold."""
        if not holds:
            self.violations.append(violation)

    @property
    def is_struck(self) -> Callable[[Entry], bool]:
        """Give a function that tells whether a request began and ended within a strike."""
        return lambda entry: any(s.begun < entry.begun and entry.ended < s.mended for s in self.strikes)
