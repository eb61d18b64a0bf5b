"""The table of the campaign, and the part of docs/faults.md that the long run writes anew."""

import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway.store.private import find_server
from tests.faults.checker import Allowance, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
FIRST_LINE = "<!-- From here on `make faults` writes. -->"
LAST_LINE = "<!-- To here. -->"
MOST_SLOWED_DOWN = 1.2
CONTROL = "none"
NAMES = (
    *(CONTROL, "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10 reshard", "F10 failover", "F11", "F12"),
    *("F12 maxclients", "F13", "F14", "F15", "F16", "F17", "F18", "F21", "F22", "F23", "F24"),
)
LEFT_OUT_IF_IT_MUST_BE = {"F18"}
HEAD = """\
| | fault | injected | requests: refresh, login, authz, browser | 503 or none | outage: median, longest, allowed \
| authz p99: before → in the fault, then | ratios | violations |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass
class Row:
    """What one fault did."""

    name: str
    title: str
    injected: int
    verdict: Verdict
    notes: dict[str, str]
    allowance: Allowance
    seconds: float

    @property
    def notes_text(self) -> str:
        """The notes in one line."""
        return "; ".join(f"{name}: {note}" for name, note in self.notes.items())

    @property
    def outage(self) -> str:
        """The median and the longest time without logins and refreshes, and what is allowed."""
        outages = self.verdict.outages
        return f"{statistics.median(outages):.2f}, {max(outages):.2f}, {self.allowance.outage_seconds:.1f} s"

    @property
    def p99(self) -> str:
        """The 99th percentiles of subrequests before the fault, in it, and after it."""
        before, struck, settling = (
            f"{seconds * 1000:.1f}"
            for seconds in (self.verdict.idle_p99, self.verdict.struck_p99, self.verdict.settling_p99)
        )
        return f"{before} → {struck}, {settling} ms"

    @property
    def ratios(self) -> str:
        """How many times as long as before in the fault, and after it; in bold if that is too much."""
        return ", ".join(f"**{r:.2f}**" if r > MOST_SLOWED_DOWN else f"{r:.2f}" for r in self.verdict.ratios)

    def line(self) -> str:
        """Tell it all in one line."""
        verdict = self.verdict
        requests = ", ".join(
            f"{verdict.requests[kind]} {kind}" for kind in ("refresh", "login", "logout", "authz", "browser")
        )
        notes = f", {self.notes_text}" if self.notes else ""
        return (
            f"faults: {self.name} {self.title}: injected {self.injected}, {requests}, 503 or no answer "
            f"{verdict.failures}, violations {len(verdict.violations)}, outage (median, longest, allowed) "
            f"{self.outage}, authz p99 before, in and after {self.p99}, {self.ratios}{notes} ({self.seconds:.1f} s)"
        )

    def markdown(self) -> str:
        """Give the row of the page."""
        verdict = self.verdict
        kinds = ("refresh", "login", "authz", "browser")
        requests = ", ".join(f"{verdict.requests[kind]:,}" for kind in kinds)
        cells = [
            *(self.name, self.title + (f" ({self.notes_text})" if self.notes else ""), f"{self.injected:,}", requests),
            *(f"{verdict.failures:,}", self.outage + (" after its mend" if self.allowance.from_mend else " after it")),
            *(self.p99, self.ratios),
            str(len(verdict.violations)),
        ]
        return f"| {' | '.join(cells)} |\n"


@dataclass
class Table:
    """All rows of this run, and what the gateways held at its beginning and its end."""

    rows: list[Row] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def text(self) -> str:
        """Give the part of the page that is written anew."""
        rows = sorted(self.rows, key=lambda row: NAMES.index(row.name))
        kinds = ("refresh", "login", "authz", "browser")
        total = {kind: sum(row.verdict.requests[kind] for row in rows) for kind in kinds}
        violations = sum(len(row.verdict.violations) for row in rows) + len(self.leaks)
        slow, slow_after = ([row.name for row in rows if row.verdict.ratios[n] > MOST_SLOWED_DOWN] for n in (0, 1))
        kernel = ".".join(platform.release().split(".")[:2])
        there = {row.name for row in rows}
        left_out = "" if there >= LEFT_OUT_IF_IT_MUST_BE else " F18 was left out: no small file system can be mounted."
        minutes, seconds = divmod(round(time.monotonic() - self.begun), 60)
        return (
            f"{os.cpu_count()} cores, {platform.system()} {kernel}, Python {platform.python_version()}, "
            f"{find_server()[1]}. {len(there - {CONTROL})} faults in {minutes} minutes {seconds} seconds, "
            f"{sum(row.injected for row in rows):,} times injected, {total['refresh']:,} refreshes, {total['login']:,} "
            f"logins, {total['authz']:,} subrequests with tokens and {total['browser']:,} of browsers.{left_out} "
            f"**Violations: {violations}.** Subrequests more than {MOST_SLOWED_DOWN} times slower than before, while "
            f"the fault was there: {', '.join(slow) or 'none'}; "
            f"in the time after it: {', '.join(slow_after) or 'none'}.\n\n"
            + HEAD
            + "".join(row.markdown() for row in rows)
            + "\nWhat the gateways held before and after all faults of a scene, when their clients rested:\n\n"
            + "".join(f"- {line}\n" for line in self.resources)
        )

    def write(self) -> None:
        """Write it into the page, if no row is missing."""
        missing = set(NAMES) - {row.name for row in self.rows} - LEFT_OUT_IF_IT_MUST_BE
        if missing:
            print(f"faults: not written to docs/faults.md, these are missing: {', '.join(sorted(missing))}")
            return
        before, _, rest = PAGE.read_text().partition(FIRST_LINE)
        _, _, after = rest.partition(LAST_LINE)
        PAGE.write_text(f"{before}{FIRST_LINE}\n\n{self.text()}\n{LAST_LINE}{after}")
