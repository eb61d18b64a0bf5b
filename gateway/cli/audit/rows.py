"""How events are shown: in columns, as one JSON document, or as one JSON object a line."""

from collections.abc import Sequence
from typing import Protocol

import click
import msgspec

from gateway.cli.audit.entries import Entry
from gateway.errors import StoreUnavailable
from gateway.state import Gateway
from gateway.telemetry import printable

HEADINGS = ("TIME", "EVENT", "OUTCOME", "WHO", "ADDRESS", "REASON")
LEAST_WIDTHS = (24, 16, 7, 16, 9, 0)
MAX_PEOPLE = 10_000


class Rows(Protocol):
    """Where events go, a page at a time."""

    async def show(self, gateway: Gateway, entries: Sequence[Entry]) -> None:
        """Show some more."""

    def hint(self, text: str) -> None:
        """Tell something that is no event, on stderr."""

    def end(self) -> None:
        """Show the end."""


class Table:
    """Columns under headings, as wide as what was shown until now, with e-mail addresses in place of user ids."""

    def __init__(self) -> None:
        self._widths = [max(least, len(name)) for least, name in zip(LEAST_WIDTHS, HEADINGS, strict=True)]
        self._people: dict[str, str] = {}
        self._is_begun = False

    async def show(self, gateway: Gateway, entries: Sequence[Entry]) -> None:
        """Show a page; the headings come with the first."""
        rows = [await self._row(gateway, entry) for entry in entries]
        if rows and not self._is_begun:
            rows.insert(0, HEADINGS)
            self._is_begun = True
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        if rows:
            click.echo("\n".join("  ".join(map(str.ljust, row, self._widths)).rstrip() for row in rows))

    def hint(self, text: str) -> None:
        """Tell something that is no event, on stderr."""
        click.echo(f"gateway: {text}", err=True)

    def end(self) -> None:
        """Say so where there was nothing."""
        if not self._is_begun:
            self.hint("no such events")

    async def _row(self, gateway: Gateway, entry: Entry) -> tuple[str, ...]:
        told = {name: printable(value) for name, value in entry.members.items()}
        of_what = told.get("reason") or told.get("kid", "")
        who = printable(await self._name(gateway, entry.who))
        return (*(told.get(name, "") for name in ("time", "event", "outcome")), who, told.get("address", ""), of_what)

    async def _name(self, gateway: Gateway, who: str) -> str:
        """Give the address of a user who is still there, else the id as it is."""
        if not who.startswith("usr_"):
            return who
        if who not in self._people:
            try:
                user = await gateway.users.get(who)
            except StoreUnavailable:
                return who
            if len(self._people) == MAX_PEOPLE:
                self._people.clear()
            self._people[who] = user.email if user else who
        return self._people[who]


class JsonLines:
    """One object a line: the entry as it is kept, with its `id`."""

    async def show(self, gateway: Gateway, entries: Sequence[Entry]) -> None:
        """Show some more."""
        if entries:
            click.echo("\n".join(map(_object, entries)))

    def hint(self, text: str) -> None:
        """Tell something that is no event, on stderr."""
        click.echo(f"gateway: {text}", err=True)

    def end(self) -> None:
        """There is nothing to say."""


class JsonDocument(JsonLines):
    """One document, `events`, written page by page, so that it needs no more memory than one."""

    def __init__(self) -> None:
        self._before = '{\n  "events": ['

    async def show(self, gateway: Gateway, entries: Sequence[Entry]) -> None:
        """Write some more."""
        for entry in entries:
            self._before += "\n    " + _object(entry)
            click.echo(self._before, nl=False)
            self._before = ","

    def end(self) -> None:
        """End the document."""
        click.echo(f"{self._before}]\n}}" if self._before != "," else "\n  ]\n}")


def _object(entry: Entry) -> str:
    return msgspec.json.encode({"id": entry.entry_id, **entry.members}).decode()
