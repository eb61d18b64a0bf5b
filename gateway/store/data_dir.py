"""The data directory: made or checked, with the secret in it."""

import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from gateway.errors import StartupError
from gateway.ownership import not_ours
from gateway.settings import MIN_SECRET_BYTES

DUMP = "redis/dump.rdb"


def private_secret(data_dir: Path) -> str:
    """
    Read the secret in *data_dir*, or make it there on the first start: 32 random bytes as base64url.

    Of two first starts at once both get the same secret, and a crash leaves all of it or nothing.

    Raises:
        StartupError: Others may read the file, it has under `MIN_SECRET_BYTES`, it is gone although the private
            Redis has keys made with it, or *data_dir* is not fit to be used.
    """
    path = prepare_data_dir(data_dir) / "secret"
    try:
        # Looked up before the secret, which another first start makes before its first key.
        has_keys = has_log(path.parent) or (path.parent / DUMP).exists()
        if not path.exists():
            if has_keys:
                raise StartupError(
                    f"{path} is missing, and the keys in {path.parent} are of no use without it: put it back from a "
                    "backup, or set GATEWAY_SECRET to the same text"
                )
            _make_secret(path)
        if path.stat().st_mode & 0o077:
            raise StartupError(f"{path} can be read by others: chmod 600 {path}")
        secret = re.sub(rb"\r?\n\Z", b"", path.read_bytes())
    except OSError as error:
        raise unfit(path.parent, error) from error
    if len(secret) < MIN_SECRET_BYTES or not secret.isascii():
        raise StartupError(
            f"{path} is not the secret (under {MIN_SECRET_BYTES} bytes of text): restore it from a backup"
        )
    return secret.decode("ascii")


def prepare_data_dir(data_dir: Path) -> Path:
    """
    Make *data_dir* with mode 0700, or check that it is fit for secrets, and give it as an absolute path.

    Raises:
        StartupError: It is no directory, cannot be made or written to, or is open to others and not empty.
    """
    data_dir = data_dir.absolute()
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            data_dir.mkdir(mode=0o700)
        empty = not any(data_dir.iterdir())  # looked up before the mode: another start tightens it, then fills it
        if data_dir.stat().st_mode & 0o077:
            if not empty:
                raise StartupError(f"data_dir {data_dir} is open to other users: chmod 700 {data_dir}")
            data_dir.chmod(0o700)
    except OSError as error:
        raise unfit(data_dir, error) from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        if mend := not_ours(data_dir):
            raise StartupError(f"data_dir {data_dir} is not writable: {mend}")
        raise StartupError(f"data_dir {data_dir} is not writable: chmod 700 {data_dir}, or set another data_dir")
    return data_dir


def _make_secret(path: Path) -> None:
    fd, unfinished = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
    with open(fd, "w") as file:
        file.write(secrets.token_urlsafe(32))
        file.flush()
        os.fsync(fd)
    with suppress(FileExistsError):  # the other of two first starts was quicker
        os.link(unfinished, path)
    os.unlink(unfinished)
    directory_fd = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory_fd)  # no key may outlive the name of the secret that it was made with
    os.close(directory_fd)


def unfit(data_dir: Path, error: OSError) -> StartupError:
    """Say why a data directory cannot be used, and how to mend it."""
    path = Path(error.filename or data_dir)
    if isinstance(error, PermissionError) and (mend := not_ours(path)):
        return StartupError(f"data_dir {data_dir} cannot be used: {mend}")
    cause = f"{error.strerror}: {path}"
    return StartupError(
        f"data_dir {data_dir} cannot be used ({cause}): make it a directory of yours, or set another data_dir"
    )


def has_log(data_dir: Path) -> bool:
    """Tell whether the private Redis has written anything to its log."""
    files = (data_dir / "redis" / "appendonlydir").glob("*.*.*.*")  # not the manifest, which is never empty
    return any(file.stat().st_size for file in files)
