"""
How long a refused login takes does not tell who exists, nor who has a second factor.

The time on the clock needs a machine that does nothing else; the processor's time hardly does. So `make test` judges
the second, and `make timing` both.
"""

import base64
import os
import random
import secrets
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from gateway.accounts import NewCredential
from gateway.accounts.factors.totp import hotp, step_at
from gateway.accounts.passwords import Passwords
from gateway.derived_keys import KeyChain
from gateway.state import Gateway
from tests.authenticators import read
from tests.harness import PASSWORD, SECRET, GatewayProcess, TestUser, in_gateway
from tests.web.second_steps import passkey_of

IS_FULL = os.environ.get("TIMING") == "full"  # noqa: TID251 - the tests' own
COST, SAMPLES, MOST_WORK_APART = (10, 300, 0.02) if IS_FULL else (8, 30, 0.10)
MOST_TIME_APART = 0.02
PREVIOUS_SECRET = "an earlier secret for tests of 32 bytes and more"
WARM_UP = 5
CHANGING_HEADERS = {"date", "x-request-id"}


def auc(left: list[float], right: list[float]) -> float:
    """Give the chance that one of *left* took longer than one of *right*; 0.5 tells nothing."""
    wins = sum((a > b) + (a == b) / 2 for a in left for b in right)
    return wins / (len(left) * len(right))


def work_seconds(pid: int) -> float:
    """Give the processor time that all threads of a process have had."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def apart(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Give how far the median of each kind is from that of a wrong password, as a part of it."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {name: abs(median - medians["wrong"]) / medians["wrong"] for name, median in medians.items()}


def table(what: str, seconds: dict[str, list[float]]) -> str:
    distances = apart(seconds)
    return f"{what}: wrong {statistics.median(seconds['wrong']) * 1000:.2f} ms; " + "; ".join(
        f"{name} {statistics.median(values) * 1000:.2f} ms, {distances[name]:.2%} apart, "
        f"AUC {auc(values, seconds['wrong']):.3f}"
        for name, values in seconds.items()
        if name != "wrong"
    )


def store_hash(gateway: GatewayProcess, user: TestUser, make: Passwords) -> None:
    async def work(opened: Gateway) -> None:
        stored = await opened.users.get(user.user_id)
        assert stored
        await opened.users.renew_hash(user.user_id, await make.hash(PASSWORD), stored.password_version)

    in_gateway(gateway.env, work)
    make.close()


def set_up_factors(gateway: GatewayProcess, user: TestUser) -> None:
    """Give a user an app, a passkey and recovery codes."""

    async def work(opened: Gateway) -> None:
        stored = await opened.users.get(user.user_id)
        assert stored
        new = await opened.factors.begin_totp(stored)
        code = hotp(base64.b32decode(new.secret), step_at(opened.clock()))
        await opened.factors.confirm_totp(user.user_id, new.factor_id, code)
        device = passkey_of(gateway)
        credential = device.create(await opened.factors.begin_passkey(stored))
        await opened.factors.add_passkey(user.user_id, read(credential, NewCredential))
        await opened.factors.make_recovery_codes(user.user_id)

    in_gateway(gateway.env, work)


@pytest.mark.timeout(900)
def test_an_unknown_user_takes_as_long_as_a_wrong_password(make_gateway: Callable[..., GatewayProcess]) -> None:
    """
    T26, T25: unknown, wrong, disabled, invited, too long, older cost or pepper, with second factors: one answer, one
    duration.
    """
    gateway = make_gateway(bcrypt_cost=COST, previous_secrets=PREVIOUS_SECRET)
    wrong, disabled, older, earlier, invited, guarded, shut = (gateway.add_user() for _ in range(7))
    for user in (guarded, shut):
        set_up_factors(gateway, user)
    in_gateway(gateway.env, lambda opened: opened.users.set_active(shut.user_id, False))
    in_gateway(gateway.env, lambda opened: opened.users.set_active(disabled.user_id, False))
    in_gateway(gateway.env, lambda opened: opened.users.renew_hash(invited.user_id, "", 1))
    store_hash(gateway, older, Passwords(KeyChain.of(SECRET), COST - 2, 1, time.monotonic))
    store_hash(gateway, earlier, Passwords(KeyChain.of(PREVIOUS_SECRET), COST, 1, time.monotonic))

    attempts: dict[str, Callable[[], tuple[str, str]]] = {
        "unknown": lambda: (f"user-{secrets.token_hex(6)}@example.com", PASSWORD),
        "wrong": lambda: (wrong.email, "not " + PASSWORD[4:]),
        "disabled": lambda: (disabled.email, PASSWORD),
        "invited": lambda: (invited.email, PASSWORD),
        "too long": lambda: (wrong.email, PASSWORD.ljust(1025, "!")),
        "older cost": lambda: (older.email, "not " + PASSWORD[4:]),
        "with factors": lambda: (guarded.email, "not " + PASSWORD[4:]),
        "disabled, with factors": lambda: (shut.email, PASSWORD),
        "previous secret": lambda: (earlier.email, "not " + PASSWORD[4:]),
    }
    taken: dict[str, list[float]] = {name: [] for name in attempts}
    worked: dict[str, list[float]] = {name: [] for name in attempts}
    answers: set[tuple[int, bytes, tuple[tuple[str, str], ...]]] = set()
    assert gateway.process is not None
    pid = gateway.process.pid
    with gateway.client() as client:
        for number in range(SAMPLES + WARM_UP):
            for name in random.sample(sorted(attempts), len(attempts)):
                email, password = attempts[name]()
                work_before, begun = work_seconds(pid), time.perf_counter()
                answer = client.post("/auth/login", json={"username": email, "password": password})
                if number >= WARM_UP:
                    taken[name].append(time.perf_counter() - begun)
                    worked[name].append(work_seconds(pid) - work_before)
                answers.add((answer.status_code, answer.content, kept_headers(answer)))
    print(f"{SAMPLES} refused logins of each kind, cost {COST}")
    print(table("on the clock", taken), table("on the processor", worked), sep="\n")
    assert {status for status, _, _ in answers} == {401}
    assert len(answers) == 1, answers
    assert max(apart(worked).values()) <= MOST_WORK_APART, apart(worked)
    if IS_FULL:
        assert max(apart(taken).values()) <= MOST_TIME_APART, apart(taken)


def kept_headers(answer: httpx2.Response) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in answer.headers.multi_items() if name not in CHANGING_HEADERS)
