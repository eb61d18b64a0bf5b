"""The table of the hostile campaign, and the part of docs/hostile.md that the long run writes anew."""

import os
import platform
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.resources import Resources
from tests.hostile.attacks import Attacks
from tests.hostile.honest import Notes
from tests.hostile.tap import Tap

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
FIRST_LINE = "<!-- From here on `make hostile` writes. -->"
LAST_LINE = "<!-- To here. -->"
NAMES = ("nginx", "haproxy", "caddy", "newest-caddy")
HEAD = """\
| proxy | hostile connections | at the gateway: connections, requests = answers + not waited for | refused | honest \
requests | not served, told to wait | of somebody else | median, p99: before → meanwhile | ratios | gateway \
holds: before → after | violations |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass
class Row:
    """What one proxy let through, and what its honest users saw."""

    name: str
    version: str
    tap: Tap
    attacks: Attacks
    calm: Notes
    meanwhile: Notes
    before: Resources
    after: Resources
    violations: list[str]
    seconds: float

    @property
    def times(self) -> tuple[list[float], list[float]]:
        """The median and the 99th percentile of honest requests in milliseconds, before and meanwhile."""
        before, meanwhile = (
            [1000 * quantile for quantile in (statistics.median(seconds), statistics.quantiles(seconds, n=100)[98])]
            for seconds in (self.calm.seconds, self.meanwhile.seconds)
        )
        return before, meanwhile

    def cells(self) -> list[str]:
        """Give the cells of its row."""
        (median, p99), (median_then, p99_then) = self.times
        return [
            f"{self.name} ({self.version})",
            f"{self.attacks.opened.total():,}",
            f"{self.tap.connections:,}, {self.tap.requests:,} = {self.tap.answers:,} + {self.tap.given_up:,}",
            f"{self.tap.refusals:,}",
            f"{self.meanwhile.asked.total():,}",
            f"{len(self.meanwhile.unserved)}, {self.meanwhile.told_to_wait}",
            str(len(self.meanwhile.of_others)),
            f"{median:.1f}, {p99:.1f} → {median_then:.1f}, {p99_then:.1f} ms",
            f"{median_then / median:.2f}, {p99_then / p99:.2f}",
            f"{_held(self.before)} → {_held(self.after)}",
            str(len(self.violations)),
        ]

    def line(self) -> str:
        """Tell it all in one line."""
        names = [cell.strip() for cell in HEAD.splitlines()[0].strip("| ").split("|")]
        told = zip(names, self.cells(), strict=True)
        return f"hostile: {'; '.join(f'{name}: {cell}' for name, cell in told)} ({self.seconds:.0f} s)"


def _held(resources: Resources) -> str:
    return f"{resources.files} files, {resources.clients} of clients, {resources.resident_kib / 1024:.0f} MiB"


@dataclass
class Table:
    """All rows of this run."""

    seed: int
    rows: list[Row] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def text(self) -> str:
        """Give the part of the page that is written anew."""
        opened = sum((row.attacks.opened for row in self.rows), Counter[str]())
        honest = sum(row.meanwhile.asked.total() for row in self.rows)
        of_others = sum(len(row.meanwhile.of_others) for row in self.rows)
        violations = sum(len(row.violations) for row in self.rows)
        minutes, seconds = divmod(round(time.monotonic() - self.begun), 60)
        kernel = ".".join(platform.release().split(".")[:2])
        return (
            f"{os.cpu_count()} cores, {platform.system()} {kernel}, Python {platform.python_version()}, "
            f"seed {self.seed}. {opened.total():,} hostile connections and {honest:,} honest requests in {minutes} "
            f"minutes {seconds} seconds. **Answers to somebody else: {of_others}. Violations: {violations}.**\n\n"
            + HEAD
            + "".join(f"| {' | '.join(row.cells())} |\n" for row in self.rows)
            + "\nHow many connections of each kind:\n\n"
            + "".join(f"- {kind}: {number:,}\n" for kind, number in opened.most_common())
        )

    def write(self) -> None:
        """Write it into the page, if no proxy is missing."""
        missing = [name for name in NAMES if name not in {row.name for row in self.rows}]
        if missing:
            print(f"hostile: not written to docs/hostile.md, these are missing: {', '.join(missing)}")
            return
        before, _, rest = PAGE.read_text().partition(FIRST_LINE)
        _, _, after = rest.partition(LAST_LINE)
        PAGE.write_text(f"{before}{FIRST_LINE}\n\n{self.text()}\n{LAST_LINE}{after}")
