"""gateway users factors: which second factors a user has, and all of them taken away from who has lost them."""

import click

from gateway.accounts import Factor
from gateway.cli import Command
from gateway.cli.connection import run_with_gateway
from gateway.cli.lookup import find_user
from gateway.cli.output import json_option, print_json, print_table
from gateway.clock import rfc3339
from gateway.state import Gateway


@click.command("factors", cls=Command)
@click.argument("email")
@click.option("--reset", "is_reset", is_flag=True, help="Remove them all, and end all sessions.")
@json_option
@click.pass_context
def user_factors(ctx: click.Context, email: str, is_reset: bool, as_json: bool) -> None:
    """
    Show the second factors of a user, or remove them.

    Before you remove them be sure who asks for it: from then on the password alone is enough, and with second_factor =
    required whoever has the password sets up the next factor.
    """

    async def show(gateway: Gateway) -> tuple[Factor, ...]:
        return await gateway.factors.all((await find_user(gateway, email)).user_id)

    async def reset(gateway: Gateway) -> tuple[int, int]:
        user = await find_user(gateway, email)
        removed, ended = await gateway.reset_factors(user.user_id)
        gateway.audit.tell("factor_removed", sub=user.user_id, reason="reset-by-command")
        return removed, ended

    if not is_reset:
        _print(run_with_gateway(ctx, show), as_json)
        return
    removed, ended = run_with_gateway(ctx, reset)
    if as_json:
        print_json({"removed_factors": removed, "ended_sessions": ended})
    else:
        click.echo(f"factors removed: {removed}; sessions ended: {ended}")


def _print(found: tuple[Factor, ...], as_json: bool) -> None:
    if as_json:
        print_json({"factors": [_document(factor) for factor in found]})
        return
    rows = [
        (
            factor.factor_id,
            factor.kind if factor.left is None else f"{factor.kind} ({factor.left} left)",
            factor.name,
            rfc3339(factor.created_at),
            rfc3339(factor.last_used_at) if factor.last_used_at is not None else "never",
            "yes" if factor.is_readable else "no: its secret is gone",
        )
        for factor in found
    ]
    print_table(("ID", "KIND", "NAME", "CREATED", "LAST USED", "USABLE"), rows)


def _document(factor: Factor) -> dict[str, object]:
    document: dict[str, object] = {
        "id": factor.factor_id,
        "kind": factor.kind,
        "name": factor.name,
        "created_at": rfc3339(factor.created_at),
        "last_used_at": rfc3339(factor.last_used_at) if factor.last_used_at is not None else None,
        "is_usable": factor.is_readable,
    }
    return document if factor.left is None else document | {"left": factor.left}
