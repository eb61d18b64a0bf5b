"""`revocation_max_lag_seconds`: what becomes of access tokens while a gateway cannot hear who was revoked."""

import time
from collections.abc import Callable

import httpx2
import pytest

from tests.harness import GatewayProcess, RedisServer, wait_until
from tests.web.asking import Session, client_of, log_in, problem_of

LIMIT_SECONDS = 3
SUBREQUESTS = ("/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/a")


def verdicts(session: Session) -> set[int]:
    return {session.client.get(path, headers=session.bearer).status_code for path in SUBREQUESTS}


def me(session: Session) -> httpx2.Response:
    return session.client.get("/auth/me", headers=session.bearer)


@pytest.mark.redis
def test_tokens_are_taken_for_so_long_and_then_refused_until_redis_is_heard_again(
    own_redis: Callable[..., RedisServer], make_gateway: Callable[..., GatewayProcess]
) -> None:
    server = own_redis("--appendfsync", "always")
    gateway = make_gateway(redis_url=server.url, revocation_max_lag_seconds=LIMIT_SECONDS)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        assert verdicts(session) == {200}
        server.kill()
        begun, asked = time.monotonic(), 0
        while time.monotonic() - begun < LIMIT_SECONDS - 1:
            assert verdicts(session) == {200}
            asked += len(SUBREQUESTS)
        refused_after = wait_until(lambda: verdicts(session) == {401}, 3, "the limit") + LIMIT_SECONDS - 1
        print(f"{asked} subrequests allowed without Redis; refused after {refused_after:.1f} s")
        for path in SUBREQUESTS:
            answer = client.get(path, headers=session.bearer)
            problem_of(answer, 401, "access-token-invalid")
        problem_of(me(session), 503, "store-unavailable")
        problem_of(client.get("/auth/sessions", headers=session.bearer), 503, "store-unavailable")
        not_ready = problem_of(client.get("/readyz"), 503, "not-ready")
        assert set(not_ready["failing"]) == {"redis", "revocations"}
        assert client.get("/.well-known/jwks.json").status_code == 200
        wait_until(lambda: "revocations are not heard" in gateway.log_text(), 3, "the log to tell")
        server.start()
        seconds = wait_until(lambda: verdicts(session) == {200}, 2, "Redis to be heard")
        print(f"allowed again {seconds * 1000:.0f} ms after Redis was back")
        assert seconds < 1.0
        assert me(session).status_code == 200
        assert client.get("/readyz").status_code == 200
    gateway.stop()
    lines = gateway.log_lines()
    assert {line["cause"] for line in lines if line.get("status") == 401} == {"revocations-stale"}
    messages = [line["message"] for line in lines]
    assert messages.count("revocations are not heard: verdicts go by what is known here") == 1
    assert messages.count("revocations are heard again") == 1
    assert [line["troubles"] for line in lines if line["message"] == "revocation troubles"] == [{"unheard": 1}]
