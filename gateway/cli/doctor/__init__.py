"""gateway doctor URL: walks to a protected URL as a browser, a script and a forger would, and tells what is wrong."""

import functools

import click

from gateway.accounts import check_roles
from gateway.cli import Command
from gateway.cli.connection import run_with_gateway
from gateway.cli.doctor.asking import Place
from gateway.cli.doctor.examination import examine
from gateway.cli.output import json_option, print_json

__all__ = ["doctor"]


def _place(ctx: click.Context, param: click.Parameter, text: str | None) -> Place | None:
    try:
        return None if text is None else Place.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no URL: {error}", ctx, param) from error


@click.command(cls=Command)
@click.argument("url", callback=_place)
@click.option("--role", "roles", metavar="ROLE", multiple=True, help="A role of who walks there; may be repeated.")
@click.option(
    "--application",
    metavar="ADDRESS",
    callback=_place,
    help="http://host:port of the application itself, which nobody should reach around the proxy.",
)
@click.option("--insecure", is_flag=True, help="Take any certificate, as a test may have it.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    url: Place,
    roles: tuple[str, ...],
    application: Place | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """
    Walk to a protected URL as a browser, a script and a forger would, and tell what is wrong in proxy and settings.

    It plays a user of its own, who is gone afterwards, and sends the application pages, a WebSocket and a form of 2 MB.
    When all is well it says nothing.

    Exit status: 0 all is well; 1 something is wrong, and is told with the line to change, or nothing answers; 2 wrong
    usage; 3 settings, Redis or keys are wrong (see `gateway check`).
    """
    check_roles(roles)
    work = functools.partial(examine, place=url, roles=roles, application=application, insecure=insecure)
    found = run_with_gateway(ctx, work, tells_events=False)
    if as_json:
        print_json({"ok": not found, "findings": [finding.document() for finding in found]})
    elif found:
        click.echo("\n\n".join(f"{number}. {finding.in_words()}" for number, finding in enumerate(found, 1)))
    ctx.exit(1 if found else 0)
