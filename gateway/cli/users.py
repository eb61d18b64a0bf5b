"""
gateway users ...: the accounts. Nothing here is done over HTTP; it takes Redis and the secret.

One file, since it is one noun: a command is a few lines each.
"""

import sys
from typing import Any

import click

from gateway.accounts import (
    User,
    check_email,
    check_name,
    check_new_password,
    check_roles,
    generate_password,
    length_of,
)
from gateway.cli import Group
from gateway.cli.connection import run_with_gateway
from gateway.cli.factors import factors
from gateway.cli.import_users import import_users
from gateway.cli.invitations import invite, reset
from gateway.cli.named_user import find_named
from gateway.cli.output import Progress, json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.errors import CommandError, PasswordRejected, StoreUnavailable
from gateway.state import Gateway
from gateway.telemetry import PASSWORD_CHANGED, USER_ADDED, USER_CHANGED, USER_REMOVED

REASONS = {
    "too_short": "it is too short: {length} characters, password_min_length is {min_length}",
    "too_long": "it has over 1024 bytes",
    "common": "it is among the most used passwords",
    "contains_email": "it contains the e-mail address",
}


@click.group(cls=Group)
def users() -> None:
    """Add, show, change and remove users."""


for command in (import_users, invite, reset, factors):
    users.add_command(command)

password_options = [
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
    click.option("--generate", is_flag=True, help="Make a random password and print it, once."),
]


def _with_password_options(command: Any) -> Any:
    for option in password_options:
        command = option(command)
    return command


@users.command()
@click.argument("email")
@click.option("--name", default="", help="Name to show.")
@click.option("--role", "roles", multiple=True, help="A role; may be repeated.")
@_with_password_options
@json_option
@click.pass_context
def add(
    ctx: click.Context,
    email: str,
    name: str,
    roles: tuple[str, ...],
    password_stdin: bool,
    generate: bool,
    as_json: bool,
) -> None:
    """Add a user and print the id."""
    address = check_email(email)
    check_name(name)
    check_roles(roles)
    password = _read_password(password_stdin, generate)

    async def work(gateway: Gateway) -> User:
        _check_password(password, address, gateway)
        user = await gateway.users.add(address, name, roles, await gateway.passwords.hash(password))
        gateway.audit.tell(USER_ADDED, sub=user.user_id)
        await gateway.guessing.unlock(address)  # nobody's failures are not the new user's
        return user

    user = run_with_gateway(ctx, work)
    _print_new(user.user_id, user.email, password if generate else None, as_json)


@users.command("list")
@json_option
@click.pass_context
def list_users(ctx: click.Context, as_json: bool) -> None:
    """List all users by e-mail address."""

    async def work(gateway: Gateway) -> list[User]:
        progress, found = Progress("read {} users"), []
        async for user in gateway.users.all():
            found.append(user)
            progress.step()
        return sorted(found, key=lambda user: user.email)

    found = run_with_gateway(ctx, work)
    if as_json:
        print_json({"users": [_document(user) for user in found]})
    else:
        rows = [(user.email, user.user_id, user.name, ",".join(user.roles), _state(user)) for user in found]
        print_table(("EMAIL", "ID", "NAME", "ROLES", "ACTIVE"), rows)


@users.command()
@click.argument("email")
@json_option
@click.pass_context
def show(ctx: click.Context, email: str, as_json: bool) -> None:
    """Show one user."""
    user = run_with_gateway(ctx, lambda gateway: find_named(gateway, email))
    if as_json:
        print_json(_document(user))
    else:
        print_table(("FIELD", "VALUE"), [(name, _plain(value)) for name, value in _document(user).items()])


@users.command()
@click.argument("email")
@click.pass_context
def disable(ctx: click.Context, email: str) -> None:
    """Disable a user and end all sessions."""

    async def work(gateway: Gateway) -> int:
        user = await find_named(gateway, email)
        marked = await gateway.users.set_active(user.user_id, False)
        gateway.audit.tell(USER_CHANGED, "disabled", sub=user.user_id)
        return await _end(gateway, user, marked)

    click.echo(f"disabled; sessions ended: {run_with_gateway(ctx, work)}")


@users.command()
@click.argument("email")
@click.pass_context
def enable(ctx: click.Context, email: str) -> None:
    """Let a disabled user log in again."""

    async def work(gateway: Gateway) -> None:
        user = await find_named(gateway, email)
        await gateway.users.set_active(user.user_id, True)
        gateway.audit.tell(USER_CHANGED, "enabled", sub=user.user_id)

    run_with_gateway(ctx, work)
    click.echo("enabled")


@users.command("set-password")
@click.argument("email")
@_with_password_options
@json_option
@click.pass_context
def set_password(ctx: click.Context, email: str, password_stdin: bool, generate: bool, as_json: bool) -> None:
    """Set a new password and end all sessions."""
    password = _read_password(password_stdin, generate)

    async def work(gateway: Gateway) -> User:
        user = await find_named(gateway, email)
        _check_password(password, user.email, gateway)
        ended = await gateway.users.set_password(user.user_id, await gateway.passwords.hash(password))
        gateway.audit.tell(PASSWORD_CHANGED, "set-by-command", sub=user.user_id)
        await _end(gateway, user, ended)
        await gateway.guessing.unlock(user.email)
        await gateway.changes.note(user.user_id, "password")
        return user

    user = run_with_gateway(ctx, work)
    _print_new(user.user_id, user.email, password if generate else None, as_json)


@users.command()
@click.argument("email")
@click.pass_context
def unlock(ctx: click.Context, email: str) -> None:
    """Forget failed logins, so that a user who was guessed at need not wait."""

    async def work(gateway: Gateway) -> bool:
        user = await find_named(gateway, email)
        unlocked = await gateway.guessing.unlock(user.email)
        if unlocked:
            gateway.audit.tell(USER_CHANGED, "unlocked", sub=user.user_id)
        return unlocked

    click.echo("unlocked" if run_with_gateway(ctx, work) else "there was nothing to unlock")


@users.command()
@click.argument("email")
@click.argument("new_roles", metavar="ROLE...", nargs=-1)
@click.pass_context
def roles(ctx: click.Context, email: str, new_roles: tuple[str, ...]) -> None:
    """Replace the roles of a user; none given takes all away. Sessions see it at their next refresh."""

    async def work(gateway: Gateway) -> None:
        user = await find_named(gateway, email)
        await gateway.users.set_roles(user.user_id, new_roles)
        gateway.audit.tell(USER_CHANGED, "roles", sub=user.user_id)

    check_roles(new_roles)
    run_with_gateway(ctx, work)
    click.echo(f"roles: {','.join(new_roles)}")


@users.command()
@click.argument("email")
@click.pass_context
def remove(ctx: click.Context, email: str) -> None:
    """Remove a user and end all sessions."""

    async def work(gateway: Gateway) -> int:
        return await remove_user(gateway, await find_named(gateway, email))

    click.echo(f"removed; sessions ended: {run_with_gateway(ctx, work)}")


async def remove_user(gateway: Gateway, user: User, *, reason: str = "") -> int:
    """Remove a user, end all sessions, and give how many there were; *reason* is for the audit."""
    marked = await gateway.users.set_active(user.user_id, False)
    try:
        ended = await _end(gateway, user, marked)
        more = await gateway.users.remove(user.user_id, user.email)
    except StoreUnavailable:
        gateway.audit.tell(USER_CHANGED, "disabled", sub=user.user_id)  # so far it is done
        raise
    gateway.audit.tell(USER_REMOVED, reason, sub=user.user_id)
    return ended + await _end(gateway, user, more)


async def _end(gateway: Gateway, user: User, revocations: tuple[str, ...]) -> int:
    return await gateway.finish_ending(user.user_id, revocations)


def _read_password(from_stdin: bool, generate: bool) -> str:
    if from_stdin and generate:
        raise click.UsageError("take --password-stdin or --generate, not both")
    if generate:
        return generate_password()
    if from_stdin:
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise CommandError("the password on standard input is not UTF-8") from error
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password: take --password-stdin or --generate")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _check_password(password: str, email: str, gateway: Gateway) -> None:
    min_length = gateway.settings.password_min_length
    try:
        check_new_password(password, email=email, min_length=min_length, service_names=gateway.service_names)
    except PasswordRejected as rejected:
        reasons = "; ".join(REASONS[reason] for reason in rejected.reasons)
        told = reasons.format(length=length_of(password), min_length=min_length)
        raise CommandError(f"this password is not acceptable: {told}") from rejected


def _print_new(user_id: str, email: str, password: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"id": user_id, "email": email} | ({"password": password} if password else {}))
        return
    click.echo(f"id: {user_id}")
    if password:
        click.echo(f"password: {password}")


def _document(user: User) -> dict[str, object]:
    return {
        "id": user.user_id,
        "email": user.email,
        "full_name": user.name,
        "roles": user.roles,
        "is_active": user.is_active,
        "has_password": user.has_password,
        "created_at": rfc3339(user.created_at),
    }


def _state(user: User) -> str:
    return "no" if not user.is_active else "yes" if user.has_password else "invited"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, tuple) else str(value)
