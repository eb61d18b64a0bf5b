"""Wall-clock time as a value that is passed in, so that tests move it instead of sleeping."""

import datetime
import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives whole seconds since the epoch (RFC 7519 NumericDate without fraction)."""


def system_clock() -> int:
    """Give the host's wall-clock time in whole seconds since the epoch."""
    return int(time.time())  # noqa: TID251 - the one place that reads the wall clock


def rfc3339(seconds: float, timespec: str = "seconds") -> str:
    """Write seconds since the epoch as RFC 3339 in UTC, as precise as *timespec* says (`datetime.isoformat`)."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec=timespec)[:-6] + "Z"
