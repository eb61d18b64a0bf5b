"""Every verdict on a refresh token has its cause in the log line and in a counter."""

import time
from collections import Counter
from collections.abc import Callable

import httpx2

from gateway.derived_keys import KeyChain
from gateway.sessions.families import RefreshToken
from gateway.state import Gateway
from tests.harness import SECRET, GatewayProcess, TestUser, in_gateway


def refresh(client: httpx2.Client, token: str) -> httpx2.Response:
    return client.post("/auth/refresh", json={"refresh_token": token})


def successor(client: httpx2.Client, token: str) -> str:
    answer = refresh(client, token)
    assert answer.status_code == 200, answer.text
    token_after: str = answer.json()["refresh_token"]
    return token_after


def disable(gateway: GatewayProcess, user: TestUser) -> None:
    """Disable a user and go no further, as a command that was killed: the next refresh meets him disabled."""

    async def work(parts: Gateway) -> None:
        await parts.store.execute("HSET", parts.store.key(f"user:{{{user.user_id}}}"), "is_active", "0")

    in_gateway(gateway.env, work)


def test_each_verdict_is_told_by_its_cause_and_counted(make_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = make_gateway(access_token_ttl_seconds=2, refresh_idle_ttl_seconds=2)
    keychain = KeyChain.of(SECRET)
    with gateway.client() as client:

        def fresh(user: TestUser) -> str:
            token: str = gateway.login(user, client, delivery="body")["refresh_token"]
            return token

        user, other = gateway.add_user(), gateway.add_user()
        first = fresh(user)
        second = successor(client, first)  # rotated
        assert successor(client, first) == second  # replayed
        third = successor(client, second)  # rotated
        kept = client.post("/auth/refresh", headers={"Cookie": f"refresh_token={third}"})  # kept
        assert third in kept.headers["Set-Cookie"]
        client.cookies.clear()
        lost = RefreshToken.parse(third, keychain)
        ahead = RefreshToken(lost.user_id, lost.family_id, lost.generation + 7).format(keychain.current)
        successor(client, ahead)  # healed
        assert refresh(client, first).status_code == 401  # reused
        ended = fresh(user)
        client.post("/auth/logout", json={"refresh_token": ended})
        assert refresh(client, ended).status_code == 401  # revoked
        assert refresh(client, ended[:-1] + ("A" if ended[-1] != "A" else "B")).status_code == 401  # forged
        of_disabled = fresh(other)
        disable(gateway, other)
        assert refresh(client, of_disabled).status_code == 401  # user_disabled
        unused = fresh(user)
        time.sleep(2.1)
        assert refresh(client, unused).status_code == 401  # expired
    gateway.stop()

    expected = {
        "rotated": 2,
        "replayed": 1,
        "kept": 1,
        "healed": 1,
        "reused": 1,
        "revoked": 1,
        "forged": 1,
        "user_disabled": 1,
        "expired": 1,
    }
    lines = [line for line in gateway.log_lines() if line.get("path") == "/auth/refresh"]
    print(f"verdicts: {Counter(line['cause'] for line in lines)}")
    assert Counter(line["cause"] for line in lines) == expected
    (counted,) = [line["verdicts"] for line in gateway.log_lines() if line["message"] == "refresh verdicts"]
    assert counted == expected
