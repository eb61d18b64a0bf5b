"""benchmarks/peers: what can be seen without installing and measuring the peers."""

import json
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"


def run_driver(*arguments: str) -> str:
    command = [sys.executable, str(FOLDER / "bench_peers.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_every_package_of_the_peers_is_locked_by_a_hash() -> None:
    for lock in FOLDER.glob("*/requirements.txt"):
        for package in re.split(r"\n(?=\S)", lock.read_text()):
            assert package.startswith("#") or "--hash=sha256:" in package, package
    npm_lock = json.loads((FOLDER / "oidc-provider" / "package-lock.json").read_text())
    assert [name for name, of in npm_lock["packages"].items() if name and "integrity" not in of] == []


def test_the_driver_tells_what_it_does() -> None:
    help_text = run_driver("--help")
    assert "--brief" in help_text
    assert "oidc-provider" in help_text


def test_the_table_in_the_readme_is_that_of_the_last_full_run() -> None:
    shown = re.search(r"<!-- table -->\n(.*)<!-- end -->", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert shown[1] == run_driver("--table")
