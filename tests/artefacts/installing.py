"""Building what is published, and installing it as a user does, without an index of packages."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def build(sources: Path, to: Path, **environment: str) -> None:
    """Build all that is published from a clone, into a folder."""
    done = subprocess.run(
        [sys.executable, str(sources / ".ci" / "dist"), str(to)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},  # noqa: TID251 - for the child
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Installation:
    """An environment of Python with its own `gateway`, in which nothing of this repository can be seen."""

    folder: Path
    home: Path

    @property
    def environ(self) -> dict[str, str]:
        """What its commands find in their environment: an empty home, its own programs and those of the system."""
        return {"HOME": str(self.home), "PATH": f"{self.folder}/bin", "LANG": "C.UTF-8"}

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `gateway WORDS` in the empty home and give what it printed."""
        command = [str(self.folder / "bin" / "gateway"), *words]
        return subprocess.run(
            command, cwd=self.home, env=self.environ, input=stdin, capture_output=True, text=True, timeout=60
        )


def needed_by(name: str, extras: set[str]) -> Iterator[str]:
    """Give the distributions that one needs itself, here, by what it says."""
    for text in importlib.metadata.requires(name) or []:
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield canonicalize_name(wanted.name)


def all_needed_by(name: str, extras: set[str]) -> set[str]:
    """Give all the distributions that one does not work without."""
    found: set[str] = set()
    ahead = list(needed_by(name, extras))
    while ahead:
        if (other := ahead.pop()) not in found:
            found.add(other)
            ahead += needed_by(other, set())
    return found


def make_environment(folder: Path, wheel: Path, extras: set[str]) -> None:
    """
    Install a wheel with extras into an environment of its own, without an index of packages.

    What it says that it needs are the very files that are installed beside the tests.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    words = ["--quiet", "--no-input", "--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", "pip", *words, str(wheel)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    for needed in all_needed_by(wheel.name.partition("-")[0], extras):
        described = importlib.metadata.distribution(needed)
        for top in {file.parts[0] for file in described.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(described.locate_file(top))))
