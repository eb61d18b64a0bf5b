"""Wall-clock time as a value that is passed in, so that tests move it instead of sleeping."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives whole seconds since the epoch (RFC 7519 NumericDate without fraction)."""


def system_clock() -> int:
    """Give the host's wall-clock time in whole seconds since the epoch."""
    return int(time.time())  # noqa: TID251 - the one place that reads the wall clock
