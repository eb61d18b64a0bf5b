"""What commands print: tables for people, one JSON document for programs, and on a terminal how far they have come."""

import sys
import time
from collections.abc import Sequence

import click
import msgspec

PROGRESS_SECONDS = 1.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: object) -> None:
    """Print one JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns under their headings."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    for row in [headings, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Progress:
    """
    Tells on a terminal, once a second, how far a command has come that takes longer than that.

    Args:
        text: Has one pair of braces, where the number goes.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._done = 0
        self._told_at = time.monotonic()

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_SECONDS and sys.stderr.isatty():
            self._told_at = now
            click.echo(f"gateway: {self._text.format(self._done)}", err=True)
