"""Whose a file is: what to tell when the system says no more than "Permission denied"."""

import os
import pwd
from pathlib import Path


def not_ours(path: Path) -> str:
    """
    Tell whose *path* is, and what to do, if it is another user's; nothing if it is ours.

    Where it cannot be looked at, the nearest folder above it that can is what is in the way.
    """
    for place in (path.absolute(), *path.absolute().parents):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        if owner == os.geteuid():
            return ""
        ours, theirs = _name(os.geteuid()), _name(owner)
        return f"{place} belongs to {theirs}, this is {ours}: run it as {theirs}, or chown -R {ours} {place}"
    return ""


def _name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
