import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gateway import __version__
from gateway.cli import cli, main
from tests.cli.commands import COMMANDS_ON_REDIS, EMAIL, assert_refused, here, in_process
from tests.harness import SECRET, RedisServer, add_user, environment, free_port

ALL_COMMANDS = [*COMMANDS_ON_REDIS, ("healthcheck",), ("config", "show"), ("serve",)]

CONTRACT = {
    "serve": "--host --port --workers --config",
    "users add": "--name --role --password-stdin --generate",
    "users invite": "--name --role",
    "users reset": "",
    "users list": "--json",
    "users show": "--json",
    "users disable": "",
    "users enable": "",
    "users set-password": "--password-stdin --generate",
    "users roles": "",
    "users remove": "",
    "sessions list": "--json",
    "sessions revoke": "--all",
    "keys list": "--json",
    "keys rotate": "--force --compromised",
    "keys import": "",
    "keys export": "--pem",
    "doctor": "--role --application --insecure --json",
    "check": "--json",
    "healthcheck": "",
    "config show": "--json",
}

WRONG_USAGE = [
    (["frobnicate"], "No such command 'frobnicate'"),
    (["user"], "did you mean `gateway users`?"),
    (["helthcheck"], "did you mean `gateway healthcheck`?"),
    (["rotate"], "did you mean `gateway keys rotate`?"),
    (["users", "lsit"], "did you mean `gateway users list`?"),
    (["keys", "exprt"], "did you mean `gateway keys export`?"),
    (["users", "frobnicate"], "there are add, disable, enable"),
    (["serve", "--prot", "1"], "--port"),
    (["--frobnicate"], "No such option '--frobnicate'"),
    (["users", "frobnicate"], "gateway users --help"),
    (["users", "show"], "Missing argument 'EMAIL'"),
    (["users", "show", EMAIL, "another"], "unexpected extra argument"),
    (["users", "list", "--frobnicate"], "gateway users list --help"),
    (["users", "add"], "Missing argument 'EMAIL'"),
    (["users", "add", EMAIL], "--password-stdin or --generate"),
    (["users", "add", EMAIL, "--password-stdin", "--generate"], "not both"),
    (["users", "set-password", EMAIL], "--password-stdin or --generate"),
    (["users", "set-password", EMAIL, "--password-stdin", "--generate"], "not both"),
    (["sessions", "revoke", EMAIL], "SESSION_ID"),
    (["sessions", "revoke", EMAIL, "A" * 22, "--all"], "--all"),
    (["keys", "rotate", "--force", "--compromised"], "not both"),
    (["keys", "import"], "Missing argument 'FILE'"),
    (["keys", "import", "/"], "is a directory"),
    (["doctor"], "Missing argument 'URL'"),
    (["doctor", "app.example.com"], "write it as https://app.example.com/"),
    (["doctor", "http://h/", "--application", "127.0.0.1:3000"], "'--application'"),
    (["serve", "--port", "many"], "'many' is not a valid integer"),
    (["serve", "now"], "unexpected extra argument"),
    (["config", "show", "--config", "gateway.toml"], "No such option '--config'"),
]


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child
        yield from leaves(child, (*path, name))


def test_every_command_and_option_of_the_contract_is_there() -> None:
    found = {path: {name for option in command.params for name in option.opts} for path, command in leaves(cli)}
    for path, options in CONTRACT.items():
        assert set(options.split()) <= found[path], path


def test_every_command_explains_itself_and_each_of_its_options() -> None:
    """`--help` asks neither Redis nor the settings."""
    for path, command in leaves(cli):
        shown = CliRunner(env={"GATEWAY_NONSENSE": "1"}).invoke(cli, [*path.split(), "--help"])
        assert shown.exit_code == 0, path
        assert shown.output.startswith(f"Usage: cli {path}")
        assert command.help, path
        for argument in command.params:
            if isinstance(argument, click.Argument):
                name = argument.make_metavar(click.Context(command)).strip("[]")
                assert f"\n  {name}  " in shown.output.partition("Arguments:")[2], path
        assert all(option.help for option in command.params if isinstance(option, click.Option)), path


@pytest.mark.parametrize(("arguments", "words"), WRONG_USAGE, ids=[" ".join(line) for line, _ in WRONG_USAGE])
def test_wrong_usage_is_told_in_one_line_with_exit_status_2(arguments: list[str], words: str) -> None:
    assert_refused(here(*arguments, env={}), 2, words, "--help")


@pytest.mark.parametrize("group", [(), ("users",), ("sessions",), ("keys",), ("config",)])
def test_a_group_without_a_command_shows_its_commands_with_exit_status_2(group: tuple[str, ...]) -> None:
    outcome = here(*group, env={})
    assert (outcome.status, outcome.err) == (2, "")
    assert "Commands:" in outcome.out


@pytest.mark.parametrize("arguments", ALL_COMMANDS, ids=" ".join)
def test_every_command_stops_at_an_unknown_setting(arguments: tuple[str, ...]) -> None:
    assert_refused(here(*arguments, env={"GATEWAY_REDIS_ULR": "x"}), 3, "GATEWAY_REDIS_ULR", "GATEWAY_REDIS_URL")


@pytest.mark.parametrize("arguments", COMMANDS_ON_REDIS, ids=" ".join)
def test_every_command_says_when_redis_is_away(arguments: tuple[str, ...]) -> None:
    env = environment(redis_url=f"redis://:canary-password@127.0.0.1:{free_port()}", secret=SECRET)
    outcome = here(*arguments, env=env)
    assert_refused(outcome, 3, "Redis", "redis_url")
    assert "canary" not in outcome.err


@pytest.mark.parametrize("arguments", COMMANDS_ON_REDIS, ids=" ".join)
def test_every_command_refuses_a_secret_that_the_keys_are_not_sealed_under(
    gateway_env: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """A password that is set under it would be of no use to the gateways. Shows ASVS 8.4.2."""
    here("keys", "list", env=gateway_env)
    other = gateway_env | {"GATEWAY_SECRET": "fN3vQ8xK-another-one-2Zr7Lw0TbYpJc"}
    outcome = here(*arguments, env=other)
    assert_refused(outcome, 3, "secret", "previous_secrets")
    assert "fN3vQ8xK" not in outcome.err
    assert here("users", "list", "--json", env=gateway_env).document == {"users": []}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_every_command_refuses_a_redis_that_drops_keys(own_redis: Callable[..., RedisServer], policy: str) -> None:
    server = own_redis("--maxmemory-policy", policy)
    for arguments in COMMANDS_ON_REDIS:
        outcome = here(*arguments, env=environment(redis_url=server.url, secret=SECRET))
        assert_refused(outcome, 3, policy, "CONFIG SET maxmemory-policy noeviction")
    assert b":0" in server.command("DBSIZE")


def test_a_redis_that_refuses_to_write_is_told_and_nothing_is_half_done(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis("--maxmemory", "1")
    env = environment(redis_url=server.url, secret=SECRET)
    for arguments in (["users", "add", EMAIL, "--generate"], ["keys", "list"]):
        assert_refused(here(*arguments, env=env), 1, "Redis does not serve", "maxmemory", "gateway check")
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert here("users", "list", "--json", env=env).document == {"users": []}


@pytest.mark.parametrize(
    "arguments", [line for line in COMMANDS_ON_REDIS if EMAIL in line and not {"add", "invite"} & set(line)]
)
def test_every_command_says_when_there_is_no_such_user(gateway_env: dict[str, str], arguments: tuple[str, ...]) -> None:
    assert_refused(here(*arguments, env=gateway_env), 1, f"there is no user {EMAIL}", "gateway users list")


def test_the_exit_status_of_a_real_process_tells_what_happened(gateway_env: dict[str, str]) -> None:
    """0 done, 1 it failed, 2 usage, 3 could not start."""
    done = in_process("--version", env=gateway_env)
    assert (done.status, done.out, done.err) == (0, f"gateway, version {__version__}\n", "")
    assert_refused(in_process("users", "show", EMAIL, env=gateway_env), 1, EMAIL)
    assert_refused(in_process("users", "show", env=gateway_env), 2, "gateway users show --help")
    assert_refused(in_process("users", "list", env=gateway_env | {"GATEWAY_PORT": "0"}), 3, "port = 0", "1 to 65535")


def test_the_command_gateway_is_what_python_runs_as_a_module() -> None:
    [script] = entry_points(group="console_scripts", name="gateway")
    assert script.load() is main


def test_json_is_one_document_and_nothing_else(gateway_env: dict[str, str]) -> None:
    made = here("users", "add", EMAIL, "--generate", "--json", env=gateway_env).document
    assert set(made) == {"id", "email", "password"}
    again = here("users", "set-password", EMAIL, "--generate", "--json", env=gateway_env).document
    assert again["password"] != made["password"]
    listings = [
        ["users", "list"],
        ["users", "show", EMAIL],
        ["sessions", "list", EMAIL],
        ["keys", "list"],
        ["check"],
        ["config", "show"],
    ]
    for arguments in listings:
        assert isinstance(here(*arguments, "--json", env=gateway_env).document, dict), arguments
    assert in_process("users", "list", "--json", env=gateway_env).document["users"][0]["email"] == EMAIL


def output_to(stdout: Any, gateway_env: dict[str, str], **variables: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "gateway", "users", "list"]
    return subprocess.run(command, env=gateway_env | variables, stdout=stdout, stderr=subprocess.PIPE, timeout=30)


def test_output_that_cannot_be_written_is_told_in_one_line(gateway_env: dict[str, str]) -> None:
    with open("/dev/full", "wb") as full:
        ended = output_to(full, gateway_env)
    assert (ended.returncode, ended.stderr) == (1, b"gateway: [Errno 28] No space left on device\n")


def test_a_reader_who_has_seen_enough_is_no_error_to_speak_of(gateway_env: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = output_to(writing, gateway_env)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_a_name_that_the_terminal_cannot_write_is_written_in_another_way(gateway_env: dict[str, str]) -> None:
    add_user(gateway_env, name="Zoë 漢")
    ended = output_to(subprocess.PIPE, gateway_env, PYTHONIOENCODING="latin-1")
    assert ended.returncode == 0
    assert b"Zo\xeb \\u6f22" in ended.stdout
