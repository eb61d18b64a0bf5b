"""gateway users factors: the second factors of a user, and taking them away from who has lost them."""

import click

from gateway.accounts import Factor
from gateway.cli import Command
from gateway.cli.connection import run_with_gateway
from gateway.cli.named_user import find_named
from gateway.cli.output import json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.state import Gateway
from gateway.telemetry import FACTOR_REMOVED


@click.command(cls=Command)
@click.argument("email")
@click.option("--reset", is_flag=True, help="Take all of them away, and end all sessions.")
@json_option
@click.pass_context
def factors(ctx: click.Context, email: str, reset: bool, as_json: bool) -> None:
    """
    List the second factors of a user, or take them away.

    After --reset the password alone logs in, or with second_factor = required sets up a new factor: make sure first who
    asks for it, and set a new password too where the old one may be known (`gateway users reset`).
    """

    async def list_them(gateway: Gateway) -> tuple[Factor, ...]:
        return await gateway.factors.all((await find_named(gateway, email)).user_id)

    async def take_away(gateway: Gateway) -> tuple[int, int]:
        user_id = (await find_named(gateway, email)).user_id
        done = await gateway.reset_factors(
            user_id, tell=lambda: gateway.audit.tell(FACTOR_REMOVED, "reset", sub=user_id)
        )
        await gateway.changes.note(user_id, "reset")
        return done

    if reset:
        removed, ended = run_with_gateway(ctx, take_away)
        if as_json:
            print_json({"removed_factors": removed, "revoked_sessions": ended})
        else:
            click.echo(f"factors removed: {removed}; sessions ended: {ended}")
        return
    rows = [_document(factor) for factor in run_with_gateway(ctx, list_them)]
    if as_json:
        print_json({"factors": rows})
    else:
        headings = ("ID", "KIND", "NAME", "CREATED", "LAST USED", "LEFT")
        keys = ("id", "kind", "name", "created_at", "last_used_at", "left")
        print_table(headings, [[_cell(row.get(key)) for key in keys] for row in rows])


def _document(factor: Factor) -> dict[str, object]:
    return {
        "id": factor.factor_id,
        "kind": factor.kind,
        "name": factor.name if factor.is_readable else "(sealed under a secret that is not set)",
        "created_at": rfc3339(factor.created_at),
        "last_used_at": rfc3339(factor.last_used_at) if factor.last_used_at else None,
    } | ({} if factor.left is None else {"left": factor.left})


def _cell(value: object) -> str:
    return "" if value is None else str(value)
