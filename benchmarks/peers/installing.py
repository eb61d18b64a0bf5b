"""The packages of the peers, exactly as locked, in .work beside this file."""

import shutil
import subprocess
import sys
from pathlib import Path

from measures import HERE

WORK = HERE / ".work"
STEPS = ("venv", "pip", "npm", "install", "ci")


class Unavailable(Exception):
    """A peer cannot be installed here; the text says why."""


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


def is_installed(lock: Path, installed: Path) -> bool:
    """Tell whether *installed* was made from this very lock file."""
    stamp = installed / lock.name
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()


def run_installer(command: list[str], cwd: Path) -> None:
    """Run an installer, which speaks for itself. Raises `Unavailable` when it is missing or fails."""
    name = " ".join(word for word in (Path(command[0]).name, *command[1:]) if word in STEPS)
    try:
        status = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        raise Unavailable(f"not installed: there is no {Path(command[0]).name}") from None
    if status != 0:
        raise Unavailable(f"not installed: {name} ended with status {status}")
