"""
Verifiers that ask nobody about a token, and two gateways whose Redis is killed, rolled back and failed over meanwhile.

None of them takes the token of an ended session 16 seconds after the logout was answered, none refuses one of a living
session, and no two sessions have one index, whatever Redis has lost. `make faults` runs it with 10,000 sessions.
"""

import asyncio
import contextlib
import http.client
import json
import random
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest

from gateway.app import open_gateway
from gateway.errors import GatewayError
from gateway.state import Gateway
from gateway.verifier import AccessTokenVerifier, Document, TokenRevoked, http_get
from tests.conftest import quick_environment
from tests.faults.pairs import Pair
from tests.faults.scenes import SESSIONS_PER_USER, Size
from tests.harness import GatewayProcess, settings_of, wait_until

ISSUER = "http://gateway.test"
PROMISED_SECONDS = 16.0
ENDERS = 8
OPENED_IN_ONE_LIFE = 10


@dataclass
class Session:
    """One session, and what became of it; monotonic seconds."""

    access_token: str
    refresh_token: str
    begun_at: float | None = None
    ended_at: float | None = None
    last_taken_at: list[float] = field(default_factory=lambda: [0.0, 0.0])

    @property
    def index(self) -> tuple[str, int]:
        """List and position."""
        claims = jwt.decode(self.access_token, options={"verify_signature": False})
        status = claims["status"]["status_list"]
        return status["uri"], status["idx"]


class Openers:
    """Two gateways in this process, which do nothing but open sessions, before the faults and during them."""

    def __init__(self, env: dict[str, str], sessions: list[Session]) -> None:
        self._env = env
        self._sessions = sessions
        self._is_over = threading.Event()
        self.refused = 0

    def open(self, count: int) -> None:
        """Open so many."""
        asyncio.run(self._with_both(count))

    def open_until_over(self) -> None:
        """Open some again and again, each time by gateways that have just been started and have no index left."""
        while not self._is_over.wait(0.1):
            try:
                asyncio.run(self._with_both(2 * OPENED_IN_ONE_LIFE))
            except GatewayError:
                self.refused += 1

    def end(self) -> None:
        """Let `open_until_over` return."""
        self._is_over.set()

    async def _with_both(self, count: int) -> None:
        settings = settings_of(self._env)
        async with open_gateway(settings) as first, open_gateway(settings) as second:
            for parts in (first, second):
                await parts.keyring.open()
            await asyncio.gather(self._open(first, count // 2), self._open(second, count // 2))

    async def _open(self, parts: Gateway, count: int) -> None:
        for start in range(0, count, SESSIONS_PER_USER):
            email = f"{secrets.token_hex(6)}@example.com"
            user = await parts.users.add(email, "Ann", ("staff",), "no password")
            for _ in range(min(SESSIONS_PER_USER, count - start)):
                session_id = await parts.status_indexes.new_session_id()
                opened = await parts.families.open(user.user_id, 1, session_id, "192.0.2.1", "Test")
                token = await parts.access_tokens.mint(
                    subject=user.user_id,
                    family_id=opened.family_id,
                    auth_time=opened.auth_time,
                    roles=("staff",),
                    email=email,
                    name="Ann",
                    now=parts.clock(),
                    session_seconds_left=opened.max_age_seconds,
                )
                self._sessions.append(Session(token, opened.refresh_token))


class Judges:
    """Two offline verifiers, each of which looks at every token again and again; their lists are of either gateway."""

    def __init__(self, gateways: list[GatewayProcess], sessions: list[Session]) -> None:
        self._sessions = sessions
        self._is_over = threading.Event()
        self.wrong: list[str] = []
        self.verdicts = 0
        self.rounds = 0

        def fetch(url: str) -> Document:
            return http_get(url.replace(ISSUER, random.choice(gateways).url))

        self._verifiers = [
            AccessTokenVerifier(
                issuer=ISSUER,
                audience=ISSUER,
                fetch=fetch,
                max_remembered_tokens=100_000,
                revocations="status-list",
                on_stale="deny",
            )
            for _ in range(2)
        ]

    def judge(self) -> None:
        """Look at all of them until it is over."""
        while not self._is_over.is_set():
            for number, verifier in enumerate(self._verifiers):
                for session in self._sessions[:]:
                    self._judge(number, verifier, session)
            self.rounds += 1
            time.sleep(0.02)

    def _judge(self, number: int, verifier: AccessTokenVerifier, session: Session) -> None:
        at = time.monotonic()
        self.verdicts += 1
        try:
            verifier.verify(session.access_token)
            session.last_taken_at[number] = at
        except TokenRevoked:
            if session.begun_at is None:
                self.wrong.append(f"a living session was refused: {session.index}")
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Let `judge` return."""
        self._is_over.set()


def end(session: Session, gateways: list[GatewayProcess], at: float) -> None:
    """Log out at a moment, at either gateway, as often as it takes."""
    time.sleep(max(0.0, at - time.monotonic()))
    session.begun_at = time.monotonic()
    body = json.dumps({"refresh_token": session.refresh_token})
    while session.ended_at is None:
        connection = http.client.HTTPConnection("127.0.0.1", random.choice(gateways).port, timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", "/auth/logout", body, {"Content-Type": "application/json"})
            if connection.getresponse().status == 204:
                session.ended_at = time.monotonic()
                return
        time.sleep(0.1)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Give a master with one replica, behind an address that moves."""
    pair = Pair(tmp_path / "pair")
    yield pair
    pair.stop()


@pytest.fixture
def gateways(pair: Pair, tmp_path: Path) -> Iterator[list[GatewayProcess]]:
    """Give two gateways of one issuer."""
    settings = {
        "redis_key_prefix": "gw:",
        "issuer": ISSUER,
        "access_token_ttl_seconds": 3600,
        "max_sessions_per_user": 1000,
    }
    gateways = [
        GatewayProcess(quick_environment(pair.front.url, **settings), tmp_path / f"gateway-{number}.log")
        for number in range(2)
    ]
    for gateway in gateways:
        gateway.start()
    yield gateways
    for gateway in gateways:
        gateway.stop()


def kill(pair: Pair) -> None:
    pair.master.kill()
    time.sleep(random.uniform(0.1, 0.8))
    pair.master.start()


def fail_over(pair: Pair) -> None:
    pair.link.is_hole = True
    time.sleep(random.uniform(0.1, 0.5))
    pair.master.kill()
    time.sleep(random.uniform(0.1, 0.5))
    pair.promote()
    pair.renew()


def test_an_offline_verifier_refuses_the_ended_in_time_and_no_other_whatever_redis_loses(
    pair: Pair, gateways: list[GatewayProcess], size: Size
) -> None:
    sessions: list[Session] = []
    openers, judges = Openers(gateways[0].env, sessions), Judges(gateways, sessions)
    openers.open(size.of(400, 10_000))
    ending = random.sample(sessions, size.of(60, 1000))
    rounds, calm_seconds = size.of(1, 12), size.of(1, 6)
    with ThreadPoolExecutor(ENDERS + 2) as pool:
        try:
            others = [pool.submit(judges.judge), pool.submit(openers.open_until_over)]
            wait_until(lambda: judges.rounds > 0, 60, "the first look at all tokens")
            begun = time.monotonic()
            span_seconds = rounds * 3 * (calm_seconds + 1.0)
            moments = sorted(begun + random.uniform(0, span_seconds) for _ in ending)
            ends = [
                pool.submit(end, session, gateways, moment) for session, moment in zip(ending, moments, strict=True)
            ]
            for _ in range(rounds):
                copy = pair.copy()
                time.sleep(calm_seconds)
                kill(pair)
                time.sleep(calm_seconds)
                pair.roll_back(copy)
                time.sleep(calm_seconds)
                fail_over(pair)
            for ended in ends:
                ended.result(60)
            seen = judges.rounds

            def all_are_refused() -> bool:
                now = time.monotonic()
                return judges.rounds > seen + 1 and all(now - max(s.last_taken_at) > 1.5 for s in ending)

            wait_until(all_are_refused, PROMISED_SECONDS + 5, "the refusal of all ended sessions")
        finally:
            openers.end()
            judges.end()
    for other in others:
        other.result()
    late = sorted(
        max(0.0, taken_at - session.ended_at)
        for session in ending
        for taken_at in session.last_taken_at
        if session.ended_at is not None
    )
    indexes = [session.index for session in sessions]
    lists = {uri for uri, _ in indexes}
    print(
        f"\n{len(sessions)} sessions in {len(lists)} lists, {len(ending)} ended, {judges.verdicts} verdicts; "
        f"last taken after {late[len(late) // 2]:.1f} s (median), {late[-1]:.1f} s (longest)"
    )
    assert judges.wrong == []
    assert late[-1] <= PROMISED_SECONDS
    assert len(set(indexes)) == len(indexes)
    assert len(lists) > 1, "no list was begun anew"
