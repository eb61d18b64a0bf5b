"""What a gateway and its Redis keep, and how soon they are back, whatever is killed."""

import contextlib
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cli.commands import here
from tests.cli.processes import kill, private_redis
from tests.harness import PASSWORD, GatewayProcess, RedisServer, TestUser, wait_until

ROUNDS = 15
LONGEST_ROUND_SECONDS = 0.8
REDIS_BACK_WITHIN_SECONDS = 10.0
WORKS_AGAIN_WITHIN_SECONDS = 1.0
TOLD_WITHIN_SECONDS = 1.9
WATCHED_SECONDS = 2.0
STORE_UNAVAILABLE = "urn:token-gateway:problem:store-unavailable"


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that is not there yet; no server of it outlives the test."""
    data_dir = tmp_path / "data"
    yield data_dir
    try:
        wait_until(lambda: not private_redis(data_dir), what="the private Redis to end")
    finally:
        for pid in private_redis(data_dir):
            kill(pid)


@pytest.fixture
def private_gateway(data_dir: Path, make_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """A gateway with the private Redis of `data_dir`."""
    return make_gateway(
        redis_url=None, secret=None, redis_key_prefix=None, data_dir=data_dir, max_sessions_per_user=1000
    )


@dataclass
class Journal:
    """What a client was answered: the newest refresh token of each session, and the users who were added."""

    tokens: list[str] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    refreshes: int = 0
    unanswered: int = 0
    refused: list[str] = field(default_factory=list)

    def ask(self, client: httpx2.Client, path: str, body: dict[str, str]) -> dict[str, Any] | None:
        """Give the body of a 200. Outages are counted, and any refusal is remembered."""
        with contextlib.suppress(httpx2.TransportError):
            answer = client.post(path, json=body)
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            if answer.status_code != 503:
                self.refused.append(f"{path} {answer.status_code} {answer.text}")
        self.unanswered += 1
        time.sleep(0.01)
        return None

    def login(self, client: httpx2.Client, user: TestUser) -> None:
        """Log in, and remember the session if that was answered."""
        body = {"username": user.email, "password": user.password, "delivery": "body"}
        if answer := self.ask(client, "/auth/login", body):
            self.tokens.append(answer["refresh_token"])

    def refresh(self, client: httpx2.Client, number: int) -> None:
        """Refresh a session, and remember its next token if that was answered."""
        if answer := self.ask(client, "/auth/refresh", {"refresh_token": self.tokens[number]}):
            self.tokens[number] = answer["refresh_token"]
            self.refreshes += 1

    def add_user(self, env: dict[str, str]) -> None:
        """Run `gateway users add`, and remember the user if that has ended well."""
        email = f"{secrets.token_hex(8)}@example.com"
        command = [sys.executable, "-m", "gateway", "users", "add", email, "--password-stdin"]
        ended = subprocess.run(command, env=env, input=PASSWORD, capture_output=True, text=True, timeout=30)
        if ended.returncode == 0:
            self.users.add(email)
        elif ended.returncode not in (1, 3) or ended.stderr.count("\n") != 1:
            self.refused.append(f"users add {ended.returncode} {ended.stderr}")


def until(ended: threading.Event, work: Callable[[], None]) -> threading.Thread:
    """Do something again and again on a thread."""

    def run() -> None:
        while not ended.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_nothing_that_was_answered_is_lost_when_gateway_and_redis_are_killed_at_any_moment(
    private_gateway: GatewayProcess, data_dir: Path
) -> None:
    """Neither a login, nor a refresh, nor a user; and nobody is told that his session is over."""
    gateway, journal, ended = private_gateway, Journal(), threading.Event()
    here("users", "add", "ann@example.com", "--password-stdin", env=gateway.env, stdin=PASSWORD)
    user, chance = TestUser("", "ann@example.com"), random.Random()
    kills = {"the gateway": 0, "Redis": 0}
    with gateway.client() as client:
        journal.login(client, user)

        def use_sessions() -> None:
            if chance.random() < 0.5:
                journal.login(client, user)
            else:
                journal.refresh(client, chance.randrange(len(journal.tokens)))

        threads = [until(ended, use_sessions), until(ended, lambda: journal.add_user(gateway.env))]
        try:
            for round_number in range(ROUNDS):
                time.sleep(chance.uniform(0.05, LONGEST_ROUND_SECONDS))
                both = ("Redis", "the gateway")
                victims = (("Redis",), ("the gateway",), both, both[::-1])[round_number % 4]
                for victim in victims:
                    kills[victim] += 1
                    if victim == "the gateway":
                        gateway.kill()
                    else:
                        for pid in private_redis(data_dir):
                            kill(pid)
                if "the gateway" in victims:
                    gateway.start()
        finally:
            ended.set()
            for thread in threads:
                thread.join()

        gateway.wait_until_ready()
        answered = len(journal.tokens)
        for number in range(answered):
            journal.refresh(client, number)
        refreshes = journal.refreshes
    listed = {row["email"] for row in here("users", "list", "--json", env=gateway.env).document["users"]}
    lost = journal.users - listed
    print(
        f"{ROUNDS} rounds, kills: {kills}; answered: {answered} logins, {refreshes} refreshes, {len(journal.users)} "
        f"users added; unanswered: {journal.unanswered}; lost: {len(journal.refused)} sessions, {len(lost)} users"
    )
    assert not journal.refused
    assert not lost
    assert answered > ROUNDS
    assert journal.users


@dataclass
class Watch:
    """Logs in and refreshes without a pause, and remembers when which answer came."""

    gateway: GatewayProcess
    user: TestUser
    answers: list[tuple[float, str, int]] = field(default_factory=list)

    def run(self, ended: threading.Event, refresh_token: str) -> None:
        """Ask until *ended*; each thread has a session of its own."""
        with self.gateway.client() as client:
            while not ended.is_set():
                login = {"username": self.user.email, "password": self.user.password}
                self._ask(client, "/auth/login", login)
                client.cookies.clear()
                if answer := self._ask(client, "/auth/refresh", {"refresh_token": refresh_token}):
                    refresh_token = answer["refresh_token"]

    def _ask(self, client: httpx2.Client, path: str, body: dict[str, str]) -> dict[str, Any] | None:
        answer = client.post(path, json=body)
        self.answers.append((time.monotonic(), path, answer.status_code))
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 else None

    def assert_recovered(self, returned_at: float) -> None:
        """See that everything is answered within a second of Redis's return, with not one failure after that."""
        assert {status for _, _, status in self.answers} <= {200, 503}
        for path in ("/auth/login", "/auth/refresh"):
            times = [(at - returned_at, status) for at, asked, status in self.answers if asked == path]
            first = min(at for at, status in times if at > 0 and status == 200)
            failed = [at for at, status in times if status == 503]
            last_failure = max(failed, default=0.0)
            print(
                f"{path}: first success {first * 1000:.0f} ms after the return of Redis, last failure "
                f"{last_failure * 1000:.0f} ms after it; {len(failed)} of {len(times)} failed"
            )
            assert first < WORKS_AGAIN_WITHIN_SECONDS
            assert last_failure < WORKS_AGAIN_WITHIN_SECONDS


@contextlib.contextmanager
def watched(gateway: GatewayProcess, user: TestUser, refresh_tokens: list[str]) -> Iterator[Watch]:
    """Use the gateway on two threads while the block runs, and for a while after it."""
    watch, ended = Watch(gateway, user), threading.Event()
    with ThreadPoolExecutor(len(refresh_tokens)) as threads:
        running = [threads.submit(watch.run, ended, token) for token in refresh_tokens]
        try:
            yield watch
            time.sleep(WATCHED_SECONDS)
        finally:
            ended.set()
        for thread in running:
            thread.result()


def refresh_tokens_of(gateway: GatewayProcess, user: TestUser, count: int) -> list[str]:
    with gateway.client() as client:
        return [gateway.login(user, client, delivery="body")["refresh_token"] for _ in range(count)]


def test_a_killed_private_redis_is_back_soon_and_then_everything_works(
    private_gateway: GatewayProcess, data_dir: Path
) -> None:
    gateway = private_gateway
    here("users", "add", "ann@example.com", "--password-stdin", env=gateway.env, stdin=PASSWORD)
    user = TestUser("", "ann@example.com")
    for _ in range(2):
        [pid] = private_redis(data_dir)
        with watched(gateway, user, refresh_tokens_of(gateway, user, 2)) as watch:
            time.sleep(0.2)
            kill(pid)
            begun = time.monotonic()
            wait_until(lambda: serves(data_dir / "redis.sock"), REDIS_BACK_WITHIN_SECONDS, "Redis to be back")
            returned_at = time.monotonic()
        assert private_redis(data_dir) != [pid]
        print(f"the private Redis was back after {(returned_at - begun) * 1000:.0f} ms")
        watch.assert_recovered(returned_at)


def serves(socket_path: Path) -> bool:
    """Tell whether the Redis behind a socket answers."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64) == b"+PONG\r\n"
    return False


Deed = Callable[[RedisServer], object]
TROUBLES: dict[str, tuple[Deed, Deed]] = {
    "killed": (lambda server: server.kill(), lambda server: server.start()),
    "stopped": (lambda server: server.signal(signal.SIGSTOP), lambda server: server.signal(signal.SIGCONT)),
}


@pytest.mark.parametrize(("trouble", "mend"), TROUBLES.values(), ids=TROUBLES)
def test_while_redis_is_away_tokens_are_verified_and_everything_else_waits_for_it(
    own_redis: Callable[..., RedisServer],
    make_gateway: Callable[..., GatewayProcess],
    trouble: Deed,
    mend: Deed,
) -> None:
    """
    An outage is no denial: 503 with Retry-After and in good time, never 401, and nobody is logged out by it.

    Shows ASVS 16.5.2.
    """
    server = own_redis("--appendfsync", "always")
    gateway = make_gateway(redis_url=server.url)
    user = gateway.add_user()
    with gateway.client() as client:
        tokens = gateway.login(user, client, delivery="body")
        spare = refresh_tokens_of(gateway, user, 1)
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        trouble(server)

        needs_redis: list[tuple[str, str, Any]] = [
            ("POST", "/auth/login", {"username": user.email, "password": user.password}),
            ("POST", "/auth/login", {"username": user.email, "password": "a wrong password"}),
            ("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]}),
            ("POST", "/auth/logout", {"refresh_token": spare[0]}),
            ("POST", "/auth/logout-all", None),
            ("GET", "/auth/me", None),
            ("GET", "/auth/sessions", None),
            ("DELETE", f"/auth/sessions/{'A' * 22}", None),
            ("POST", "/auth/change-password", {"current_password": PASSWORD, "new_password": "quite another one"}),
        ]

        def ask(request: tuple[str, str, Any]) -> tuple[str, float, httpx2.Response]:
            begun = time.monotonic()
            answer = client.request(request[0], request[1], json=request[2])
            return " ".join(request[:2]), time.monotonic() - begun, answer

        with ThreadPoolExecutor(len(needs_redis)) as threads:
            together = list(threads.map(ask, needs_redis))
        for asked, seconds, answer in [*together, *map(ask, needs_redis[:4])]:
            assert (answer.status_code, answer.json()["type"]) == (503, STORE_UNAVAILABLE), asked
            assert int(answer.headers["Retry-After"]) >= 1
            assert "Set-Cookie" not in answer.headers
            assert seconds < TOLD_WITHIN_SECONDS, asked
        print(f"503 after at most {max(seconds for _, seconds, _ in together):.2f} s")

        verdicts: list[int] = []
        slowest_seconds = 0.0
        for path in ("/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/a") * 50:
            begun = time.monotonic()
            verdicts.append(client.get(path).status_code)
            slowest_seconds = max(slowest_seconds, time.monotonic() - begun)
        print(f"{len(verdicts)} subrequests meanwhile, the slowest after {slowest_seconds * 1000:.1f} ms")
        assert set(verdicts) == {200}
        forged = {"Authorization": f"Bearer {tokens['access_token'][:-4]}AAAA"}
        assert client.get("/api/authz/auth-request", headers=forged).status_code == 401
        for path in ("/.well-known/jwks.json", "/.well-known/openid-configuration", "/livez"):
            assert client.get(path).status_code == 200

        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "redis" in ready.json()["failing"]
        wait_until(lambda: "revocations" in client.get("/readyz").json()["failing"], 5, "the stream to be missed")
        assert client.get("/api/authz/auth-request").status_code == 200

        with watched(gateway, user, [tokens["refresh_token"], spare[0]]) as watch:
            time.sleep(0.3)
            mend(server)
            returned_at = time.monotonic()
        watch.assert_recovered(returned_at)
        assert gateway.is_ready()
        assert client.get("/auth/me").status_code == 200
