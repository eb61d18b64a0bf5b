"""gateway config show: the settings in force."""

import click

from gateway.cli import Group, settings_for
from gateway.cli.output import json_option, print_json, print_table
from gateway.settings import public_values


@click.group(cls=Group)
def config() -> None:
    """Look at the settings."""


@config.command()
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Show every setting and where its value comes from; secrets are masked."""
    loaded = settings_for(ctx)
    values = public_values(loaded.settings)
    if as_json:
        print_json({name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()})
    else:
        print_table(
            ("SETTING", "VALUE", "FROM"),
            [(name, _plain(value), loaded.origins[name]) for name, value in values.items()],
        )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
