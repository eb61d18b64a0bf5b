"""The documents name what there is: settings, variables, pages, sources, versions and figures."""

import datetime
import difflib
import json
import re
from functools import reduce
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.test_readme import FENCE, PAGES, ROOT, code_of

DOCS = ROOT / "docs"
INDEX, COMPARISON, VERIFYING, FAQ = (DOCS / name for name in ("README.md", "comparison.md", "verifying.md", "faq.md"))
SETTINGS = set(Settings.__struct_fields__)
# GATEWAY_CONFIG is --config; the others are the shell's, in recipes.
OTHER_VARIABLES = {"config", "password", "token", "client_secret"}
# Words of the API and of the code that are nearly a setting, and none.
NEARLY_SETTINGS = {"access_tokens", "status_id", "status_lists"}
MARKED_FIGURE = re.compile(r"<!-- figure (\S+) (.+?) -->(\d+(?:,\d{3})*(?:\.\d+)?)")


def table_under(page: Path, heading: str) -> list[list[str]]:
    """Give the cells of the first table under a heading, row by row, without the line below its head."""
    text = page.read_text().partition(f"\n## {heading}\n")[2]
    rows = [line for line in re.split(r"^## ", text, flags=re.MULTILINE)[0].splitlines() if line.startswith("|")]
    assert len(rows) > 2, f"{page.name} has no table under {heading}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in (rows[0], *rows[2:])]


def targets(text: str) -> list[str]:
    """Give where the links of a text lead."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))


def test_the_index_has_every_document() -> None:
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in targets(INDEX.read_text()) if ":" not in target}
    documents = {path.resolve() for path in DOCS.rglob("*.md")} - {INDEX.resolve()}
    assert len(documents) > 30
    assert sorted(documents - linked) == []
    assert {ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")} <= linked
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_setting_that_is_named_is_one(page: Path) -> None:
    variables = {name.lower() for name in re.findall(r"\bGATEWAY_([A-Z_]+)\b", page.read_text())}
    assert {name for name in variables if name.removesuffix("_file") not in SETTINGS | OTHER_VARIABLES} == set()
    assigned = {match[1] for code in code_of(page) if (match := re.match(r"([a-z][a-z0-9]*(?:_[a-z0-9]+)+) = ", code))}
    assert assigned <= SETTINGS
    words = {
        word
        for code in code_of(page)
        for word in re.findall(r"(?<![\w./-])([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?![\w(.-])", code)
    }
    misspelt = {word: difflib.get_close_matches(word, SETTINGS, 1, 0.8) for word in words - SETTINGS - NEARLY_SETTINGS}
    assert {word: nearest for word, nearest in misspelt.items() if nearest} == {}


def test_every_cell_about_a_neighbour_has_its_source() -> None:
    head, *rows = table_under(COMPARISON, "What they do")
    assert head[1:] == ["token gateway", "Authelia", "oauth2-proxy", "tinyauth", "Keycloak", "Supabase Auth"]
    assert len(rows) > 20
    theirs = [(row[0], name, cell) for row in rows for name, cell in zip(head[2:], row[2:], strict=True)]
    assert [cell for cell in theirs if not targets(cell[2])] == []
    sources = {target for _, _, cell in theirs for target in targets(cell)}
    assert all(source.startswith("https://") for source in sources)
    print(f"{len(theirs)} cells about neighbours, {len(sources)} sources")


def test_the_comparison_says_of_which_day_it_is() -> None:
    [day] = re.findall(r"\*\*As of (\d{4}-\d\d-\d\d)\*\*", COMPARISON.read_text())
    assert datetime.date.fromisoformat(day) >= datetime.date(2026, 11, 29)


def locked_versions() -> dict[str, set[str]]:
    """Give the versions that each library of the programs is locked at, by its name on the page."""
    interop = ROOT / "tests" / "interop"
    node: dict[str, str] = json.loads((interop / "node" / "package.json").read_text())["dependencies"]
    pom = (interop / "java" / "pom.xml").read_text()
    cargo = (interop / "rust" / "Cargo.toml").read_text()
    found = [
        *re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / ".ci/requirements/test.txt").read_text(), re.MULTILINE),
        *node.items(),
        *re.findall(r"/([\w-]+)(?:/v\d+)? v(\S+)", (interop / "go" / "go.mod").read_text()),
        *(
            ("Spring Security", version)
            for version in re.findall(r"spring-security-[\w-]+</artifactId>\s*<version>([^<]+)", pom)
        ),
        *re.findall(r'^(\w+) = \{ version = "=([\d.]+)"', cargo, re.MULTILINE),
        *re.findall(r'"firebase/([\w-]+)": "([\d.]+)"', (interop / "php" / "composer.json").read_text()),
    ]
    locked: dict[str, set[str]] = {}
    for name, version in found:
        locked.setdefault(name, set()).add(version)
    return locked


def test_the_programs_were_run_with_the_versions_that_are_locked() -> None:
    _, *rows = table_under(VERIFYING, "Which of these were run")
    headings = re.findall(r"^## (.+)$", FENCE.sub("", VERIFYING.read_text()), re.MULTILINE)[1:-1]
    assert [row[0] for row in rows] == headings
    locked = locked_versions()
    said = {
        name: version
        for row in rows if not row[2].startswith("nobody")
        for name, version in re.findall(r"([A-Za-z][\w -]*?) (\d+\.[\d.]+\d)", row[1])
    }  # fmt: skip
    assert len(said) == 11
    assert {name: version for name, version in said.items() if version not in locked[name]} == {}


def figures() -> list[tuple[Path, str, str, str]]:
    """Give the figures that are marked as measured: page, file below benchmarks/results, path in it, and figure."""
    return [(page, *found) for page in PAGES for found in MARKED_FIGURE.findall(page.read_text())]


def test_there_are_marked_figures() -> None:
    assert figures()


@pytest.mark.parametrize(("page", "file", "path", "shown"), figures(), ids=str)
def test_a_marked_figure_is_the_one_that_was_measured(page: Path, file: str, path: str, shown: str) -> None:
    """Put the measured one there when this fails."""
    document = json.loads((ROOT / "benchmarks" / "results" / file).read_text())
    measured = reduce(lambda part, name: part[name], path.split(" > "), document)
    digits = len(shown.partition(".")[2])
    assert shown == f"{measured:,.{digits}f}", f"{page.name}: {path}"


def test_the_questions_are_short_and_each_has_its_answer() -> None:
    questions = re.findall(r"^\*\*(.+?[.?])\*\* (.*)$", FAQ.read_text(), re.MULTILINE)
    assert len(questions) > 30
    assert max(len(answer) for _, answer in questions) < 400
