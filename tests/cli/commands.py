"""The command line in this process, which is quick, and in a process of its own, which is the real thing."""

import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from gateway import telemetry
from gateway.cli import main
from tests.harness import run_command

EMAIL = "ann@example.com"

# Every command that asks Redis, with arguments that are right.
COMMANDS_ON_REDIS = [
    ("users", "add", EMAIL, "--generate"),
    ("users", "invite", EMAIL),
    ("users", "reset", EMAIL),
    ("users", "list"),
    ("users", "show", EMAIL),
    ("users", "disable", EMAIL),
    ("users", "enable", EMAIL),
    ("users", "set-password", EMAIL, "--generate"),
    ("users", "roles", EMAIL, "staff"),
    ("users", "factors", EMAIL),
    ("users", "factors", EMAIL, "--reset"),
    ("users", "remove", EMAIL),
    ("sessions", "list", EMAIL),
    ("sessions", "revoke", EMAIL, "--all"),
    ("keys", "list"),
    ("keys", "rotate"),
    ("keys", "export"),
    ("clients", "add", "Service"),
    ("clients", "list"),
    ("clients", "new-secret", "cli_x"),
    ("clients", "remove", "cli_x"),
    ("audit",),
    ("doctor", "http://127.0.0.1:1/"),
    ("check",),
]


@dataclass(frozen=True)
class Outcome:
    """What a command has printed, its exit status, and the security events that it told on stderr."""

    status: int
    out: str
    err: str
    events: tuple[dict[str, Any], ...] = ()

    @property
    def document(self) -> Any:
        """Give the one JSON document on stdout; fails when there is anything else on stdout or stderr."""
        assert (self.status, self.err) == (0, "")
        return json.loads(self.out)


def here(*arguments: str, env: Mapping[str, str], stdin: str = "") -> Outcome:
    """Run `gateway ARGUMENTS` in this process, the exit status included."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    environ |= {name: value for name, value in env.items() if name.startswith("GATEWAY_")}
    with (
        mock.patch.dict(os.environ, environ, clear=True),  # noqa: TID251 - the environment of the command
        mock.patch.object(sys, "argv", ["gateway", *arguments]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
        mock.patch.object(telemetry, "configure_for_commands"),  # else the log of the tests would be gone too
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert isinstance(ended.value.code, int)
    return Outcome(ended.value.code, out.getvalue(), err.getvalue())


def in_process(*arguments: str, env: Mapping[str, str], stdin: str = "") -> Outcome:
    """Run `gateway ARGUMENTS` in a process of its own, without a terminal."""
    ended = run_command(*arguments, env=env, stdin=stdin)
    lines = ended.stderr.splitlines(keepends=True)
    told = [line for line in lines if '"logger":"gateway.audit"' in line]
    err = "".join(line for line in lines if line not in told)
    return Outcome(ended.returncode, ended.stdout, err, tuple(json.loads(line) for line in told))


def assert_refused(outcome: Outcome, status: int, *words: str) -> None:
    """See that a command told in one line on stderr what is wrong, *words* included, and nothing else anywhere."""
    assert (outcome.status, outcome.out) == (status, ""), outcome
    assert outcome.err.startswith("gateway: "), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.endswith("\n")
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, f"no {word!r} in: {outcome.err}"
