"""The packages of the peers, exactly as locked, in .work beside this file."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from locks import Unavailable, is_installed, locked_file
from measures import HERE

WORK = HERE / ".work"
STEPS = ("venv", "pip", "npm", "install", "ci", "go", "build", "mvn")


def install_python(name: str) -> Path:
    """Make a virtual environment exactly as locked, unless it is there already; give the folder of its programs."""
    lock, venv = HERE / name / "requirements.txt", WORK / name / "venv"
    if not is_installed(lock, venv):
        shutil.rmtree(venv, ignore_errors=True)
        run_installer([getattr(sys, "_base_executable", sys.executable), "-m", "venv", str(venv)], HERE)
        pip = [str(venv / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
        run_installer([*pip, "install", "--require-hashes", "-r", str(lock)], HERE)
        shutil.copy(lock, venv / lock.name)
    return venv / "bin"


def install_node(name: str) -> Path:
    """Give a folder with the peer's programs and its packages, exactly as locked."""
    home = WORK / name
    home.mkdir(parents=True, exist_ok=True)
    for path in (HERE / name).iterdir():
        shutil.copy(path, home)
    if shutil.which("node") is None:
        raise Unavailable("not installed: there is no node")
    lock, modules = home / "package-lock.json", home / "node_modules"
    if not is_installed(lock, modules):
        run_installer(["npm", "ci", "--no-audit", "--no-fund", "--silent"], home)
        shutil.copy(lock, modules / lock.name)
    return home


def install_go(name: str, tags: str = "") -> Path:
    """Build the program that the peer's go.mod names as its tool, of modules as go.sum holds them; give its folder."""
    lock, binaries = HERE / name / "go.sum", WORK / name
    if not is_installed(lock, binaries):
        binaries.mkdir(parents=True, exist_ok=True)
        places: dict[str, str | Path] = {
            "GOPATH": WORK / "go",
            "GOCACHE": WORK / "go" / "cache",
            "GOTOOLCHAIN": "local",
        }
        build = ["go", "build", "-modcacherw", "-mod=readonly", "-buildvcs=false", f"-tags={tags}"]
        run_installer([*build, "-o", f"{binaries}/", "tool"], HERE / name, places)
        shutil.copy(lock, binaries / lock.name)
    return binaries


def install_keycloak() -> Path:
    """Unpack Keycloak as SHA256SUMS holds it, and have it build itself for its own small database; give its folder."""
    lock, home = HERE / "keycloak" / "SHA256SUMS", WORK / "keycloak"
    if shutil.which("java") is None:
        raise Unavailable("not installed: there is no java")
    if not is_installed(lock, home):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        maven = ["mvn", "--quiet", "--batch-mode", f"-Dmaven.repo.local={WORK / 'maven'}"]
        run_installer([*maven, "dependency:copy-dependencies", f"-DoutputDirectory={home}"], HERE / "keycloak")
        archive = locked_file(home, lock)
        shutil.unpack_archive(archive, home)
        archive.unlink()
        (unpacked,) = home.glob("keycloak-*")
        unpacked.rename(home / "server")
        run_installer(["sh", "bin/kc.sh", "build", "--db=dev-file"], home / "server")
        shutil.copy(lock, home / lock.name)
    return home / "server"


def run_installer(command: list[str], cwd: Path, places: Mapping[str, str | Path] | None = None) -> None:
    """
    Run an installer, which speaks for itself.

    Args:
        places: What it finds in its environment beside what is there: where it puts its files.

    Raises:
        Unavailable: It is missing, or fails.
    """
    name = " ".join(word for word in (Path(command[0]).name, *command[1:]) if word in STEPS)
    try:
        env = {**os.environ, **(places or {})}  # noqa: TID251 - an installer has its own settings there
        status = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
    except FileNotFoundError:
        raise Unavailable(f"not installed: there is no {Path(command[0]).name}") from None
    if status != 0:
        raise Unavailable(f"not installed: {name} ended with status {status}")
