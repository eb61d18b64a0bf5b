import os
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.state import Gateway
from tests.cli.commands import EMAIL, Outcome, assert_refused, here, in_process
from tests.harness import PASSWORD, GatewayProcess, TestUser, in_gateway, wait_until

NEW_PASSWORD = "another horse battery staple"
REFUSED_WITHIN_SECONDS = 1.0

# A terminal for a command: what it writes there comes out of stdout, what is written to stdin is typed.
ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"

# One process for each address; they read their settings when all are there. Importing first and forking then is what
# makes them quick enough to meet.
ADD_ALL_AT_ONCE = """
import os, sys
import gateway.cli.users
from gateway.cli import main
waiting, last = os.pipe()
pids = []
for email in sys.argv[1:]:
    pids.append(os.fork())
    if not pids[-1]:
        os.close(last)
        os.read(waiting, 1)
        sys.argv = ["gateway", "users", "add", email, "--generate"]
        main()
os.close(last)
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""


def add(env: dict[str, str], email: str = EMAIL, *arguments: str) -> Outcome:
    return here("users", "add", email, *arguments, "--password-stdin", env=env, stdin=PASSWORD)


def shown(env: dict[str, str], email: str = EMAIL) -> dict[str, Any]:
    document: dict[str, Any] = here("users", "show", email, "--json", env=env).document
    return document


def everything(env: dict[str, str]) -> dict[str, dict[bytes, bytes]]:
    """All users as they are stored, password hashes included."""

    async def read(gateway: Gateway) -> dict[str, dict[bytes, bytes]]:
        keys = [key async for key in gateway.store.scan("*user:*")]
        return {key: await gateway.store.execute("HGETALL", key) for key in keys}

    return in_gateway(env, read)


@contextmanager
def session(gateway: GatewayProcess, user: TestUser) -> Iterator[tuple[httpx2.Client, dict[str, str]]]:
    """A client that is logged in, and the header with its access token."""
    with gateway.client() as client:
        yield client, {"Authorization": f"Bearer {gateway.login(user, client)['access_token']}"}


def assert_ends(gateway: GatewayProcess, user: TestUser, *arguments: str, stdin: str = "") -> Outcome:
    """Run a command beside the gateway and see that it ends the user's sessions at once."""
    with session(gateway, user) as (client, bearer):
        assert client.get("/api/authz/auth-request", headers=bearer).status_code == 200
        outcome = in_process(*arguments, env=gateway.env, stdin=stdin)
        assert (outcome.status, outcome.err) == (0, "")
        seconds = wait_until(
            lambda: client.get("/api/authz/auth-request", headers=bearer).status_code == 401,
            REFUSED_WITHIN_SECONDS,
            "the access token to be refused",
        )
        print(f"{arguments[1]}: access token refused {seconds * 1000:.0f} ms after the command")
        refused = client.post("/auth/refresh")
        assert (refused.status_code, refused.json()["type"]) == (
            401,
            "urn:token-gateway:problem:refresh-token-invalid",
        )
        assert client.get("/auth/me", headers=bearer).status_code == 401
    return outcome


def login_status(gateway: GatewayProcess, email: str, password: str) -> int:
    with gateway.client() as client:
        return client.post("/auth/login", json={"username": email, "password": password}).status_code


def test_add_prints_the_id_of_a_user_who_is_then_there(gateway_env: dict[str, str]) -> None:
    arguments = ("--name", " Ann Example ", "--role", "staff", "--role", "admin", "--role", "staff")
    outcome = in_process("users", "add", EMAIL, *arguments, "--password-stdin", env=gateway_env, stdin=PASSWORD)
    assert (outcome.status, outcome.err) == (0, "")
    label, _, user_id = outcome.out.rstrip("\n").partition("id: ")
    user = shown(gateway_env)
    assert label == ""
    assert user.pop("created_at").endswith("Z")
    assert user == {
        "id": user_id,
        "email": EMAIL,
        "full_name": "Ann Example",
        "roles": ["staff", "admin"],
        "is_active": True,
        "has_password": True,
    }
    assert here("users", "list", "--json", env=gateway_env).document["users"][0]["id"] == user_id
    for listing in (["users", "list"], ["users", "show", EMAIL]):
        table = here(*listing, env=gateway_env).out
        for text in (EMAIL, user_id, "Ann Example", "staff,admin", "yes"):
            assert text in table


def test_users_are_listed_by_address(gateway_env: dict[str, str]) -> None:
    for name in ("c", "a", "b"):
        add(gateway_env, f"{name}@example.com")
    emails = [user["email"] for user in here("users", "list", "--json", env=gateway_env).document["users"]]
    assert emails == ["a@example.com", "b@example.com", "c@example.com"]


def full_width(text: str) -> str:
    """The letters of East Asian typography, which NFKC makes plain ones."""
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


SPELLINGS = [
    "Zoé@Example.Com",
    unicodedata.normalize("NFD", "zoé@example.com"),
    full_width("zoé@example.com"),
    "zoé@example.com ",
    "\tZOÉ@EXAMPLE.COM\n",
    "\u3000zoé@example.com\u00a0",
]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
def test_an_address_is_the_same_however_it_is_spelt(gateway_env: dict[str, str], spelling: str) -> None:
    """NFKC, no white space around it, lower case: added in any spelling, found in any other."""
    assert add(gateway_env, spelling).status == 0
    user = shown(gateway_env, "zoé@example.com")
    assert user["email"] == "zoé@example.com"
    assert all(shown(gateway_env, other) == user for other in SPELLINGS)


@pytest.mark.parametrize("spelling", [EMAIL, " ANN@Example.Com ", full_width(EMAIL)])
def test_adding_somebody_who_is_there_fails_and_changes_nothing(gateway_env: dict[str, str], spelling: str) -> None:
    add(gateway_env, EMAIL, "--role", "staff")
    before = everything(gateway_env)
    outcome = here("users", "add", spelling, "--name", "Other", "--role", "x", "--generate", env=gateway_env)
    assert_refused(outcome, 1, f"{EMAIL} is there already", "gateway users show")
    assert everything(gateway_env) == before


def test_a_generated_password_is_printed_once_and_logs_in(gateway: GatewayProcess) -> None:
    email = f"generated-{time.monotonic_ns()}@example.com"
    for command in ("add", "set-password"):
        outcome = in_process("users", command, email, "--generate", env=gateway.env)
        [id_line, password_line] = outcome.out.splitlines()
        assert id_line.startswith("id: usr_")
        password = password_line.removeprefix("password: ")
        assert len(password) >= 20
        assert login_status(gateway, email, password) == 200
        assert password not in outcome.err
        assert password not in in_process("users", "show", email, env=gateway.env).out


@pytest.mark.parametrize(
    ("typed", "password"),
    [
        (f"{PASSWORD}\n", PASSWORD),
        (f"{PASSWORD}\r\n", PASSWORD),
        (f"  {PASSWORD}  ", f"  {PASSWORD}  "),
        (f"{PASSWORD}\nsecond line\n", f"{PASSWORD}\nsecond line"),
        (unicodedata.normalize("NFD", "pässwörd, längèr"), "pässwörd, längèr"),
    ],
    ids=repr,
)
def test_a_password_on_standard_input_counts_whole_but_for_the_last_line_end(
    gateway: GatewayProcess, typed: str, password: str
) -> None:
    email = f"typed-{time.monotonic_ns()}@example.com"
    assert here("users", "add", email, "--password-stdin", env=gateway.env, stdin=typed).status == 0
    assert login_status(gateway, email, password) == 200


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "too short"),
        ("a" * 14, "too short: 14 characters, password_min_length is 15"),
        ("é" * 513, "over 1024 bytes"),
        (f"my address is {EMAIL}", "contains the e-mail address"),
        ("passwordpassword", "most used passwords"),
    ],
)
def test_a_password_that_is_not_good_enough_is_refused_with_the_reason(
    gateway_env: dict[str, str], typed: str, words: str
) -> None:
    outcome = here("users", "add", EMAIL, "--password-stdin", env=gateway_env, stdin=typed)
    assert_refused(outcome, 1, "this password is not acceptable", words)
    assert not everything(gateway_env)
    add(gateway_env)
    before = everything(gateway_env)
    assert_refused(here("users", "set-password", EMAIL, "--password-stdin", env=gateway_env, stdin=typed), 1, words)
    assert everything(gateway_env) == before


def test_a_password_that_is_no_text_is_refused(gateway_env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "gateway", "users", "add", EMAIL, "--password-stdin"]
    ended = subprocess.run(command, env=gateway_env, input=b"\xff" * 20, capture_output=True, timeout=30)
    assert_refused(Outcome(ended.returncode, "", ended.stderr.decode()), 1, "not UTF-8")


@pytest.mark.parametrize("command", ["add", "set-password"])
def test_without_a_terminal_the_password_is_not_asked_for(gateway_env: dict[str, str], command: str) -> None:
    """Nor read from standard input, unless that was asked for."""
    outcome = in_process("users", command, EMAIL, env=gateway_env, stdin=f"{PASSWORD}\n")
    assert_refused(outcome, 2, "no terminal", "--password-stdin or --generate")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-c", ON_A_TERMINAL, sys.executable, "-m", "gateway", *arguments]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.transcript = ""

    def answer(self, prompt: str, typed: str) -> None:
        """Wait for a prompt and type."""
        assert self.process.stdout
        assert self.process.stdin
        seen = len(self.transcript)
        while prompt not in self.transcript[seen:]:
            octets = os.read(self.process.stdout.fileno(), 1024)
            assert octets, f"ended without {prompt!r}: {self.transcript}"
            self.transcript += octets.decode()
        self.process.stdin.write(typed.encode())
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end and give the exit status."""
        out, _ = self.process.communicate(timeout=30)
        self.transcript += out.decode()
        return self.process.returncode


@pytest.fixture
def terminal(gateway_env: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(gateway_env, *arguments))
        return opened[-1]

    yield start
    for one in opened:
        with one.process:
            one.process.kill()


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(
    gateway_env: dict[str, str], terminal: Callable[..., Terminal]
) -> None:
    """Two passwords that differ are asked for again."""
    command = terminal("users", "add", EMAIL)
    command.answer("Password: ", f"{PASSWORD}\n")
    command.answer("Repeat for confirmation: ", f"{NEW_PASSWORD}\n")
    command.answer("Password: ", f"{PASSWORD}\n")
    command.answer("Repeat for confirmation: ", f"{PASSWORD}\n")
    assert command.end() == 0
    assert f"id: {shown(gateway_env)['id']}" in command.transcript
    assert "horse" not in command.transcript


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
def test_a_prompt_can_be_left(gateway_env: dict[str, str], terminal: Callable[..., Terminal], key: str) -> None:
    add(gateway_env)
    before = everything(gateway_env)
    command = terminal("users", "set-password", EMAIL)
    command.answer("Password: ", key)
    assert command.end() == 1
    assert command.transcript.split() == ["Password:", "gateway:", "interrupted"]
    assert everything(gateway_env) == before


NO_ADDRESSES = [
    "",
    " ",
    "ann",
    "@example.com",
    "ann@",
    "a@b@c",
    "ann smith@example.com",
    "ann@exa\nmple.com",
    "a\x00@example.com",
    "ann@example.com\x1b[31m",
    "a" * 250 + "@x.org",
    "\udcff@example.com",
]


@pytest.mark.parametrize("email", NO_ADDRESSES, ids=lambda email: ascii(email)[:30])
def test_what_is_no_address_is_refused(gateway_env: dict[str, str], email: str) -> None:
    assert_refused(here("users", "add", email, "--generate", env=gateway_env), 1, "is not an e-mail address")
    assert not everything(gateway_env)


@pytest.mark.parametrize("role", ["", "Admin", "a b", ".a", "a" * 65, "a,b", "é", "a\r\nX: 1"], ids=ascii)
def test_what_is_no_role_is_refused(gateway_env: dict[str, str], role: str) -> None:
    assert_refused(here("users", "add", EMAIL, "--role", role, "--generate", env=gateway_env), 1, "is not a role")
    assert not everything(gateway_env)
    add(gateway_env, EMAIL, "--role", "staff")
    assert_refused(here("users", "roles", EMAIL, "admin", role, env=gateway_env), 1, "is not a role")
    assert shown(gateway_env)["roles"] == ["staff"]


@pytest.mark.parametrize("name", ["a\nb", "a\x00b", "n" * 201, "\x1b[31m", "\udcff"], ids=lambda name: ascii(name)[:20])
def test_what_is_no_name_is_refused(gateway_env: dict[str, str], name: str) -> None:
    assert_refused(here("users", "add", EMAIL, "--name", name, "--generate", env=gateway_env), 1, "a name has")
    assert not everything(gateway_env)


def test_of_twenty_who_add_one_address_at_once_exactly_one_succeeds(gateway_env: dict[str, str]) -> None:
    spellings = [EMAIL, " ANN@example.com", full_width(EMAIL), "Ann@Example.COM"] * 5
    command = [sys.executable, "-c", ADD_ALL_AT_ONCE, *spellings]
    ended = subprocess.run(command, env=gateway_env, capture_output=True, text=True, timeout=60)
    *printed, statuses = ended.stdout.splitlines()
    assert sorted(statuses.split()) == ["0"] + ["1"] * 19
    refusal = f"gateway: {EMAIL} is there already: see `gateway users show {EMAIL}`"
    # On a crowded machine some may not get an answer of Redis in time.
    refusals = [line for line in ended.stderr.splitlines() if "Redis does not serve" not in line]
    refusals = [line for line in refusals if "user_added" not in line]
    assert refusals
    assert set(refusals) == {refusal}
    [listed] = here("users", "list", "--json", env=gateway_env).document["users"]
    assert printed[0] == f"id: {listed['id']}"
    assert len(printed) == 2


def test_a_new_password_ends_all_sessions_at_once_and_is_the_only_one_that_logs_in(gateway: GatewayProcess) -> None:
    """Shows NIST 3.1.1.2-6."""
    user = gateway.add_user()
    assert_ends(gateway, user, "users", "set-password", user.email, "--password-stdin", stdin=NEW_PASSWORD)
    assert login_status(gateway, user.email, PASSWORD) == 401
    assert login_status(gateway, user.email, NEW_PASSWORD) == 200


def test_a_disabled_user_is_out_at_once_and_stays_out_until_enabled(gateway: GatewayProcess) -> None:
    """Shows ASVS 7.4.2."""
    user = gateway.add_user()
    outcome = assert_ends(gateway, user, "users", "disable", user.email)
    assert outcome.out == "disabled; sessions ended: 1\n"
    assert shown(gateway.env, user.email)["is_active"] is False
    assert login_status(gateway, user.email, PASSWORD) == 401
    assert here("users", "disable", user.email, env=gateway.env).out == "disabled; sessions ended: 0\n"
    assert here("users", "enable", user.email, env=gateway.env).out == "enabled\n"
    assert login_status(gateway, user.email, PASSWORD) == 200


def test_a_removed_user_is_out_at_once_and_the_address_is_free_again(gateway: GatewayProcess) -> None:
    """Shows ASVS 7.4.2, ASVS 10.3.3."""
    user = gateway.add_user()
    outcome = assert_ends(gateway, user, "users", "remove", user.email)
    assert outcome.out == "removed; sessions ended: 1\n"
    assert login_status(gateway, user.email, PASSWORD) == 401
    assert_refused(here("users", "show", user.email, env=gateway.env), 1, "there is no user")
    assert add(gateway.env, user.email).status == 0
    assert shown(gateway.env, user.email)["id"] != user.user_id


def test_new_roles_replace_the_old_ones_and_hold_from_the_next_refresh_on(gateway: GatewayProcess) -> None:
    user = gateway.add_user(roles=("staff",))
    with session(gateway, user) as (client, bearer):
        assert here("users", "roles", user.email, "admin", "ops:night", env=gateway.env).status == 0
        assert client.get("/api/authz/auth-request", headers=bearer).headers["Remote-Groups"] == "staff"
        bearer = {"Authorization": f"Bearer {client.post('/auth/refresh').json()['access_token']}"}
        assert client.get("/api/authz/auth-request", headers=bearer).headers["Remote-Groups"] == "admin,ops:night"
    assert here("users", "roles", user.email, env=gateway.env).status == 0
    assert shown(gateway.env, user.email)["roles"] == []


def test_the_commands_work_on_a_private_redis_that_nobody_serves_from(tmp_path: Path) -> None:
    env = {"GATEWAY_DATA_DIR": str(tmp_path / "data")}
    user_id = here("users", "add", EMAIL, "--generate", "--json", env=env).document["id"]
    assert [user["id"] for user in here("users", "list", "--json", env=env).document["users"]] == [user_id]
    assert here("users", "remove", EMAIL, env=env).status == 0
    assert here("users", "list", "--json", env=env).document == {"users": []}
