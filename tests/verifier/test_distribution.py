"""The verifier as a distribution of its own, `token-gateway-verifier`."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway import __version__

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gateway" / "verifier"
OURS = tomllib.loads((FOLDER / "pyproject.toml").read_text())


def test_it_has_the_version_of_the_gateway() -> None:
    assert OURS["project"]["version"] == __version__


def test_it_has_every_module() -> None:
    modules = {path.name for path in FOLDER.iterdir() if path.suffix == ".py"}
    assert set(OURS["tool"]["hatch"]["build"]["only-include"]) == {*modules, "py.typed"}


def test_the_oldest_that_it_takes_are_those_that_are_tested() -> None:
    bounds = {
        re.split("[>=<,]+", wanted)[0]: re.split("[>=<,]+", wanted)[1] for wanted in OURS["project"]["dependencies"]
    }
    lock = (ROOT / ".ci" / "requirements" / "verifier-oldest.txt").read_text()
    tested = dict(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==([0-9.]+)", lock, re.MULTILINE))
    assert bounds.keys() == {"cryptography", "msgspec", "pyjwt"}
    for name, bound in bounds.items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", tested[name]), name
    assert (tested["fastapi"], tested["redis"].partition(".")[0]) == ("0.115.12", "6")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_its_tests_pass_where_it_alone_is_installed(which: str) -> None:
    """Built, installed without the gateway, with the oldest and the newest of what it needs."""
    if which == "oldest" and sys.version_info >= (3, 12):
        pytest.skip("msgspec 0.14 has no wheel for this Python")
    # The longest of them looks at our own code alone, and is run once.
    done = subprocess.run(
        [".ci/verifier", which, "-k", "not hundred_thousand"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    print(done.stdout.splitlines()[-1])
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 500
