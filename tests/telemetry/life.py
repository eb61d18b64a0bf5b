"""Four minutes in the life of a gateway: honest users, and accidents at known times."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.harness import PASSWORD, GatewayProcess, RedisServer, TestUser
from tests.telemetry.monitoring import ROOT

RUN_SECONDS = 240
USERS = 12


def live(gateway: GatewayProcess, server: RedisServer, directory: Path) -> None:
    """Let honest users and others use the gateway, and take Redis away for a while."""
    users = [gateway.add_user(roles=("staff", "wiki")) for _ in range(USERS)]
    command = [
        *(sys.executable, str(ROOT / "benchmarks/load.py"), "--url", gateway.url, "--users", _file(users, directory)),
        *("--sessions", "24", "--duration", str(RUN_SECONDS), "--think", "0.25", "--refresh-every", "8"),
        *("--logout", "0.02", "--ramp", "5", "--json", "--subrequest-path", "/api/authz/auth-request?role=staff"),
    ]
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = time.monotonic()
    browsers: list[dict[str, str]] = []
    strangers = threading.Thread(target=be_refused, args=(gateway, users[0], begun), daemon=True)
    strangers.start()
    events: list[tuple[int, Callable[[], object]]] = [
        (60, lambda: guess(gateway, users[1], 25)),
        (90, lambda: steal(gateway, users[2])),
        (110, lambda: browsers.extend(open_browsers(gateway, users[3:]))),
        (130, server.kill),
        (134, lambda: look_at_pages(gateway, browsers)),
        (142, server.start),
        (185, lambda: log_in_all_at_once(gateway, users[3:], 60)),
    ]
    try:
        for seconds, happen in events:
            time.sleep(max(0, begun + seconds - time.monotonic()))
            threading.Thread(target=happen, daemon=True).start()
        strangers.join()
        load.wait(timeout=60)
    finally:
        load.kill()
        load.wait()


def be_refused(gateway: GatewayProcess, user: TestUser, begun: float) -> None:
    """Ask for subrequests that are denied, each for a reason of its own, and send wrong passwords now and then."""
    turn = 0
    with gateway.client() as client:
        token = log_in_patiently(gateway, user, client)["access_token"]
        ended = log_in_patiently(gateway, user, client)
        bearer = {"Authorization": f"Bearer {token}"}
        client.post("/auth/logout", json={"refresh_token": ended["refresh_token"]})
        forged = {"Authorization": f"Bearer {token[:-6]}AAAAAA"}
        revoked = {"Authorization": f"Bearer {ended['access_token']}"}
        while time.monotonic() - begun < RUN_SECONDS - 3:
            turn += 1
            path = "/api/authz/auth-request"
            asked: list[tuple[str, dict[str, str]]] = [(path, {})] * 3
            asked += [(path, forged)] if turn % 2 else [(f"{path}?role=admin", bearer)] * 2
            asked += [(path, revoked)] if turn % 3 else [("/api/authz/forward-auth", {}), ("/auth/me", bearer)]
            for where, headers in asked:
                client.get(where, headers=headers)
            if turn % 12 == 0:
                wrong = {"username": user.email, "password": f"wrong {turn}"} if turn % 24 else _unknown(turn)
                client.post("/auth/login", json=wrong, headers={"X-Forwarded-For": f"192.0.2.{turn % 200}"})
            time.sleep(0.2)


def guess(gateway: GatewayProcess, user: TestUser, times: int) -> None:
    """Try passwords of one account, and addresses that nobody has."""
    with gateway.client() as client:
        for number in range(times):
            client.post("/auth/login", json={"username": user.email, "password": f"guess {number}"})
            client.post("/auth/login", json=_unknown(number))


def steal(gateway: GatewayProcess, user: TestUser) -> None:
    """Refresh twice, and come back with the first token: a lost answer, then a thief."""
    with gateway.client() as client:
        for _ in range(3):
            token = first = log_in_patiently(gateway, user, client)["refresh_token"]
            for _ in range(3):
                client.post("/auth/refresh", json={"refresh_token": token})
                token = client.post("/auth/refresh", json={"refresh_token": token}).json()["refresh_token"]
            client.post("/auth/refresh", json={"refresh_token": first})


def open_browsers(gateway: GatewayProcess, users: list[TestUser]) -> list[dict[str, str]]:
    """Sign people in, and give the cookie of each, which no subrequest has brought yet."""
    cookies = []
    for user in users:
        with gateway.client() as client:
            log_in_patiently(gateway, user, client, delivery="session")
            cookies.append({"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())})
    return cookies


def look_at_pages(gateway: GatewayProcess, cookies: list[dict[str, str]]) -> None:
    """Ask for subrequests of sessions that a worker may not have seen, while it cannot ask Redis."""
    for _ in range(12):
        for cookie in cookies:
            httpx2.get(f"{gateway.url}/api/authz/auth-request", headers=cookie)
        time.sleep(0.3)


def log_in_patiently(
    gateway: GatewayProcess, user: TestUser, client: httpx2.Client, delivery: str = "body"
) -> dict[str, Any]:
    """Log in, again while hashing is full, and give the body of the answer."""
    body = {"username": user.email, "password": user.password, "delivery": delivery}
    while True:
        answer = client.post("/auth/login", json=body)
        if answer.status_code == 200:
            given: dict[str, Any] = answer.json()
            return given
        time.sleep(int(answer.headers["Retry-After"]))


def log_in_all_at_once(gateway: GatewayProcess, users: list[TestUser], times: int) -> None:
    """Log in from many addresses at one moment, and then once more."""

    def log_in(number: int) -> None:
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        with gateway.client() as client:
            for _ in range(2):
                user = users[number % len(users)]
                body = {"username": user.email, "password": user.password}
                client.post("/auth/login", json=body, headers=headers)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _unknown(number: int) -> dict[str, str]:
    return {"username": f"nobody-{number}@example.com", "password": "guess"}


def _file(users: list[TestUser], directory: Path) -> str:
    file = directory / "users.jsonl"
    file.write_text("".join(f'{{"email": "{user.email}", "password": "{PASSWORD}"}}\n' for user in users))
    return str(file)
