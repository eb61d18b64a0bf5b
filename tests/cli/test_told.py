"""What commands tell beside what they print: security events, how far they have come, and whose a file is."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.errors import InvalidCredentials
from gateway.state import Gateway
from tests.cli.commands import EMAIL, here, in_process
from tests.harness import RedisServer, environment, in_gateway

BCRYPT = "$2b$04$w6t1no6GWXZPtigiAAliMe/R4lvRVWIWLgBcfVbBLX/eUPKhTM4ii"
SID = "x" * 22
MANY = 12_000
ENOUGH = 2000
NOBODY = 65_534
# All is read before, since the interpreter may lie where nobody else may look.
AS_NOBODY = f"""
import os, gateway.cli.check, gateway.cli.users
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
gateway.cli.main()
"""


def write_users(file: Path, count: int) -> Path:
    rows = ({"email": f"user{number}@example.com", "password_hash": BCRYPT} for number in range(count))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def start(env: dict[str, str], *arguments: str, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)


def count_users(env: dict[str, str]) -> int:
    return len(here("users", "list", "--json", env=env).document["users"])


def test_every_change_by_a_command_is_told_in_the_form_of_the_log_and_kept(
    gateway_env: dict[str, str], tmp_path: Path
) -> None:
    """One line and one entry each, with the same members, and nothing that is secret."""
    env, secret, others = gateway_env, "a canary of a pass phrase", "bob@example.com"
    in_gateway(env, lambda parts: parts.keyring.open())
    file = tmp_path / "users.jsonl"
    file.write_text(json.dumps({"email": "carl@example.com", "password_hash": BCRYPT}))
    key = tmp_path / "key.pem"
    made = rsa.generate_private_key(65537, 2048)
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    steps = [
        (("users", "add", EMAIL, "--password-stdin"), "user_added", None),
        (("users", "import", str(file)), "user_added", "imported"),
        (("users", "invite", others), "user_invited", None),
        (("users", "reset", EMAIL), "user_invited", "reset"),
        (("users", "roles", EMAIL, "staff"), "user_changed", "roles"),
        (("users", "unlock", EMAIL), "user_changed", "unlocked"),
        (("users", "disable", EMAIL), "user_changed", "disabled"),
        (("users", "enable", EMAIL), "user_changed", "enabled"),
        (("users", "set-password", EMAIL, "--generate"), "password_changed", "set-by-command"),
        (("sessions", "revoke", EMAIL, SID), "sessions_revoked", "by-command"),
        (("sessions", "revoke", EMAIL, "--all"), "sessions_revoked", "all-by-command"),
        (("keys", "import", str(key)), "key_imported", None),
        (("keys", "rotate", "--force"), "key_rotated", "forced"),
        (("keys", "rotate", "--compromised"), "key_rotated", "compromised"),
        (("users", "remove", EMAIL), "user_removed", None),
    ]
    lines = []
    for command, event, reason in steps:
        if command[1:2] in (("unlock",), ("revoke",)):
            in_gateway(env | {"GATEWAY_ACCOUNT_THROTTLE": "on"}, _fail_and_open)
        outcome = in_process(*command, env=env, stdin=secret)
        assert (outcome.status, bool(outcome.err)) == (0, "--compromised" in command), outcome
        [told] = outcome.events
        assert (told["event"], told["outcome"], told.get("reason")) == (event, "success", reason)
        assert ("sub" in told) != ("kid" in told)
        assert ("sid" in told) == (SID in command)
        lines.append({name: text for name, text in told.items() if name not in ("level", "logger", "message")})
        printed = re.findall(r"(?:password: |code=)(\S+)", outcome.out)
        assert [word for word in (EMAIL, others, secret, *printed) if word in json.dumps(told)] == [], outcome.out
    first, *entries = _entries(env)
    assert (first["event"], first["reason"]) == ("key_rotated", "first")
    assert entries == lines
    for command in (("users", "list"), ("users", "unlock", others), ("keys", "rotate")):
        assert in_process(*command, env=env).events == ()
    text = in_process("users", "add", EMAIL, "--generate", env=env | {"GATEWAY_LOG_FORMAT": "text"})
    assert re.fullmatch(r"\S+ info {4}audit event=user_added sub=usr_\S{22} outcome=success\n", text.err)
    quiet = in_process("users", "remove", EMAIL, env=env | {"GATEWAY_LOG_LEVEL": "warning"})
    assert (quiet.status, quiet.err, quiet.events) == (0, "", ())
    assert [entry["event"] for entry in _entries(env)[1 + len(lines) :]] == ["user_added", "user_removed"]


async def _fail_and_open(parts: Gateway) -> None:
    """Let somebody guess wrong, and log in under a session id that the test knows."""
    with contextlib.suppress(InvalidCredentials):
        async with parts.guessing.login(EMAIL, None):
            raise InvalidCredentials
    user = await parts.users.find(EMAIL)
    assert user
    await parts.families.open(user.user_id, user.password_version, SID, "", "")


def _entries(env: dict[str, str]) -> list[dict[str, str]]:
    async def work(parts: Gateway) -> list[Any]:
        found: list[Any] = await parts.store.execute("XREVRANGE", parts.store.key("audit"), "+", "-")
        return found

    return [
        {name.decode(): text.decode() for name, text in fields.items()} for _, fields in reversed(in_gateway(env, work))
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_tells_what_it_has_done_and_is_taken_up_again(
    gateway_env: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    file = write_users(tmp_path / "users.jsonl", ENOUGH)
    process = start(gateway_env, "users", "import", str(file))
    assert process.stderr
    assert "user_added" in process.stderr.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    last = err.splitlines()[-1]
    told = re.fullmatch(r"gateway: interrupted: (\d+) of 2000 users were imported; .*", last)
    assert told, err[-500:]
    assert (process.returncode, out) == (1, f"imported: {told[1]}\n")
    assert int(told[1]) <= count_users(gateway_env) <= int(told[1]) + 1
    assert 0 < int(told[1]) < ENOUGH
    again = in_process("users", "import", str(file), env=gateway_env)
    assert "were left as they are" in again.err
    assert count_users(gateway_env) == ENOUGH


def test_an_import_whose_redis_goes_away_tells_what_it_has_done(
    own_redis: Callable[..., RedisServer], gateway_env: dict[str, str], tmp_path: Path
) -> None:
    server = own_redis()
    process = start(
        gateway_env | {"GATEWAY_REDIS_URL": server.url}, "users", "import",
        str(write_users(tmp_path / "users.jsonl", ENOUGH)),
    )  # fmt: skip
    assert process.stderr
    assert "user_added" in process.stderr.readline()
    server.kill()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert re.fullmatch(
        r"gateway: Redis does not serve \(.*\): \d+ of 2000 users were imported; .*", err.split("\n")[-2]
    )


def test_a_long_command_tells_on_a_terminal_how_far_it_has_come(gateway_env: dict[str, str], tmp_path: Path) -> None:
    file = write_users(tmp_path / "users.jsonl", MANY)
    ours, theirs = pty.openpty()
    process = start(gateway_env, "users", "import", str(file), stderr=theirs)
    os.close(theirs)
    seen = b""
    while not re.search(rb"gateway: looked for \d+ of 12000 users[^$]*gateway: imported \d+ of 12000 users", seen):
        seen = seen[-2000:] if b"looked for" not in seen else seen[seen.rindex(b"gateway: looked for") :]
        seen += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    with os.fdopen(ours, "rb") as rest:
        try:
            while rest.read(65536):
                pass
        except OSError:
            pass  # the other end is closed
    process.communicate(timeout=30)


def test_a_password_that_is_too_short_is_told_by_both_numbers(gateway_env: dict[str, str]) -> None:
    password = "e\u0301" * 9
    refused = here("users", "add", EMAIL, "--password-stdin", env=gateway_env, stdin=password)
    assert "it is too short: 9 characters, password_min_length is 15" in refused.err


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be another user")
def test_files_of_another_user_are_told_as_such(tmp_path: Path, gateway_env: dict[str, str]) -> None:
    for folder in (*tmp_path.parents, tmp_path):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)

    def as_nobody(*arguments: str, **settings: object) -> str:
        # Nobody may not write what the coverage of this process is kept in.
        env = {name: value for name, value in environment(**settings).items() if not name.startswith("COVERAGE")}
        ended = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *arguments], env=env,
            capture_output=True, text=True, timeout=30, cwd="/",
        )  # fmt: skip
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert ended.stderr.startswith("gateway: ")
        return ended.stderr

    of_root = tmp_path / "data"
    assert in_process("users", "list", env=environment(data_dir=of_root)).status == 0
    told = as_nobody("users", "list", data_dir=of_root)
    assert f"{of_root} belongs to root, this is nobody" in told
    assert f"chown -R nobody {of_root}" in told
    for path in of_root.rglob("*"):
        os.chown(path, NOBODY, NOBODY)
    os.chown(of_root, NOBODY, NOBODY)
    [log, *_] = (of_root / "redis" / "appendonlydir").glob("*.incr.aof")
    os.chown(log, 0, 0)
    assert f"{log} belongs to root, this is nobody" in as_nobody("check", data_dir=of_root)
    os.chown(of_root / "secret", 0, 0)
    assert f"{of_root}/secret belongs to root, this is nobody" in as_nobody("check", data_dir=of_root)
    file = tmp_path / "gateway.toml"
    file.write_text("")
    file.chmod(0o600)
    assert f"{file} belongs to root, this is nobody" in as_nobody("check", config=file)
    assert f"{file} belongs to root, this is nobody" in as_nobody("users", "import", str(file))
