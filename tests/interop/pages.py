"""The code blocks of a page of docs/, by the heading that they stand under."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PARTS = re.compile(
    r"^(?:#{2,3} (?P<heading>[^\n]*)|```(?P<language>\w*)\n(?P<code>.*?)^```)$", re.MULTILINE | re.DOTALL
)


def blocks(page: str, heading: str, language: str) -> list[str]:
    """Give the blocks of one language under a heading, in their order. Fails when there is none."""
    under, found = "", []
    for part in PARTS.finditer((DOCS / page).read_text()):
        if part["heading"] is not None:
            under = part["heading"]
        elif (under, part["language"]) == (heading, language):
            found.append(part["code"])
    assert found, f"docs/{page} has no {language} under {heading}"
    return found


def put_in(code: str, values: dict[str, str]) -> str:
    """Put real values into a block; each must be there to be replaced."""
    for shown, real in values.items():
        assert shown in code, f"the block has no {shown}:\n{code}"
        code = code.replace(shown, real)
    return code
