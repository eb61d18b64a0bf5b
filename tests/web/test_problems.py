import re
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from gateway.cores import usable_cores
from gateway.state import Gateway
from tests.harness import GatewayProcess, in_gateway
from tests.web.asking import CASES, CHALLENGE, INVALID_TOKEN, Answered, Case, Session, problem_of

PROBLEMS = [case for case in CASES if case.slug and case.method != "HEAD"]
NO_TOKEN_SENT = {"invalid-credentials", "second-factor-invalid", "access-token-missing", "refresh-token-missing"}


@pytest.mark.parametrize("case", PROBLEMS, ids=str)
def test_every_error_is_a_problem_of_the_table_with_no_members_but_its_own(case: Case, answered: Answered) -> None:
    body = problem_of(answered(case)[1], case.status, case.slug)
    named = {"password-rejected": {"reasons"}}.get(case.slug, set())
    assert body.keys() == {"type", "title", "status", "detail"} | named


@pytest.mark.parametrize("case", PROBLEMS, ids=str)
def test_a_401_and_nothing_else_challenges_and_names_an_error_only_when_a_token_was_sent(
    case: Case, answered: Answered
) -> None:
    """RFC 6750 section 3. Shows RFC 9068 4f."""
    _, answer = answered(case)
    if case.status != 401:
        assert "WWW-Authenticate" not in answer.headers
    elif case.slug in NO_TOKEN_SENT:
        assert answer.headers.get_list("WWW-Authenticate") == [CHALLENGE]
    else:
        assert answer.headers.get_list("WWW-Authenticate") == [INVALID_TOKEN]


@pytest.mark.parametrize("case", PROBLEMS, ids=str)
def test_no_answer_repeats_a_token_or_a_password(case: Case, answered: Answered) -> None:
    """Shows ASVS 16.5.1."""
    session, answer = answered(case)
    shown = answer.text + str(answer.headers)
    assert session.access_token not in shown
    assert session.refresh_token not in shown
    assert session.user.password not in shown


def test_a_superseded_refresh_token_is_told_from_an_invalid_one(session: Session) -> None:
    first = session.refresh_token
    for _ in range(2):
        session.refresh_token = session.refresh().json()["refresh_token"]
    answer = session.client.post("/auth/refresh", json={"refresh_token": first})
    problem_of(answer, 401, "refresh-token-reused")
    assert answer.headers["WWW-Authenticate"] == INVALID_TOKEN
    problem_of(session.client.post("/auth/refresh", json={"refresh_token": first}), 401, "refresh-token-invalid")


STORE_IS_ASKED = [
    ("POST", "/auth/login", {"username": "a@example.com", "password": "a"}),
    ("POST", "/auth/refresh", {"refresh_token": "{refresh_token}"}),
    ("POST", "/auth/logout", {"refresh_token": "{refresh_token}"}),
    ("GET", "/auth/me", None),
    ("GET", "/auth/sessions", None),
    ("DELETE", "/auth/sessions/unknown", None),
    ("POST", "/auth/change-password", {"current_password": "a", "new_password": "b"}),
]


@pytest.mark.parametrize(("method", "path", "json"), STORE_IS_ASKED)
def test_without_redis_what_needs_it_is_a_503_within_two_seconds(
    method: str, path: str, json: dict[str, Any] | None, orphan: Session
) -> None:
    """F1: never a 401, which would log people out. Shows ASVS 16.5.2, ASVS 16.5.3."""
    begun = time.monotonic()
    answer = Case(method, path, 503, headers=orphan.bearer, json=json).ask(orphan)
    assert time.monotonic() - begun < 2
    problem_of(answer, 503, "store-unavailable")
    assert re.fullmatch(r"[1-9][0-9]*", answer.headers["Retry-After"])
    assert "WWW-Authenticate" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_a_refresh_cookie_survives_a_503(orphan: Session) -> None:
    answer = orphan.client.post("/auth/refresh", headers={"Cookie": f"refresh_token={orphan.refresh_token}"})
    problem_of(answer, 503, "store-unavailable")
    assert "Set-Cookie" not in answer.headers


def test_more_passwords_than_can_be_hashed_in_good_time_are_refused(
    make_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = make_gateway(bcrypt_cost=16)
    body = b'{"username":"nobody@example.com","password":"wrong"}'
    request = b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    waiting = []
    try:
        for _ in range(usable_cores()):
            waiting.append(socket.create_connection(("127.0.0.1", gateway.port)))
            waiting[-1].sendall(request % (len(body), body))
        time.sleep(0.2)
        answer = httpx2.post(f"{gateway.url}/auth/login", content=body, headers={"Content-Type": "application/json"})
        problem_of(answer, 503, "overloaded")
        assert re.fullmatch(r"[1-9][0-9]*", answer.headers["Retry-After"])
    finally:
        for connection in waiting:
            connection.close()
        gateway.kill()


def test_an_unforeseen_error_is_a_500_that_tells_nothing_and_its_traceback_is_in_the_log(session: Session) -> None:
    """And the gateway goes on. Shows ASVS 16.5.1, ASVS 16.5.3, ASVS 16.5.4, ASVS 16.3.4."""

    async def spoil(parts: Gateway) -> None:
        key = parts.store.key(f"user:{{{session.user.user_id}}}")
        await parts.store.execute("HSET", key, "created_at", "a canary in the store")

    in_gateway(session.gateway.env, spoil)
    answer = session.client.get("/auth/me", headers=session.bearer)
    body = problem_of(answer, 500, "internal-error")
    assert body.keys() == {"type", "title", "status", "detail"}
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    lines = [line for line in session.gateway.log_lines() if line.get("request_id") == answer.headers["X-Request-Id"]]
    assert [line["level"] for line in lines] == ["error", "info"]
    assert "ValueError" in lines[0]["traceback"]
    assert session.client.get("/livez").status_code == 200
