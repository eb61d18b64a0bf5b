"""docs/standards.md is what the docstrings of the tests say, and nothing is shown that there is not."""

import pytest

from tests.standards import inventories
from tests.standards.scoreboard import PAGE, Point, names_in, page, points_shown, read_standards, scores

STANDARDS = read_standards()
POINTS = {point.name: point for standard in STANDARDS for point in standard.points}
SHOWN = points_shown()


def test_the_pages_are_those_that_are_made() -> None:
    """Run `make standards` when this fails."""
    assert PAGE.read_text() == page(STANDARDS, SHOWN)
    assert inventories.PAGE.read_text() == inventories.with_tables(inventories.PAGE.read_text())


def test_every_point_that_a_test_names_exists() -> None:
    assert SHOWN.keys() - POINTS.keys() == set()


@pytest.mark.parametrize("point", POINTS.values(), ids=lambda point: point.name)
def test_a_point_is_shown_by_a_test_or_has_a_reason(point: Point) -> None:
    assert point.asks
    assert (point.name in SHOWN) is not bool(point.open)
    assert not (point.open and point.note)


def test_there_are_the_265_points_that_were_chosen_and_at_least_255_are_shown() -> None:
    counted = [len(standard.points) for standard in STANDARDS if standard.is_counted]
    assert counted == [185, 20, 15, 14, 31]
    assert len(POINTS) == sum(len(standard.points) for standard in STANDARDS), "each is there once"
    for score in scores(STANDARDS, SHOWN):
        print(f"{score.kind}: {score.shown} of {score.points} shown, {score.noted} of these with a note")
    assert score.points == 265
    assert score.shown >= 255


@pytest.mark.parametrize(
    ("docstring", "names"),
    [
        ("A law.", []),
        ("Shows ASVS 6.2.1.", ["ASVS 6.2.1"]),
        ("T9: of\n two lines.\n\n    Shows ASVS 6.2.1, RFC 9700\n    4.14.2a.", ["ASVS 6.2.1", "RFC 9700 4.14.2a"]),
        ("Shows NIST 3.1.1.2-bl. And more of it.", ["NIST 3.1.1.2-bl"]),
    ],
)
def test_what_a_docstring_shows_is_read(docstring: str, names: list[str]) -> None:
    assert names_in(docstring) == names
