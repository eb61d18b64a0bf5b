import time
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.harness import GatewayProcess
from tests.web.asking import RFC_3339_UTC, Session, log_in, problem_of

IDLE_SECONDS = 1_209_600


def rows(session: Session) -> list[dict[str, Any]]:
    answer = session.client.get("/auth/sessions", headers=session.bearer)
    assert answer.status_code == 200
    assert answer.json().keys() == {"sessions"}
    listed: list[dict[str, Any]] = answer.json()["sessions"]
    return listed


def test_a_session_is_listed_with_all_that_its_user_may_know(gateway: GatewayProcess, client: httpx2.Client) -> None:
    """Shows ASVS 8.2.3, ASVS 14.2.6, ASVS 15.3.1."""
    session = log_in(gateway, client, User_Agent="curl/7.88.1")
    [row] = rows(session)
    assert row.keys() == {"id", "created_at", "last_used_at", "expires_at", "ip", "device", "amr", "current"}
    assert row["id"] == session.sid
    assert row["ip"] == "127.0.0.1"
    assert row["device"] == "curl/7.88.1"
    assert row["current"] is True
    assert all(RFC_3339_UTC.fullmatch(row[member]) for member in ("created_at", "last_used_at", "expires_at"))
    assert row["last_used_at"] == row["created_at"]
    created, expires = (datetime.fromisoformat(row[member]) for member in ("created_at", "expires_at"))
    assert expires - created == timedelta(seconds=IDLE_SECONDS)


def test_sessions_are_listed_newest_first_and_the_asking_one_is_marked(session: Session) -> None:
    second = log_in(session.gateway, session.client, session.user)
    third = log_in(session.gateway, session.client, session.user)
    log_in(session.gateway, session.client)
    assert [row["id"] for row in rows(second)] == [third.sid, second.sid, session.sid]
    assert [row["current"] for row in rows(second)] == [False, True, False]


def test_a_refresh_moves_the_times_of_use_and_end_but_not_the_order(session: Session) -> None:
    second = log_in(session.gateway, session.client, session.user)
    time.sleep(1.1)
    session.refresh()
    newer, older = rows(session)
    assert [newer["id"], older["id"]] == [second.sid, session.sid]
    assert older["last_used_at"] > older["created_at"]
    assert older["expires_at"] > newer["expires_at"]
    assert newer["last_used_at"] == newer["created_at"]


def test_a_session_that_ended_is_not_listed(session: Session) -> None:
    other = log_in(session.gateway, session.client, session.user)
    session.client.post("/auth/logout", json={"refresh_token": other.refresh_token})
    assert [row["id"] for row in rows(session)] == [session.sid]


def test_another_of_ones_own_sessions_can_be_ended(session: Session) -> None:
    """Shows ASVS 10.4.9."""
    other = log_in(session.gateway, session.client, session.user)
    answer = session.client.delete(f"/auth/sessions/{other.sid}", headers=session.bearer)
    assert answer.status_code == 204
    assert answer.content == b""
    assert not other.is_alive()
    problem_of(other.refresh(), 401, "refresh-token-invalid")
    assert session.is_alive()


def test_the_session_that_asks_can_be_ended_too(session: Session) -> None:
    assert session.client.delete(f"/auth/sessions/{session.sid}", headers=session.bearer).status_code == 204
    assert not session.is_alive()
    problem_of(session.refresh(), 401, "refresh-token-invalid")


def test_the_session_of_somebody_else_is_not_found_and_lives_on(session: Session) -> None:
    """Shows ASVS 8.2.2."""
    stranger = log_in(session.gateway, session.client)
    answer = session.client.delete(f"/auth/sessions/{stranger.sid}", headers=session.bearer)
    problem_of(answer, 404, "not-found")
    assert stranger.is_alive()
    assert stranger.refresh().status_code == 200


def test_foreign_and_unknown_sessions_get_the_same_answer(session: Session) -> None:
    stranger = log_in(session.gateway, session.client)
    foreign, unknown = (
        session.client.delete(f"/auth/sessions/{sid}", headers=session.bearer) for sid in (stranger.sid, "A" * 22)
    )
    assert foreign.content == unknown.content


@pytest.mark.parametrize("sid", ["x", "A" * 22, "A" * 8000, "%00", "%0a", "%ff", "%2f", "*", "..", "%2e%2e", "a b"])
def test_what_is_no_session_is_not_found(sid: str, session: Session) -> None:
    answer = session.client.delete(f"/auth/sessions/{sid}", headers=session.bearer)
    problem_of(answer, 404, "not-found")
    assert session.is_alive()


def test_a_session_cannot_be_ended_twice(session: Session) -> None:
    other = log_in(session.gateway, session.client, session.user)
    for status in (204, 404):
        answer = session.client.delete(f"/auth/sessions/{other.sid}", headers=session.bearer)
        assert answer.status_code == status
