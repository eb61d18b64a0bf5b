"""gateway tokens ...: the personal tokens of a user, for scripts behind the proxy."""

import click

from gateway.accounts import check_factor_name, check_roles
from gateway.cli import Group
from gateway.cli.connection import run_with_gateway
from gateway.cli.named_user import find_named
from gateway.cli.output import json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.errors import CommandError, MalformedRequest, NotFound
from gateway.machines import DEFAULT_DAYS, MAX_DAYS, TokenEntry
from gateway.state import Gateway
from gateway.telemetry import TOKEN_CREATED, TOKEN_REVOKED


@click.group(cls=Group)
def tokens() -> None:
    """List, make and revoke the personal tokens of a user."""


@tokens.command("list")
@click.argument("email")
@json_option
@click.pass_context
def list_tokens(ctx: click.Context, email: str, as_json: bool) -> None:
    """List the personal tokens of a user that are not over, newest first."""

    async def work(gateway: Gateway) -> tuple[TokenEntry, ...]:
        return await gateway.personal_tokens.all((await find_named(gateway, email)).user_id)

    entries = run_with_gateway(ctx, work)
    if as_json:
        print_json({"tokens": [_document(entry) for entry in entries]})
    else:
        rows = [(*_cells(entry), "(all)" if entry.has_all_roles else ",".join(entry.roles)) for entry in entries]
        print_table(("ID", "NAME", "CREATED", "EXPIRES", "LAST USED", "ROLES"), rows)


@tokens.command()
@click.argument("email")
@click.option("--name", required=True, help="What it is for, so that its owner knows which to revoke.")
@click.option("--role", "roles", multiple=True, help="A role that it gives; repeat it. Without: all of the user's.")
@click.option(
    "--days", type=click.IntRange(1, MAX_DAYS), default=DEFAULT_DAYS, show_default=True, help="How long it is good."
)
@json_option
@click.pass_context
def create(ctx: click.Context, email: str, name: str, roles: tuple[str, ...], days: int, as_json: bool) -> None:
    """
    Make a personal token, and print it, this once.

    It is sent as `Authorization: Bearer`, or as the password of Basic with any name.
    """

    async def work(gateway: Gateway) -> tuple[str, TokenEntry]:
        user = await find_named(gateway, email)
        if not user.is_active:
            raise CommandError(f"{email} is disabled: see `gateway users enable {email}`")
        try:
            if not (given_name := check_factor_name(name)):
                raise CommandError("a personal token needs a name: say what it is for")
            text, entry = await gateway.personal_tokens.create(
                user.user_id, given_name, check_roles(roles) or None, days
            )
        except (MalformedRequest, NotFound) as error:
            raise CommandError(f"{error.detail}; see `gateway users show {email}`") from error
        gateway.audit.tell(TOKEN_CREATED, "by-command", sub=user.user_id, token_id=entry.token_id)
        await gateway.changes.note(user.user_id, "token")
        return text, entry

    text, entry = run_with_gateway(ctx, work)
    if as_json:
        document = _document(entry)
        print_json({"id": document.pop("id"), "token": text, **document})
    else:
        click.echo(f"id: {entry.token_id}\ntoken: {text}")


@tokens.command()
@click.argument("email")
@click.argument("token_id")
@click.pass_context
def revoke(ctx: click.Context, email: str, token_id: str) -> None:
    """Revoke a personal token; every gateway refuses it within a second."""

    async def work(gateway: Gateway) -> None:
        user_id = (await find_named(gateway, email)).user_id
        was_there = token_id.isascii() and await gateway.end_personal_token(
            user_id,
            token_id,
            tell=lambda: gateway.audit.tell(TOKEN_REVOKED, "by-command", sub=user_id, token_id=token_id),
        )
        if not was_there:
            raise CommandError(f"{email} has no personal token {token_id}: see `gateway tokens list {email}`")

    run_with_gateway(ctx, work)
    click.echo(f"revoked: {token_id}")


def _document(entry: TokenEntry) -> dict[str, object]:
    return {
        "id": entry.token_id,
        "name": entry.name,
        "roles": entry.roles,
        "created_at": rfc3339(entry.created_at),
        "expires_at": rfc3339(entry.expires_at),
        "last_used_at": None if entry.last_used_at is None else rfc3339(entry.last_used_at),
    }


def _cells(entry: TokenEntry) -> tuple[str, ...]:
    used = "never" if entry.last_used_at is None else rfc3339(entry.last_used_at)
    return entry.token_id, entry.name, rfc3339(entry.created_at), rfc3339(entry.expires_at), used
