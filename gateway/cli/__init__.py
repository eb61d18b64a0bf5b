"""
The command `gateway`.

Exit status: 0 done, 1 it failed, 2 usage, 3 could not start (settings, Redis, keys). An error is one line on
stderr that says how to mend it; of `serve`, whose stderr is the log, with `log_format = json` a JSON object.
"""

import atexit
import difflib
import gc
import importlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from gateway import __version__
from gateway.cli.core_dumps import forbid_core_dumps
from gateway.errors import CommandError, Overloaded, StoreUnavailable
from gateway.settings import LoadedSettings, chosen_log_format, load_settings

SUBCOMMANDS = {
    "serve": "gateway.cli.serve:serve",
    "users": "gateway.cli.users:users",
    "sessions": "gateway.cli.sessions:sessions",
    "tokens": "gateway.cli.tokens:tokens",
    "keys": "gateway.cli.keys:keys",
    "clients": "gateway.cli.clients:clients",
    "audit": "gateway.cli.audit:audit",
    "doctor": "gateway.cli.doctor:doctor",
    "check": "gateway.cli.check:check",
    "healthcheck": "gateway.cli.check:healthcheck",
    "config": "gateway.cli.config:config",
}

ARGUMENTS = {
    "EMAIL": "E-mail address of the user, in any spelling.",
    "SESSION_ID": "Id of a session, as `gateway sessions list` shows it.",
    "TOKEN_ID": "Id of a personal token, as `gateway tokens list` shows it.",
    "ROLE...": "All roles that the user is to have.",
    "FILE": "Path of the file to read.",
    "NAME": "What the client is, for people.",
    "CLIENT_ID": "Id of a machine client, as `gateway clients list` shows it.",
    "URL": "Of a page that is protected, as browsers open it: https://app.example.com/",
}


@dataclass
class Invocation:
    """
    What all parts of one run of the command share.

    Attributes:
        config: The file that the option `--config` names.
        logs_json: Whether what goes wrong is told as JSON: by `serve`, whose stderr is the log.
    """

    config: str | None = None
    logs_json: bool = False


class Command(click.Command):
    """A command whose help explains its arguments, too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each argument is, and the options."""
        names = [one.make_metavar(ctx).strip("[]") for one in self.params if isinstance(one, click.Argument)]
        if names:
            with formatter.section("Arguments"):
                formatter.write_dl([(name, ARGUMENTS[name]) for name in names])
        super().format_options(ctx, formatter)


class Group(click.Group):
    """A command with subcommands, which names the one that was meant when there is none of a name."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Give the subcommand that *args* begin with, and the rest of them. Raises `UsageError`."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        likely = [f"{ctx.command_path} {one}" for one in difflib.get_close_matches(name, self.list_commands(ctx), 1)]
        likely += [
            f"{ctx.command_path} {one} {name}"
            for one in self.list_commands(ctx)
            if isinstance(group := self.get_command(ctx, one), click.Group) and name in group.commands
        ]
        mend = (
            f"did you mean `{'` or `'.join(likely)}`?" if likely else f"there are {', '.join(self.list_commands(ctx))}"
        )
        raise click.UsageError(f"No such command '{name}': {mend}", ctx)


class _LazyGroup(Group):
    """Imports a subcommand when it is asked for, so that each starts quickly."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None  # click itself would write an empty line first

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, name = SUBCOMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
@click.option("--config", "config_file", metavar="FILE", help="TOML file with settings; also GATEWAY_CONFIG.")
@click.pass_context
def cli(ctx: click.Context, config_file: str | None) -> None:
    """
    Log people in, rotate refresh tokens, and let everybody verify access tokens offline.

    Settings come from flags, the environment (GATEWAY_...) and the TOML file; `gateway config show` tells which are in
    force. Exit status: 0 done, 1 it failed, 2 wrong usage, 3 could not start (settings, Redis, keys).
    """
    ctx.ensure_object(Invocation).config = config_file


def settings_for(ctx: click.Context, **flags: Any) -> LoadedSettings:
    """Load the settings for a command. Raises `StartupError` when one of them is wrong."""
    given = {name: value for name, value in flags.items() if value is not None}
    ctx.obj.config = given.get("config", ctx.obj.config)
    return load_settings(given if ctx.obj.config is None else {**given, "config": ctx.obj.config}, environ())


def json_is_chosen(ctx: click.Context, config: str | None) -> bool:
    """Tell whether `log_format` is set to `json`, also where the settings are wrong otherwise."""
    return chosen_log_format({"config": config or ctx.obj.config}, environ()) == "json"


def main() -> None:
    """Run the command line."""
    forbid_core_dumps()
    # Else the interpreter looks for circles in all that was imported before it ends: a third of a command's time.
    atexit.register(gc.freeze)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may have letters that the terminal has not
    invocation = Invocation()
    try:
        status = cli.main(standalone_mode=False, obj=invocation)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        _fail(invocation, " ".join(error.format_message().split()) + hint, 2)
    except click.exceptions.Abort:
        _fail(invocation, "interrupted", 1)
    except CommandError as error:
        _fail(invocation, str(error), error.exit_status)
    except StoreUnavailable as error:
        cause = error.__cause__
        _fail(
            invocation, f"Redis does not serve ({type(cause).__name__}: {cause}): try again, and see `gateway check`", 1
        )
    except Overloaded:
        _fail(invocation, "too many passwords are being hashed: try again", 1)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else what could not be written fails once more at the end
        _fail(invocation, str(error), 1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(invocation: Invocation, message: str, exit_status: int) -> None:
    line = " ".join(message.split())
    if invocation.logs_json:
        from gateway.telemetry import json_line  # of `serve` alone, so that other commands need not load it

        click.echo(json_line(line), err=True)
    else:
        click.echo(f"gateway: {line}", err=True)
    sys.exit(exit_status)


def environ() -> Mapping[str, str]:
    """Give the environment of the process."""
    return os.environ  # noqa: TID251 - the one place that reads it
