from collections.abc import Callable

import pytest

from tests.harness import GatewayProcess, in_gateway, wait_until
from tests.web.asking import (
    CHALLENGE,
    INVALID_TOKEN,
    Session,
    client_of,
    in_latin_1,
    log_in,
    problem_of,
    set_cookies,
    sid_of,
)


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"refresh_token={token}"}


def test_a_token_that_came_as_a_cookie_goes_back_as_a_cookie(session: Session) -> None:
    answer = session.client.post("/auth/refresh", headers=cookie(session.refresh_token))
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    successor = set_cookies(answer)["refresh_token"]["value"]
    assert successor not in ("", session.refresh_token)
    assert session.client.post("/auth/refresh", headers=cookie(successor)).status_code == 200


@pytest.mark.parametrize("encoding", ["json", "data"])
def test_a_token_that_came_in_the_body_goes_back_in_the_body(encoding: str, session: Session) -> None:
    body = {encoding: {"refresh_token": session.refresh_token}}
    answer = session.client.post("/auth/refresh", **body)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert answer.json()["refresh_token"] != session.refresh_token
    assert "Set-Cookie" not in answer.headers


def test_the_new_access_token_is_of_the_same_session(session: Session) -> None:
    """Shows RFC 9700 4.14.2a, RFC 9068 2.2.1."""
    body = session.refresh().json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 600
    assert body["access_token"] != session.access_token
    assert sid_of(body["access_token"]) == session.sid


@pytest.mark.parametrize("json", [None, {}, {"refresh_token": None}])
def test_without_a_token_it_is_missing(json: dict[str, None] | None, session: Session) -> None:
    answer = session.client.post("/auth/refresh", json=json, headers=session.bearer)
    problem_of(answer, 401, "refresh-token-missing")
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert "Set-Cookie" not in answer.headers


def forgeries(session: Session) -> list[str]:
    token = session.refresh_token
    other = "B" if token[40] != "B" else "C"
    return [
        "",
        "forged",
        token[:-1],
        token + "=",
        token + "A",
        f" {token}",
        f"{token} ",
        f"{token}\n",
        token[:40] + other + token[41:],
        token.swapcase(),
        token.replace("_", "/").replace("-", "+") + "+",
        session.access_token,
        "\u00e9" * 92,
        "A" * 92,
        "A" * 10_000,
    ]


@pytest.mark.parametrize("index", range(15))
def test_a_malformed_or_forged_token_is_invalid(index: int, session: Session) -> None:
    """T18: an access token is no refresh token."""
    answer = session.client.post("/auth/refresh", json={"refresh_token": forgeries(session)[index]})
    problem_of(answer, 401, "refresh-token-invalid")
    assert answer.headers["WWW-Authenticate"] == INVALID_TOKEN
    assert "Set-Cookie" not in answer.headers
    assert session.refresh().status_code == 200


@pytest.mark.parametrize("value", ["", "forged", "a b", "\u00e9"])
def test_an_invalid_cookie_is_refused_and_taken_back(value: str, session: Session) -> None:
    answer = session.client.post("/auth/refresh", headers=in_latin_1("Cookie", f"refresh_token={value}"))
    problem_of(answer, 401, "refresh-token-invalid")
    assert set_cookies(answer)["refresh_token"]["value"] == ""


def test_a_revoked_token_is_invalid_and_its_cookie_taken_back(session: Session) -> None:
    session.client.post("/auth/logout", json={"refresh_token": session.refresh_token})
    answer = session.client.post("/auth/refresh", headers=cookie(session.refresh_token))
    problem_of(answer, 401, "refresh-token-invalid")
    assert set_cookies(answer)["refresh_token"]["value"] == ""


def test_a_reused_token_is_refused_and_its_cookie_taken_back(session: Session) -> None:
    first = session.refresh_token
    for _ in range(2):
        session.refresh_token = session.refresh().json()["refresh_token"]
    answer = session.client.post("/auth/refresh", headers=cookie(first))
    problem_of(answer, 401, "refresh-token-reused")
    assert set_cookies(answer)["refresh_token"]["value"] == ""
    assert not session.is_alive()


@pytest.mark.parametrize("deed", ["disable", "remove"])
def test_the_token_of_a_user_who_is_disabled_or_removed_is_invalid(deed: str, session: Session) -> None:
    user_id = session.user.user_id
    in_gateway(session.gateway.env, lambda opened: opened.users.set_active(user_id, False))
    if deed == "remove":
        in_gateway(session.gateway.env, lambda opened: opened.users.remove(user_id, session.user.email))
    problem_of(session.refresh(), 401, "refresh-token-invalid")


def test_the_token_of_a_session_that_was_idle_too_long_is_invalid(gateway_with: Callable[..., GatewayProcess]) -> None:
    gateway = gateway_with(access_token_ttl_seconds=1, refresh_idle_ttl_seconds=1)
    with client_of(gateway) as client:
        session = log_in(gateway, client)
        token = session.refresh().json()["refresh_token"]

        def is_over() -> bool:
            return in_gateway(gateway.env, lambda parts: parts.families.list(session.user.user_id)) == []

        wait_until(is_over, 3, "the idle end")
        problem_of(client.post("/auth/refresh", json={"refresh_token": token}), 401, "refresh-token-invalid")


def test_two_refresh_tokens_at_once_are_malformed_and_none_is_used(session: Session) -> None:
    answer = session.client.post(
        "/auth/refresh",
        json={"refresh_token": session.refresh_token},
        headers=cookie(session.refresh_token),
    )
    problem_of(answer, 400, "malformed-request")
    assert "Set-Cookie" not in answer.headers
    assert session.refresh().status_code == 200


def test_a_token_in_the_query_is_malformed_and_not_used(session: Session) -> None:
    """Shows RFC 9700 4.3."""
    answer = session.client.post("/auth/refresh", params={"refresh_token": session.refresh_token})
    problem_of(answer, 400, "malformed-request")


def test_an_access_token_sent_along_is_not_looked_at(session: Session) -> None:
    answer = session.client.post(
        "/auth/refresh",
        json={"refresh_token": session.refresh_token},
        headers={"Authorization": "Bearer rubbish", "Cookie": "access_token=rubbish"},
    )
    assert answer.status_code == 200


def test_a_lost_answer_can_be_asked_for_again_by_cookie(session: Session) -> None:
    first, second = (session.client.post("/auth/refresh", headers=cookie(session.refresh_token)) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert set_cookies(first)["refresh_token"]["value"] == set_cookies(second)["refresh_token"]["value"]


def test_roles_are_read_again_at_each_refresh(session: Session) -> None:
    """Shows ASVS 8.3.2."""
    in_gateway(session.gateway.env, lambda opened: opened.users.set_roles(session.user.user_id, ("ops", "admin")))
    session.access_token = session.refresh().json()["access_token"]
    answer = session.client.get("/api/authz/auth-request", headers=session.bearer)
    assert answer.headers["Remote-Groups"] == "ops,admin"
