"""What a lock holds: that what is installed was made from it, and that a file is the one that it names."""

import hashlib
from pathlib import Path


class Unavailable(Exception):
    """A peer cannot be installed here; the text says why."""


def locked_file(folder: Path, lock: Path) -> Path:
    """Give the file that a lock of `sha256sum` names. Raises `Unavailable` when it is another one than it holds."""
    digest, name = lock.read_text().split()
    with (folder / name).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise Unavailable(f"not installed: {name} is not the file that {lock.name} holds")
    return folder / name


def is_installed(lock: Path, installed: Path) -> bool:
    """Tell whether *installed* was made from this very lock file."""
    stamp = installed / lock.name
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()
