"""gateway audit: what happened, as the security events in Redis tell it, and why one request was refused."""

import asyncio
from dataclasses import replace

import click

from gateway.accounts import normalise_email
from gateway.cli import Command
from gateway.cli.audit.entries import (
    Wanted,
    entries_after,
    event_name,
    last_entries,
    last_entry_id,
    order,
    pages_since,
    time_of,
)
from gateway.cli.audit.explained import explain
from gateway.cli.audit.rows import JsonDocument, JsonLines, Rows, Table
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import json_option
from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.state import Gateway
from gateway.telemetry import account_of

__all__ = ["audit"]

MOST_ROWS = 300
ROWS_BEFORE_FOLLOWING = 10
DAY_SECONDS = 86_400
AWAY_SECONDS = 1.0
IDS = ("usr_", "acc_")


@click.command(cls=Command)
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("--user", metavar="EMAIL", help="Of this user alone, or of who tried this address; takes a user id, too.")
@click.option("--event", metavar="NAME", help="One kind of event alone, such as login_failed.")
@click.option("--since", metavar="TIME", help="30m, 1h, 7d, or RFC 3339. [default: a day, its last 300 rows]")
@click.option("--request", "request_id", metavar="ID", help="Why this request was refused: its X-Request-Id.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    follow: bool,
    user: str | None,
    event: str | None,
    since: str | None,
    request_id: str | None,
    as_json: bool,
) -> None:
    """
    List the security events, the newest last; or explain one answer.

    With --request the X-Request-Id of an answer is opened: what was asked for, when and by whom, why it was refused,
    and which setting or command would change that. It needs no Redis, and works for as long as the secret of then is
    `secret` or one of previous_secrets. With --follow and --json each event is one JSON object on a line.

    Nothing is changed. Exit status: 0 done; 1 nothing is known of the request, or Redis is away; 2 wrong usage.
    """
    if request_id is not None:
        if follow or any(option is not None for option in (user, event, since)):
            raise click.UsageError("--request goes with --json alone")
        explain(ctx, request_id, as_json=as_json)
        return
    now = system_clock()
    wanted = Wanted(time_of(since, now) if since is not None else now - DAY_SECONDS, event_name(event or ""))
    rows = (JsonLines() if follow else JsonDocument()) if as_json else Table()

    async def work(gateway: Gateway) -> None:
        chosen = replace(wanted, who=await _who(gateway, user)) if user is not None else wanted
        last = await last_entry_id(gateway.store)
        if since is not None or (as_json and not follow):
            async for page in pages_since(gateway.store, chosen):
                await rows.show(gateway, page)
                last = max([last, *(entry.entry_id for entry in page[-1:])], key=order)
        else:
            most = ROWS_BEFORE_FOLLOWING if follow else MOST_ROWS
            found, are_more = await last_entries(gateway.store, chosen, most)
            await rows.show(gateway, found)
            last = max([last, *(entry.entry_id for entry in found[-1:])], key=order)
            if are_more and not follow:
                rows.hint(f"these are the last {MOST_ROWS} of a day: --since 24h shows all of it")
        if follow:
            await _follow(gateway, chosen, rows, last)

    try:
        run_with_gateway(ctx, work)
    except KeyboardInterrupt:
        if not follow:
            raise
    rows.end()


async def _who(gateway: Gateway, user: str) -> frozenset[str]:
    """Give what a user, or an address that no user has, is called in the events."""
    text = user.strip()
    if text.startswith(IDS):
        return frozenset({text})
    email = normalise_email(text)
    found = await gateway.users.find(email)
    secret, previous = gateway.settings.secret, gateway.settings.previous_secrets
    assert secret is not None  # noqa: S101 - the commands fill it in
    accounts = (account_of(email, keys) for keys in KeyChain.of(secret, previous))
    return frozenset({*accounts, *([found.user_id] if found else [])})


async def _follow(gateway: Gateway, wanted: Wanted, rows: Rows, last: str) -> None:
    """Show what happens from the entry *last* on, until told to end; wait for a Redis that is away."""
    is_away = False
    while True:
        try:
            if is_away:
                # One that came back with less than there was counts on from there.
                last = min(last, await last_entry_id(gateway.store), key=order)
            found = await entries_after(gateway.store, last)
        except StoreUnavailable:
            if not is_away:
                rows.hint("Redis does not serve; it is asked again every second")
            is_away = True
            await asyncio.sleep(AWAY_SECONDS)
            continue
        if is_away:
            rows.hint("Redis serves again")
        is_away = False
        if found:
            last = found[-1].entry_id
            await rows.show(gateway, [entry for entry in found if wanted.holds(entry)])
