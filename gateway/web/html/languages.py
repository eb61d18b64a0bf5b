"""The languages of the pages: one TOML file each, chosen by `?lang=` or by `Accept-Language` (RFC 9110 12.5.4)."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

Texts = Mapping[str, str]

LANGUAGES = ("en", "de", "fr", "es")
MAX_RANGES = 32
_RANGE = re.compile(
    r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


def read_texts(directory: Path) -> dict[str, Texts]:
    """Give the texts of every language, by its name."""
    return {name: tomllib.loads((directory / f"{name}.toml").read_text("utf-8")) for name in LANGUAGES}


def chosen_language(asked: str) -> str | None:
    """Give the language that somebody asks for by name; None for one that we do not have."""
    return asked if asked in LANGUAGES else None


def preferred_language(accept_language: str) -> str:
    """
    Give the language that a browser likes best of ours, else English.

    Looked up by the first part of each range (RFC 4647 section 3.4): Austrian German is German here. What is no range
    is skipped; of equals the first counts.
    """
    weights: dict[str, float] = {}
    for text in accept_language.split(",")[:MAX_RANGES]:
        if match := _RANGE.fullmatch(text.strip(" \t")):
            name = match[1].partition("-")[0].lower()
            weights.setdefault(LANGUAGES[0] if name == "*" else name, float(match[2] or 1))
    known = {name: weight for name, weight in weights.items() if name in LANGUAGES and weight > 0}
    return max(known, key=known.__getitem__, default=LANGUAGES[0])
