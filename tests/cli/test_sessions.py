from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from gateway.state import Gateway
from tests.cli.commands import assert_refused, here, in_process
from tests.harness import GatewayProcess, TestUser, in_gateway, wait_until

REFUSED_WITHIN_SECONDS = 1.0


@contextmanager
def session(gateway: GatewayProcess, user: TestUser) -> Iterator[tuple[httpx2.Client, str]]:
    """A client that is logged in and carries its access token, and the id of its session."""
    with gateway.client() as client:
        token = gateway.login(user, client)["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        [mine] = [row for row in client.get("/auth/sessions").json()["sessions"] if row["current"]]
        yield client, mine["id"]


def listed(gateway: GatewayProcess, user: TestUser) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = here("sessions", "list", user.email, "--json", env=gateway.env).document["sessions"]
    return rows


def assert_ended(client: httpx2.Client) -> None:
    seconds = wait_until(
        lambda: client.get("/api/authz/auth-request").status_code == 401,
        REFUSED_WITHIN_SECONDS,
        "the access token to be refused",
    )
    print(f"access token refused {seconds * 1000:.0f} ms after the command")
    assert client.post("/auth/refresh").status_code == 401


def assert_goes_on(client: httpx2.Client) -> None:
    assert client.get("/api/authz/auth-request").status_code == 200
    assert client.post("/auth/refresh").status_code == 200


def test_the_list_tells_what_the_user_sees_newest_first(gateway: GatewayProcess) -> None:
    user = gateway.add_user()
    assert listed(gateway, user) == []
    with session(gateway, user) as (client, first), session(gateway, user) as (_, second):
        rows = listed(gateway, user)
        assert [row["id"] for row in rows] in ([second, first], [first, second])  # of one second: in any order
        own = client.get("/auth/sessions").json()["sessions"]
        assert rows == [{name: row[name] for name in row if name != "current"} for row in own]
        assert set(rows[0]) == {"id", "created_at", "last_used_at", "expires_at", "ip", "device", "amr"}
        table = here("sessions", "list", f" {user.email.upper()}", env=gateway.env).out
        for text in (first, second, "127.0.0.1", rows[0]["created_at"]):
            assert text in table


def test_one_revoked_session_ends_at_once_and_the_others_go_on(gateway: GatewayProcess) -> None:
    """Shows ASVS 7.4.5."""
    user = gateway.add_user()
    with session(gateway, user) as (client, session_id), session(gateway, user) as (other, other_id):
        outcome = in_process("sessions", "revoke", user.email, session_id, env=gateway.env)
        assert (outcome.status, outcome.out, outcome.err) == (0, "sessions ended: 1\n", "")
        assert_ended(client)
        assert_goes_on(other)
        assert [row["id"] for row in listed(gateway, user)] == [other_id]
        again = here("sessions", "revoke", user.email, session_id, env=gateway.env)
        assert_refused(again, 1, f"has no session {session_id}", "gateway sessions list")


def test_all_sessions_of_a_user_end_and_those_of_others_go_on(gateway: GatewayProcess) -> None:
    """Shows ASVS 7.4.5."""
    user, neighbour = gateway.add_user(), gateway.add_user()
    with (
        session(gateway, user) as (one, _),
        session(gateway, user) as (two, _),
        session(gateway, neighbour) as (theirs, _),
    ):
        assert here("sessions", "revoke", user.email, "--all", env=gateway.env).out == "sessions ended: 2\n"
        assert_ended(one)
        assert_ended(two)
        assert_goes_on(theirs)
    assert here("sessions", "revoke", user.email, "--all", env=gateway.env).out == "sessions ended: 0\n"
    assert listed(gateway, user) == []


@pytest.mark.parametrize("session_id", ["A" * 22, "", "*", "../x", "a\nb", "\udcff", "x" * 5000], ids=ascii)
def test_a_session_that_is_not_there_cannot_be_revoked(gateway: GatewayProcess, session_id: str) -> None:
    user = gateway.add_user()
    with session(gateway, user) as (client, _):
        assert_refused(here("sessions", "revoke", user.email, session_id, env=gateway.env), 1, "has no session")
        assert_goes_on(client)


def test_the_session_of_another_user_cannot_be_revoked_by_mistake(gateway: GatewayProcess) -> None:
    user, neighbour = gateway.add_user(), gateway.add_user()
    with session(gateway, neighbour) as (theirs, session_id):
        assert_refused(here("sessions", "revoke", user.email, session_id, env=gateway.env), 1, "has no session")
        assert_goes_on(theirs)


@pytest.mark.parametrize("session_id", ["-D3Wt079FH4ltaup25CGSQ", "--Wt079FH4ltaup25CGSQx", "-----------------ltaup"])
def test_a_session_id_may_begin_like_an_option(gateway: GatewayProcess, session_id: str) -> None:
    """Ids are base64url: one in 64 begins with a hyphen."""
    user = gateway.add_user()

    async def open_it(opened: Gateway) -> None:
        found = await opened.users.find(user.email)
        assert found is not None
        await opened.families.open(found.user_id, found.password_version, session_id, "192.0.2.1", "")

    in_gateway(gateway.env, open_it)
    assert here("sessions", "revoke", user.email, session_id, env=gateway.env).out == "sessions ended: 1\n"


def test_a_mistyped_option_is_no_session_id(gateway: GatewayProcess) -> None:
    assert_refused(here("sessions", "revoke", gateway.add_user().email, "--al", env=gateway.env), 2, "--al")
