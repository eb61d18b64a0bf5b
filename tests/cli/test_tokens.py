"""gateway tokens: personal tokens by command, beside a gateway that takes and refuses them."""

import re
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from gateway.state import Gateway
from tests.cli.commands import assert_refused, here, in_process
from tests.harness import GatewayProcess, TestUser, in_gateway, wait_until
from tests.web.personal_tokens import AUTHZ, as_basic, status_with

pytestmark = pytest.mark.redis


@pytest.fixture
def ann(gateway: GatewayProcess) -> TestUser:
    """Give a user with two roles."""
    return gateway.add_user(roles=("staff", "ops"))


def create(gateway: GatewayProcess, user: TestUser, *options: str) -> tuple[str, str]:
    """Make a token, and give its id and itself."""
    outcome = in_process("tokens", "create", user.email, "--name", "backup", *options, env=gateway.env)
    assert (outcome.status, outcome.err) == (0, "")
    made = re.fullmatch(r"id: (pat_[A-Za-z0-9_-]{22})\ntoken: (gwp_[A-Za-z0-9_-]{92})\n", outcome.out)
    assert made is not None, outcome.out
    [told] = outcome.events
    assert (told["event"], told["reason"], told["sub"]) == ("token_created", "by-command", user.user_id)
    assert told["token_id"] == made[1]
    return made[1], made[2]


def listed(gateway: GatewayProcess, user: TestUser) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = here("tokens", "list", user.email, "--json", env=gateway.env).document["tokens"]
    return rows


def test_one_that_is_made_gets_in_until_it_is_revoked(
    gateway: GatewayProcess, client: httpx2.Client, ann: TestUser
) -> None:
    token_id, token = create(gateway, ann)
    answer = client.get(AUTHZ, headers=as_basic(token))
    assert (answer.status_code, answer.headers["remote-sub"]) == (200, ann.user_id)
    assert answer.headers["remote-groups"] == "staff,ops"
    outcome = in_process("tokens", "revoke", ann.email, token_id, env=gateway.env)
    assert (outcome.status, outcome.out, outcome.err) == (0, f"revoked: {token_id}\n", "")
    assert [(told["event"], told["token_id"]) for told in outcome.events] == [("token_revoked", token_id)]
    assert wait_until(lambda: status_with(client, token) == 401, 3) < 1
    assert listed(gateway, ann) == []
    again = here("tokens", "revoke", ann.email, token_id, env=gateway.env)
    assert_refused(again, 1, f"has no personal token {token_id}", "gateway tokens list")


def test_roles_and_days_are_those_that_were_given(
    gateway: GatewayProcess, client: httpx2.Client, ann: TestUser
) -> None:
    _, token = create(gateway, ann, "--role", "ops", "--days", "7")
    assert (status_with(client, token, "role=ops"), status_with(client, token, "role=staff")) == (200, 403)
    [row] = listed(gateway, ann)
    assert row["roles"] == ["ops"]
    created, expires = (datetime.fromisoformat(row[name]) for name in ("created_at", "expires_at"))
    assert expires - created == timedelta(days=7)


def test_the_list_is_what_its_owner_sees_and_a_table_says_the_same(gateway: GatewayProcess, ann: TestUser) -> None:
    ids = [create(gateway, ann)[0], create(gateway, ann, "--role", "ops")[0]]
    rows = listed(gateway, ann)
    assert [row["id"] for row in rows] == ids[::-1]
    assert set(rows[0]) == {"id", "name", "roles", "created_at", "expires_at", "last_used_at"}
    table = here("tokens", "list", f" {ann.email.upper()}", env=gateway.env).out
    for text in (*ids, "backup", "(all)", "ops", "never", rows[0]["expires_at"]):
        assert text in table


def test_json_has_the_token_too(gateway: GatewayProcess, client: httpx2.Client, ann: TestUser) -> None:
    made = here("tokens", "create", ann.email, "--name", "backup", "--json", env=gateway.env).document
    assert status_with(client, made["token"]) == 200
    [row] = listed(gateway, ann)
    assert {name: made[name] for name in row if name != "last_used_at"} == {
        name: row[name] for name in row if name != "last_used_at"
    }


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--role", "admin"), 1, "admin"),
        (("--role", "Not a role"), 1, "is not a role"),
        (("--name", " "), 1, "needs a name"),
        (("--name", "x" * 61), 1, "60"),
        (("--days", "0"), 2, "1<=x<=365"),
        (("--days", "366"), 2, "1<=x<=365"),
    ],
)
def test_what_cannot_be_made_is_told_with_the_mend(
    gateway: GatewayProcess, ann: TestUser, options: tuple[str, ...], status: int, words: str
) -> None:
    outcome = here("tokens", "create", ann.email, "--name", "backup", *options, env=gateway.env)
    assert_refused(outcome, status, words)
    assert listed(gateway, ann) == []


@pytest.mark.parametrize("token_id", ["pat_" + "A" * 22, "", "*", "a\nb", "\udcff", "x" * 5000], ids=ascii)
def test_one_that_is_not_there_cannot_be_revoked(gateway: GatewayProcess, ann: TestUser, token_id: str) -> None:
    create(gateway, ann)
    assert_refused(here("tokens", "revoke", ann.email, token_id, env=gateway.env), 1, "has no personal token")
    assert len(listed(gateway, ann)) == 1


def test_who_is_disabled_gets_none(gateway: GatewayProcess, ann: TestUser) -> None:
    assert here("users", "disable", ann.email, env=gateway.env).status == 0
    outcome = here("tokens", "create", ann.email, "--name", "backup", env=gateway.env)
    assert_refused(outcome, 1, "is disabled", "gateway users enable")


@pytest.mark.parametrize("command", [("list",), ("create", "--name", "a"), ("revoke", "pat_x")])
def test_somebody_whom_nobody_knows_is_told_so(gateway: GatewayProcess, command: tuple[str, ...]) -> None:
    verb, *rest = command
    assert_refused(here("tokens", verb, "nobody@example.com", *rest, env=gateway.env), 1, "no user nobody@example.com")


def test_its_owner_is_told_of_it_on_the_account(gateway: GatewayProcess, ann: TestUser) -> None:
    create(gateway, ann)

    async def latest(parts: Gateway) -> list[str]:
        return [change.what for change in await parts.changes.latest(ann.user_id)]

    assert in_gateway(gateway.env, latest) == ["token"]
