"""What every benchmark needs: rounds in turn, their ratio, the machine, a table and its JSON."""

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.processes import SBIN, others_share
from gateway.store.private import find_server

IS_BRIEF = os.environ.get("BRIEF", "0") not in ("", "0")  # noqa: TID251 - how a benchmark is told
FOLDER = Path(__file__).parent
RESULTS = Path(os.environ.get("RESULTS") or FOLDER / "results" / ("brief" if IS_BRIEF else "full"))  # noqa: TID251 - likewise
LIBRARIES = ("starlette", "uvicorn", "uvloop", "httptools", "redis", "pyjwt", "cryptography", "bcrypt", "msgspec")
T = TypeVar("T")
U = TypeVar("U")


def chosen(full: T, brief: T) -> T:
    """Give the value for a full run, or that for a brief one (`BRIEF=1`)."""
    return brief if IS_BRIEF else full


@dataclass(frozen=True)
class Row:
    """
    One answer: a ratio, and what it should be.

    Args:
        number: Of the row in benchmarks/README.md.
        measured: What the gateway did, with its unit.
        ceiling: What it is compared with, and what that did.
        ratio: Median over adjacent rounds, or a single one where there are no rounds.
        target: What *ratio* should reach, or with *at_most* not exceed.
        details: Medians of the rounds, by names that tell their units.
    """

    number: str
    name: str
    measured: str
    ceiling: str
    ratio: float
    target: float
    at_most: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_reached(self) -> bool:
        """Tell whether the target is reached."""
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def in_turn(first: Callable[[], T], second: Callable[[], U], rounds: int) -> tuple[list[T], list[U]]:
    """Measure A B A B ..., so that whatever slows the machine down for a while slows both."""
    firsts, seconds = [], []
    for _ in range(rounds):
        firsts.append(first())
        seconds.append(second())
    return firsts, seconds


def median_ratio(firsts: Sequence[float], seconds: Sequence[float]) -> float:
    """Give the median of A1/B1, A2/B1, A2/B2, ...: each round is compared with those just before and after it."""
    same = [a / b for a, b in zip(firsts, seconds, strict=True)]
    following = [a / b for a, b in zip(firsts[1:], seconds[:-1], strict=True)]
    return statistics.median(same + following)


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that *share* of all do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


# ------------------------------------------------------------------------------------------------------------- results


def _version_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return ((done.stdout + done.stderr).splitlines() or ["?"])[0].strip()


def machine() -> dict[str, Any]:
    """Describe the machine and what runs on it."""
    cpu = Path("/proc/cpuinfo").read_text()
    memory_kib = int(Path("/proc/meminfo").read_text().partition("MemTotal:")[2].split()[0])
    programs = {
        name: _version_of(path, flag).partition(" Copyright")[0].partition(" [")[0]
        for name, flag in (("wrk", "-v"), ("nginx", "-v"))
        if (path := shutil.which(name) or shutil.which(name, path=SBIN))
    }
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu.partition("model name\t: ")[2].partition("\n")[0] or platform.machine(),
        "memory_gib": round(memory_kib / 1024**2, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "redis": find_server()[1],
        "programs": programs,
    }


def publish(name: str, rows: Sequence[Row], **more: Any) -> None:
    """Print the table of a benchmark and write its JSON; what its rows say is for the reader to judge."""
    described, others = machine(), others_share()
    print("{cores} cores of {cpu}, {memory_gib} GiB".format(**described), f"others used {others:.1%} of them", sep="; ")
    print("{kernel}, {python}, {redis}".format(**described), *described["programs"].values(), sep=", ")
    print(*(f"{library} {version}" for library, version in described["libraries"].items()), sep=", ")
    print(table([asdict(row) | {"is_reached": row.is_reached} for row in rows]))
    for row in rows:
        if row.details:
            print(f"  {row.number}: " + ", ".join(f"{what} {plain(value)}" for what, value in row.details.items()))
    if IS_BRIEF:
        print("  brief: its figures say that the benchmark works, and nothing else")
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = {
        "name": name,
        "form": "brief" if IS_BRIEF else "full",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": described,
        "others_share": round(others, 3),
        "rows": [asdict(row) | {"is_reached": row.is_reached} for row in rows],
        **more,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Give rows as a Markdown table."""
    lines = [("Row", "Path", "Gateway", "Ceiling", "Ratio", "Target", "")]
    for row in rows:
        bound = f"{'≤' if row['at_most'] else '≥'} {row['target']:g}"
        said = "reached" if row["is_reached"] else "**not reached**"
        ratio = f"{row['ratio']:.3g}"
        lines.append((row["number"], row["name"], row["measured"], row["ceiling"], ratio, bound, said))
    lines.insert(1, ("---",) * 7)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(value: Any) -> str:
    """Give a figure with three digits or more; also lists and dictionaries of figures."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, dict):
        return " ".join(f"{name} {plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "/".join(plain(item) for item in value)
    return str(value)
