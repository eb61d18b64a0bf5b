"""Links with which a person sets a password: who gets one, what is told, and what it is good for."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import system_clock
from gateway.state import Gateway
from tests.cli.commands import EMAIL, Outcome, assert_refused, here, in_process
from tests.harness import PASSWORD, GatewayProcess, free_port, in_gateway
from tests.web.asking import problem_of

LINK = re.compile(r"(https?://[^/]+)/auth/welcome\?code=([A-Za-z0-9]{24})")
PRINTED = re.compile(r"id: (usr_\S{22})\nlink: (\S+)\ngood until: (\S+Z)\n")


def invite(env: dict[str, str], email: str = EMAIL, *arguments: str) -> Outcome:
    return here("users", "invite", email, *arguments, env=env)


def code_of(outcome: Outcome) -> str:
    """Give the code of the link that a command has printed."""
    printed = PRINTED.fullmatch(outcome.out)
    assert (outcome.status, outcome.err) == (0, "")
    assert printed
    link = LINK.fullmatch(printed[2])
    assert link
    return link[2]


def accept(env: dict[str, str], code: str, password: str = PASSWORD) -> str:
    """Do what the page does, and give the id of the user."""

    async def work(gateway: Gateway) -> str:
        return (await gateway.accept_invitation(code, await gateway.passwords.hash(password))).user_id

    return in_gateway(env, work)


def is_good(env: dict[str, str], code: str) -> bool:
    async def work(gateway: Gateway) -> bool:
        return await gateway.invitations.look(code) is not None

    return in_gateway(env, work)


def shown(env: dict[str, str], email: str = EMAIL) -> dict[str, Any]:
    document: dict[str, Any] = here("users", "show", email, "--json", env=env).document
    return document


def keys(env: dict[str, str]) -> set[str]:
    async def work(gateway: Gateway) -> set[str]:
        return {key async for key in gateway.store.scan("*") if not key.endswith(":audit")}

    return in_gateway(env, work)


def test_invite_adds_a_user_without_a_password_and_prints_a_link(gateway_env: dict[str, str]) -> None:
    outcome = in_process(
        "users", "invite", "Ann@Example.com", "--name", "Ann", "--role", "staff",
        env=gateway_env | {"GATEWAY_ISSUER": "https://auth.example.com"},
    )  # fmt: skip
    printed = PRINTED.fullmatch(outcome.out)
    assert (outcome.status, outcome.err) == (0, "")
    assert printed
    link = LINK.fullmatch(printed[2])
    assert link
    assert link[1] == "https://auth.example.com"
    user = shown(gateway_env)
    assert (user["id"], user["email"], user["full_name"], user["roles"]) == (printed[1], EMAIL, "Ann", ["staff"])
    assert abs(datetime.fromisoformat(printed[3]).timestamp() - system_clock() - 24 * 3600) < 60
    assert accept(gateway_env, link[2]) == printed[1]


def test_the_link_is_in_no_event_and_the_event_names_the_user(gateway_env: dict[str, str]) -> None:
    for command, reason in (("invite", None), ("reset", "reset")):
        outcome = in_process("users", command, EMAIL, env=gateway_env)
        [event] = outcome.events
        assert (event["event"], event["outcome"], event.get("reason")) == ("user_invited", "success", reason)
        assert event["sub"] == shown(gateway_env)["id"]
        assert code_of(outcome) not in str(event)
        assert EMAIL not in str(event)


@pytest.mark.parametrize("command", ["invite", "reset"])
def test_the_link_comes_as_json_too(gateway_env: dict[str, str], command: str) -> None:
    if command == "reset":
        invite(gateway_env)
    document = here("users", command, EMAIL, "--json", env=gateway_env).document
    assert set(document) == {"id", "email", "link", "expires_at"}
    assert (document["id"], document["email"]) == (shown(gateway_env)["id"], EMAIL)
    link = LINK.fullmatch(document["link"])
    assert link
    assert is_good(gateway_env, link[2])


def test_an_invitation_of_an_address_that_is_there_changes_nothing_and_names_the_mend(
    gateway_env: dict[str, str],
) -> None:
    code = code_of(invite(gateway_env, EMAIL, "--role", "staff"))
    before = (keys(gateway_env), shown(gateway_env))
    assert_refused(invite(gateway_env, "ANN@example.com", "--role", "admin"), 1, EMAIL, "`gateway users reset")
    assert (keys(gateway_env), shown(gateway_env)) == before
    assert is_good(gateway_env, code)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("ann",), "name@example.com"), ((EMAIL, "--role", "No Role"), "not a role"), ((EMAIL, "--name", "\x07"), "BELL")],
)
def test_what_a_user_cannot_be_is_refused_as_by_add(
    gateway_env: dict[str, str], arguments: tuple[str, ...], word: str
) -> None:
    outcome = here("users", "invite", *arguments, env=gateway_env)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == here("users", "add", *arguments, "--generate", env=gateway_env).err
    assert keys(gateway_env) == set()


def test_reset_of_nobody_fails_and_names_the_mend(gateway_env: dict[str, str]) -> None:
    assert_refused(here("users", "reset", EMAIL, env=gateway_env), 1, EMAIL, f"`gateway users invite {EMAIL}`")


def test_reset_of_a_disabled_user_fails_and_names_the_mend(gateway_env: dict[str, str]) -> None:
    invite(gateway_env)
    assert here("users", "disable", EMAIL, env=gateway_env).status == 0
    assert_refused(here("users", "reset", EMAIL, env=gateway_env), 1, f"`gateway users enable {EMAIL}`")


@pytest.mark.parametrize(("command", "mend"), [("invite", "users add"), ("reset", "users set-password")])
def test_without_the_portal_there_is_no_link_and_nothing_is_changed(
    gateway_env: dict[str, str], command: str, mend: str
) -> None:
    env = gateway_env | {"GATEWAY_PORTAL": "off"}
    assert_refused(here("users", command, EMAIL, env=env), 1, "portal = on", f"gateway {mend} {EMAIL}")
    assert keys(gateway_env) == set()


def test_reset_leaves_password_and_sessions_until_the_link_is_used(gateway: GatewayProcess) -> None:
    user = gateway.add_user()
    with gateway.client() as client:
        gateway.login(user, client)
        code = code_of(here("users", "reset", user.email, env=gateway.env))
        assert client.post("/auth/refresh").status_code == 200
        accept(gateway.env, code, "quite another sentence")
        assert client.post("/auth/refresh").status_code == 401
        body = {"username": user.email, "password": user.password}
        assert client.post("/auth/login", json=body).status_code == 401
        assert client.post("/auth/login", json=body | {"password": "quite another sentence"}).status_code == 200


def test_two_links_are_good_until_one_is_used(gateway_env: dict[str, str]) -> None:
    first = code_of(invite(gateway_env))
    second = code_of(here("users", "reset", EMAIL, env=gateway_env))
    assert is_good(gateway_env, first)
    assert is_good(gateway_env, second)
    accept(gateway_env, second)
    assert not is_good(gateway_env, first)


def test_a_password_set_by_command_makes_the_link_void(gateway: GatewayProcess) -> None:
    email = "by-command@example.com"
    code = code_of(invite(gateway.env, email))
    outcome = here("users", "set-password", email, "--password-stdin", env=gateway.env, stdin=PASSWORD)
    assert outcome.status == 0
    assert not is_good(gateway.env, code)
    assert shown(gateway.env, email)["has_password"] is True
    with gateway.client() as client:
        assert client.post("/auth/login", json={"username": email, "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("password", ["", PASSWORD])
def test_an_invited_user_is_told_what_an_unknown_one_is(gateway: GatewayProcess, password: str) -> None:
    email = f"invited-{free_port()}@example.com"
    code_of(invite(gateway.env, email))
    with gateway.client() as client:
        answers = [
            client.post("/auth/login", json={"username": username, "password": password})
            for username in (email, "nobody-" + email)
        ]
    for answer in answers:
        problem_of(answer, 401, "invalid-credentials")
    assert answers[0].content == answers[1].content


def test_listings_tell_who_was_invited_and_has_set_no_password_yet(gateway_env: dict[str, str]) -> None:
    code = code_of(invite(gateway_env))
    assert shown(gateway_env)["has_password"] is False
    assert here("users", "list", "--json", env=gateway_env).document["users"][0]["has_password"] is False
    assert here("users", "list", env=gateway_env).out.splitlines()[1].endswith("  invited")
    assert re.search(r"^has_password +no$", here("users", "show", EMAIL, env=gateway_env).out, re.MULTILINE)
    accept(gateway_env, code)
    assert shown(gateway_env)["has_password"] is True
    assert here("users", "list", env=gateway_env).out.splitlines()[1].endswith("  yes")


def test_the_link_leads_to_where_the_gateway_listens(
    make_gateway: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    nothing = {"redis_url": None, "secret": None, "redis_key_prefix": None}
    port = free_port()
    gateway = make_gateway("--port", str(port), **nothing, data_dir=tmp_path / "data", port=port)
    elsewhere = gateway.env | {"GATEWAY_PORT": str(free_port())}
    link = here("users", "invite", EMAIL, "--json", env=elsewhere).document["link"]
    assert link.startswith(f"http://127.0.0.1:{port}/auth/welcome?code=")
    named = elsewhere | {"GATEWAY_ISSUER": "https://auth.example.com"}
    link = here("users", "reset", EMAIL, "--json", env=named).document["link"]
    assert link.startswith("https://auth.example.com/auth/welcome?code=")
