"""Fixtures: what `make dist` makes, built once for all test processes, and an environment that it is installed into."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.artefacts.installing import ROOT, Installation, build, make_environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes a clone: the sources know by git what belongs to them."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        for item in items:
            if "built" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="artefacts are built from a clone, by git"))


@contextlib.contextmanager
def once_for_all(factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """Give a folder that all test processes share, and whether it is still to be made."""
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base  # noqa: TID251 - pytest says it there alone
    folder, mark = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, not mark.exists()
        mark.touch()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with all that is published."""
    with once_for_all(tmp_path_factory, "artefacts") as (folder, is_new):
        if is_new:
            build(ROOT, folder)
    return folder


@pytest.fixture(scope="session")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an environment with the wheel of the gateway, with what it says that it needs, and nothing else."""
    (wheel,) = built.glob("token_gateway-*.whl")
    with once_for_all(tmp_path_factory, "environment") as (folder, is_new):
        if is_new:
            make_environment(folder, wheel, {"embedded"})
    return folder


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installation:
    """Give that environment to somebody whose home is empty; change nothing in it."""
    (tmp_path / "home").mkdir()
    return Installation(environment, tmp_path / "home")
