"""gateway sessions ...: where a user is logged in, and ending it there."""

import click

from gateway.cli import Group
from gateway.cli.connection import run_with_gateway
from gateway.cli.named_user import find_named
from gateway.cli.output import json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.errors import CommandError
from gateway.sessions import Family
from gateway.state import Gateway
from gateway.telemetry import SESSIONS_REVOKED

SESSION_ID_CHARACTERS = 22


@click.group(cls=Group)
def sessions() -> None:
    """List and revoke the sessions of a user."""


@sessions.command("list")
@click.argument("email")
@json_option
@click.pass_context
def list_sessions(ctx: click.Context, email: str, as_json: bool) -> None:
    """List the living sessions of a user, newest first."""

    async def work(gateway: Gateway) -> list[Family]:
        return await gateway.families.list((await find_named(gateway, email)).user_id)

    families = run_with_gateway(ctx, work)
    rows = [
        {
            "id": family.family_id,
            "created_at": rfc3339(family.created_at),
            "last_used_at": rfc3339(family.last_used_at),
            "expires_at": rfc3339(family.expires_at),
            "ip": family.address,
            "device": family.device,
            "amr": family.amr,
        }
        for family in families
    ]
    if as_json:
        print_json({"sessions": rows})
    else:
        headings = ("ID", "CREATED", "LAST USED", "EXPIRES", "ADDRESS", "DEVICE", "LOGIN")
        print_table(headings, [tuple((row | {"amr": ",".join(row["amr"])}).values()) for row in rows])


# One session id in 64 begins like an option.
@sessions.command(context_settings={"ignore_unknown_options": True})
@click.argument("email")
@click.argument("session_id", required=False)
@click.option("--all", "revoke_all", is_flag=True, help="Revoke every session of the user.")
@click.pass_context
def revoke(ctx: click.Context, email: str, session_id: str | None, revoke_all: bool) -> None:
    """Revoke one session, or all of them."""
    if session_id is not None and session_id.startswith("-") and len(session_id) != SESSION_ID_CHARACTERS:
        raise click.NoSuchOption(session_id)
    if (session_id is None) != revoke_all:
        raise click.UsageError("give a SESSION_ID (see `gateway sessions list`) or --all")

    async def work(gateway: Gateway) -> int:
        user_id = (await find_named(gateway, email)).user_id
        if session_id is None:
            return await gateway.end_all_families(
                user_id, tell=lambda: gateway.audit.tell(SESSIONS_REVOKED, "all-by-command", sub=user_id)
            )
        if not session_id.isascii() or not await gateway.families.exists(user_id, session_id):
            raise CommandError(f"{email} has no session {session_id}: see `gateway sessions list {email}`")
        return await gateway.end_families(
            user_id,
            (session_id,),
            tell=lambda: gateway.audit.tell(SESSIONS_REVOKED, "by-command", sub=user_id, sid=session_id),
        )

    click.echo(f"sessions ended: {run_with_gateway(ctx, work)}")
