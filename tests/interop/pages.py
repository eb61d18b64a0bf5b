"""The code blocks of a page of docs/, by the heading that they stand under, and a shell to run commands with."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MACHINES = "machines.md"
# The addresses that the recipes name: the gateway, and an application behind a proxy.
AUTH, APP = "https://auth.example.com", "https://app.example.com"
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


def lines_that_ask() -> dict[str, str]:
    """Give, by the name of each proxy, the line that makes it ask for a password (docs/machines.md)."""
    text = (DOCS / MACHINES).read_text().partition("### A proxy that asks for a password")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (\w+) \| `(?:address: \"…)?([^`]+?)\"?` \|$", text, re.MULTILINE)
    return {name.lower(): line for name, line in rows}


def put_in(code: str, values: dict[str, str]) -> str:
    """Put real values into a block; each must be there to be replaced."""
    for shown, real in values.items():
        assert shown in code, f"the block has no {shown}:\n{code}"
        code = code.replace(shown, real)
    return code


def shell(commands: str, env: Mapping[str, str], **options: Any) -> str:
    """Run commands in a shell that ends at the first one that fails, and give what they printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # noqa: TID251 - for a child
    known = {"PATH": path, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], env=dict(env) | known, capture_output=True, text=True, timeout=60, **options
    )
    assert done.returncode == 0, f"{commands}\nprinted\n{done.stdout}\nand\n{done.stderr}"
    printed: str = done.stdout
    return printed
