"""gateway users import: users of other programs, with the hashes that these have made."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.state import Gateway
from tests.cli.commands import Outcome, assert_refused, here
from tests.harness import GatewayProcess, in_gateway
from tests.vectors.foreign_passwords import file_of, users_of

BCRYPT = "$2b$04$w6t1no6GWXZPtigiAAliMe/R4lvRVWIWLgBcfVbBLX/eUPKhTM4ii"
PASSWORD = "password"


def line(email: str = "ann@example.com", **members: Any) -> str:
    return json.dumps({"email": email, "password_hash": BCRYPT} | members)


def bring(env: dict[str, str], *lines: str, options: tuple[str, ...] = ()) -> Outcome:
    return here("users", "import", "-", *options, env=env, stdin="\n".join(lines) + "\n")


def users(env: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = here("users", "list", "--json", env=env).document["users"]
    return found


def stored_hash(env: dict[str, str], email: str) -> str:
    async def read(gateway: Gateway) -> str:
        user = await gateway.users.find(email)
        assert user
        return user.password_hash

    return in_gateway(env, read)


@pytest.mark.parametrize("program", ["django", "keycloak", "authelia"])
def test_the_users_of_another_program_log_in_with_the_password_that_they_have(
    gateway: GatewayProcess, program: str
) -> None:
    """The hash verifies once and becomes ours; what the other program has made is gone."""
    expected = users_of(program)
    outcome = here("users", "import", str(file_of(program)), env=gateway.env)
    assert (outcome.status, outcome.out, outcome.err) == (0, f"imported: {len(expected)}\n", "")
    for email, (foreign, password) in expected.items():
        assert stored_hash(gateway.env, email) == foreign
        with gateway.client() as client:
            wrong = client.post("/auth/login", json={"username": email, "password": password + "x"})
            assert wrong.status_code == 401
            assert stored_hash(gateway.env, email) == foreign
            for _ in range(2):
                right = client.post("/auth/login", json={"username": email, "password": password})
                assert right.status_code == 200, (email, right.text)
                assert stored_hash(gateway.env, email).startswith("p1$")
    again = here("users", "import", str(file_of(program)), env=gateway.env)
    assert again.status == 1
    assert again.out == "imported: 0\n" + "".join(f"there already: {email}\n" for email in expected)
    assert "left as they are" in again.err
    assert all(stored_hash(gateway.env, email).startswith("p1$") for email in expected)


def test_what_a_line_says_of_a_user_is_taken_over(gateway: GatewayProcess) -> None:
    """A disabled user stays disabled, with the answer of a wrong password."""
    lines = [
        line("full@import.example.com", name=" Łucja Żółw ", roles=["staff", "editor", "staff"], is_active=True),
        line("off@import.example.com", is_active=False),
    ]
    assert bring(gateway.env, *lines).status == 0
    full = here("users", "show", "full@import.example.com", "--json", env=gateway.env).document
    assert (full["full_name"], full["roles"], full["is_active"]) == ("Łucja Żółw", ["staff", "editor"], True)
    off = here("users", "show", "off@import.example.com", "--json", env=gateway.env).document
    assert (off["full_name"], off["roles"], off["is_active"]) == ("", [], False)
    body = {"username": "off@import.example.com", "password": PASSWORD}
    assert httpx2.post(f"{gateway.url}/auth/login", json=body).status_code == 401
    assert here("users", "enable", "off@import.example.com", env=gateway.env).status == 0
    assert httpx2.post(f"{gateway.url}/auth/login", json=body).status_code == 200


BAD_LINES = [
    ("[]", "a line is"),
    ("nonsense", "not a JSON object"),
    ('{"password_hash": {"more": ' + "[" * 100_000, "not a JSON object"),
    ("{}", "`email`"),
    ('{"email": "a@b.c"}', "`password_hash`"),
    (line(password_hash=None), "password_hash"),
    (line(password_hash="plain text"), "no kind"),
    (line(password_hash=BCRYPT.replace("$04$", "$30$")), "cost of bcrypt is 30"),
    (line(password_hash={"secretData": "{}"}), "credentialData"),
    (line(password_hash={"secretData": "{}", "credentialData": "{}"}), "as Keycloak exports them"),
    (line("ann"), "not an e-mail address"),
    (line("a@b\r\nX: 1"), "not an e-mail address"),
    (line(name="a\r\nX: 1"), "printable characters"),
    (line(name="a" * 201), "printable characters"),
    (line(roles=["Staff"]), "not a role"),
    (line(roles=["a,b"]), "not a role"),
    (line(roles=[f"r{number}" for number in range(51)]), "at most 50 roles"),
    (line(roles="staff"), "roles"),
    (line(is_active="yes"), "is_active"),
    (line(password="plain text"), "password"),
]


@pytest.mark.parametrize(("bad", "word"), BAD_LINES, ids=[word for _, word in BAD_LINES])
def test_one_line_that_is_wrong_changes_nothing_and_is_told_with_its_number(
    gateway_env: dict[str, str], bad: str, word: str
) -> None:
    good = [line("first@example.com"), "", line("last@example.com")]
    outcome = bring(gateway_env, *good[:2], bad, good[2])
    assert (outcome.status, outcome.out) == (1, "")
    told = outcome.err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("gateway: line 3: ")
    assert word in told[0]
    assert "plain text" not in told[0]
    assert users(gateway_env) == []


def test_every_line_that_is_wrong_is_told_up_to_twenty(gateway_env: dict[str, str]) -> None:
    outcome = bring(gateway_env, line(), *["{}"] * 30)
    told = outcome.err.splitlines()
    assert [text.split(":")[1] for text in told[:20]] == [f" line {number}" for number in range(2, 22)]
    assert told[20:] == [
        "gateway: and 10 more lines",
        "gateway: nothing was changed: 30 of 31 users cannot be imported as they are",
    ]


def test_bytes_that_are_not_utf_8_are_told_with_their_line(gateway_env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl"
    lines = [line(), line("b@c.d"), '{"email": "é@x.y"}']
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode("latin-1"))
    outcome = here("users", "import", str(file), env=gateway_env)
    assert outcome.status == 1
    assert outcome.err.startswith("gateway: line 3: not a JSON object in UTF-8")
    assert users(gateway_env) == []


def test_the_spellings_of_one_address_are_one_user(gateway_env: dict[str, str]) -> None:
    """T31: the same address in other letters, widths and normal forms is refused within a file, and known after it."""
    spellings = [
        "Zoë@Example.com",
        " ZOË@EXAMPLE.COM ",
        unicodedata.normalize("NFD", "zoë@example.com"),
        "\N{FULLWIDTH LATIN SMALL LETTER Z}oë@example.com",
    ]
    for other in spellings[1:]:
        outcome = bring(gateway_env, line(spellings[0]), line(other))
        assert outcome.status == 1
        assert "line 2: zoë@example.com is on line 1 too" in outcome.err
    assert bring(gateway_env, line(spellings[0])).status == 0
    for other in spellings[1:]:
        outcome = bring(gateway_env, line(other))
        assert (outcome.status, outcome.out) == (1, "imported: 0\nthere already: zoë@example.com\n")
    assert [user["email"] for user in users(gateway_env)] == ["zoë@example.com"]


def test_who_is_there_already_is_left_alone_and_the_others_come_in(gateway_env: dict[str, str]) -> None:
    added = here("users", "add", "ann@example.com", "--role", "admin", "--generate", env=gateway_env)
    assert added.status == 0
    before = stored_hash(gateway_env, "ann@example.com")
    outcome = bring(gateway_env, line("ann@example.com", roles=["staff"]), line("bob@example.com"), options=("--json",))
    assert outcome.status == 1
    assert json.loads(outcome.out) == {"imported": 1, "existing": ["ann@example.com"], "rejected": []}
    assert outcome.err == "gateway: 1 users were left as they are: their addresses are there already\n"
    assert stored_hash(gateway_env, "ann@example.com") == before
    assert [(user["email"], user["roles"]) for user in users(gateway_env)] == [
        ("ann@example.com", ["admin"]),
        ("bob@example.com", []),
    ]


def test_json_is_one_document_of_what_was_done(gateway_env: dict[str, str]) -> None:
    assert bring(gateway_env, line(), options=("--json",)).document == {"imported": 1, "existing": [], "rejected": []}
    outcome = bring(gateway_env, line("b@c.d"), "{}", options=("--json",))
    (rejected,) = json.loads(outcome.out)["rejected"]
    assert (outcome.status, rejected["line"]) == (1, 2)
    assert "email" in rejected["problem"]


def test_a_file_that_is_not_there_is_told(gateway_env: dict[str, str], tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.jsonl")
    assert_refused(here("users", "import", missing, env=gateway_env), 1, missing, "cannot be read")


def test_an_empty_file_imports_nobody(gateway_env: dict[str, str]) -> None:
    assert bring(gateway_env, "", "  ").out == "imported: 0\n"
