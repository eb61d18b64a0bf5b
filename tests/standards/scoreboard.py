"""
Which test shows which point of a standard: reads the docstrings of the tests, and writes docs/standards.md.

A test says what it shows in its docstring, as `Shows ASVS 6.2.1, NIST 3.1.1.2-1.`; what the points are is in
points.toml. `python -m tests.standards.scoreboard` writes the page and prints its numbers.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.standards import inventories

TESTS = Path(__file__).parents[1]
POINTS = Path(__file__).with_name("points.toml")
PAGE = TESTS.parent / "docs" / "standards.md"
SHOWS = re.compile(r"\bShows ([^;:]+?)\.(?=\s|$)")

INTRODUCTION = """\
# Standards

What the gateway is held to by standards, point by point, and which test shows it. A point counts when a test shows it that would fail without it; a document is a test's subject too. What is not shown has its reason. `make standards` makes this page from the docstrings of the tests (`Shows ASVS 6.2.1.`) and from [points.toml](../tests/standards/points.toml), and prints the numbers; the words are ours, the ids are the standards'.

Left out as not applicable, and not counted: 160 points of ASVS on what the gateway does not have (files, WebRTC, GraphQL, XML, LDAP, mail, the code flow and its clients, hardware modules, sender-constrained tokens of level 3). Some of these came with [second factors](second-factors.md) and [machine clients](machines.md): they are at the end, and counted apart.
"""  # noqa: E501 - a paragraph of the page is a line


@dataclass(frozen=True)
class Point:
    """
    One requirement of a standard.

    `note` is what has to be known of how it is shown: a setting that is not the default, or an exception. `open` is
    why it is not shown; empty for those that are.
    """

    name: str
    asks: str
    level: int = 0
    note: str = ""
    open: str = ""


@dataclass(frozen=True)
class Standard:
    """
    A standard, and its points in the order of its sections; `prefix` is the first part of their names.

    What is not counted is not in the numbers over all.
    """

    prefix: str
    title: str
    source: str
    points: tuple[Point, ...]
    is_counted: bool = True


@dataclass(frozen=True)
class Test:
    """A test by its file, as seen from tests/, and its name."""

    __test__ = False

    file: str
    name: str

    def __str__(self) -> str:
        """Give a link to it, as it stands in docs/."""
        return f"[{self.name}](../tests/{self.file})"


Shown = dict[str, list[Test]]
"""The tests that show a point, by its name; in the order of their files."""


def read_standards() -> tuple[Standard, ...]:
    """Give the standards of points.toml."""
    return tuple(
        Standard(
            **(standard | {"points": ()})
            | {"points": tuple(_point(standard["prefix"], **p) for p in standard["points"])}
        )
        for standard in tomllib.loads(POINTS.read_text())["standards"]
    )


def _point(prefix: str, *, id: str, asks: str, level: int = 0, note: str = "", open: str = "") -> Point:
    return Point(f"{prefix} {id}", asks, level, note, open)


def names_in(docstring: str) -> list[str]:
    """Give the names of the points that a docstring says are shown."""
    said = " ".join(docstring.split())
    return [name.strip() for match in SHOWS.finditer(said) for name in match[1].split(",")]


def points_shown() -> Shown:
    """Give what the docstrings of all tests say; names of points that there are not are there as well."""
    shown: Shown = {}
    for test, docstring in _docstrings():
        for name in names_in(docstring):
            shown.setdefault(name, []).append(test)
    return shown


def _docstrings() -> Iterator[tuple[Test, str]]:
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield Test(str(path.relative_to(TESTS)), node.name), ast.get_docstring(node) or ""


@dataclass(frozen=True)
class Score:
    """How many points there are of some kind, how many of these are shown, and how many of these with a note."""

    kind: str
    points: int
    shown: int
    noted: int

    @classmethod
    def of(cls, kind: str, points: list[Point], shown: Shown) -> "Score":
        """Count *points*."""
        seen = [point for point in points if point.name in shown and not point.open]
        return cls(kind, len(points), len(seen), sum(bool(point.note) for point in seen))


def scores(standards: tuple[Standard, ...], shown: Shown) -> list[Score]:
    """Give a score for each standard, for each level of one that has levels, and at last for all that is counted."""
    found = []
    for standard in standards:
        found.append(Score.of(standard.title, list(standard.points), shown))
        for level in sorted({point.level for point in standard.points} - {0}) if standard.is_counted else ():
            of_level = [point for point in standard.points if point.level == level]
            found.append(Score.of(f"{standard.prefix} level {level}", of_level, shown))
    counted = [point for standard in standards if standard.is_counted for point in standard.points]
    return [*found, Score.of(f"the {len(counted)}", counted, shown)]


def page(standards: tuple[Standard, ...], shown: Shown) -> str:
    """Give the text of docs/standards.md."""
    lines = [INTRODUCTION, "| standard | points | shown | of these with a note | not shown |", "| --- " * 5 + "|"]
    lines += [
        f"| {score.kind} | {score.points} | {score.shown} | {score.noted} | {score.points - score.shown} |"
        for score in scores(standards, shown)
    ]
    lines += ["", "## Not shown", "", "| point | asks | why not |", "| --- | --- | --- |"]
    lines += [f"| {p.name}{_level(p)} | {p.asks} | {p.open} |" for s in standards for p in s.points if p.open]
    for standard in standards:
        lines += [
            "",
            f"## {standard.title}",
            "",
            standard.source,
            "",
            "| point | asks | shown by |",
            "| --- " * 3 + "|",
        ]
        lines += [f"| {p.name}{_level(p)} | {p.asks} | {_shown_by(p, shown)} |" for p in standard.points]
    return "\n".join(lines) + "\n"


def _level(point: Point) -> str:
    return f" [{point.level}]" if point.level else ""


def _shown_by(point: Point, shown: Shown) -> str:
    if point.open:
        return "not shown, see above"
    tests = "<br>".join(map(str, shown.get(point.name, [])))
    return f"{tests}<br>Note: {point.note}" if point.note else tests


def main() -> int:
    """Write the page, and the tables of docs/protection.md that are made; print the numbers."""
    standards, shown = read_standards(), points_shown()
    PAGE.write_text(page(standards, shown))
    inventories.PAGE.write_text(inventories.with_tables(inventories.PAGE.read_text()))
    for score in scores(standards, shown):
        print(f"{score.kind:70} {score.shown:3} of {score.points:3} shown, {score.noted} of these with a note")
    missing = [p.name for s in standards for p in s.points if not p.open and p.name not in shown]
    print(f"written: {PAGE.name}, {inventories.PAGE.name}")
    if missing:
        print(f"neither shown nor with a reason: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
