"""The entries of the audit trail in Redis: read in pages, in either direction, and chosen by what is wanted of them."""

import datetime
import difflib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import click

from gateway.store import Store
from gateway.telemetry import EVENTS

PAGE_ENTRIES = 500
STREAM = "audit"
MAX_NUMBER = 2**64 - 1
MAX_SECONDS = 2**40
EVENT_NAMES = tuple(event.name for event in EVENTS)
_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Entry:
    """One event; `entry_id` is Redis's, which begins with the time in milliseconds."""

    entry_id: str
    members: dict[str, str]

    @property
    def who(self) -> str:
        """Give the user id, or what stands for an address that no user has; empty where nobody is known."""
        return self.members.get("sub") or self.members.get("account", "")

    @classmethod
    def of(cls, entry_id: bytes | str, fields: list[bytes] | dict[bytes, bytes]) -> "Entry":
        """Read what Redis gives; the fields in a list are names and values by turns."""
        pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
        members = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in pairs}
        return cls(entry_id if isinstance(entry_id, str) else entry_id.decode(), members)


@dataclass(frozen=True)
class Wanted:
    """
    Which entries are wanted.

    `since` is in seconds since the epoch; `who` holds user ids and what stands for addresses; empty is any.
    """

    since: float = 0
    event: str = ""
    who: frozenset[str] = frozenset()
    request_id: str = ""

    def holds(self, entry: Entry) -> bool:
        """Tell whether an entry is one of these, its time apart."""
        return (
            (not self.event or entry.members.get("event") == self.event)
            and (not self.who or entry.who in self.who)
            and (not self.request_id or entry.members.get("request_id") == self.request_id)
        )


async def pages_since(store: Store, wanted: Wanted, until: float | None = None) -> AsyncIterator[list[Entry]]:
    """Give the wanted entries of each page, the oldest first; *until* in seconds since the epoch."""
    last, end = f"{max(0, _milliseconds(wanted.since) - 1)}-{MAX_NUMBER}", _milliseconds(until or MAX_SECONDS)
    while page := await store.read_stream(store.key(STREAM), last, PAGE_ENTRIES, wait=False):
        last = page[-1][0]
        entries = [Entry.of(*one) for one in page]
        yield [entry for entry in entries if wanted.holds(entry) and order(entry.entry_id)[0] <= end]
        if len(page) < PAGE_ENTRIES or order(last)[0] > end:
            return


async def last_entries(store: Store, wanted: Wanted, most: int) -> tuple[list[Entry], bool]:
    """Give the last of the wanted entries, the oldest first, and whether there are more."""
    found: list[Entry] = []
    key, end, begin = store.key(STREAM), "+", str(_milliseconds(wanted.since))
    while page := await store.execute("XREVRANGE", key, end, begin, "COUNT", PAGE_ENTRIES):
        found += [entry for entry in (Entry.of(*one) for one in page) if wanted.holds(entry)]
        if len(found) > most or len(page) < PAGE_ENTRIES:
            break
        end = "(" + page[-1][0].decode()
    return found[:most][::-1], len(found) > most


async def last_entry_id(store: Store) -> str:
    """Give the id of the last entry, `0-0` where there is none."""
    last = await store.entry_before(store.key(STREAM), None)
    return last[0] if last else "0-0"


async def entries_after(store: Store, entry_id: str) -> list[Entry]:
    """Give what comes after an entry; wait for it, half a second at most."""
    found = await store.read_stream(store.key(STREAM), entry_id, PAGE_ENTRIES, wait=True)
    return [Entry.of(one, fields) for one, fields in found]


def order(entry_id: str) -> tuple[int, int]:
    """Give what orders ids."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


def time_of(text: str, now: int) -> float:
    """
    Read `--since`: how long ago (`30m`, `1h`, `7d`), or a time of RFC 3339; give seconds since the epoch.

    Raises:
        click.BadParameter: It is neither.
    """
    if match := _AGO.fullmatch(text.strip()):
        return max(0, now - int(match[1]) * _SECONDS[match[2]])
    try:
        time = datetime.datetime.fromisoformat(text.strip())
        if time.tzinfo is not None:
            return max(0.0, time.timestamp())
    except (ValueError, OverflowError):
        pass
    mend = "write how long ago, such as 30m, 1h or 7d, or a time with its zone, such as 2026-11-29T12:00:00Z"
    raise click.BadParameter(f"{text!r} is no time: {mend}", param_hint="--since")


def event_name(text: str) -> str:
    """
    Give the name of an event as it was meant: `-` and `_` are one, and case does not matter.

    Raises:
        click.BadParameter: There is no such event.
    """
    name = text.strip().lower().replace("-", "_")
    if name and name not in EVENT_NAMES:
        likely = difflib.get_close_matches(name, EVENT_NAMES, 1)
        mend = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(EVENT_NAMES)}"
        raise click.BadParameter(f"there is no event {text!r}: {mend}", param_hint="--event")
    return name


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
