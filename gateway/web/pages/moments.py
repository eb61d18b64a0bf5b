"""When something was, as pages say it."""

import datetime
from typing import Any

from gateway.clock import rfc3339

MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3600, 86_400


def ago(seconds: int) -> tuple[str, int]:
    """Give how long ago something was, as one of the texts `ago_*` and its number."""
    for unit, size in (("days", DAY_SECONDS), ("hours", HOUR_SECONDS), ("minutes", MINUTE_SECONDS)):
        if seconds >= (2 * size if unit == "days" else size):
            return f"ago_{unit}", seconds // size
    return "ago_now", 0


def day_of(seconds: int) -> datetime.datetime:
    """Give the day of a moment, in seconds since the epoch, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def last_use(used_at: int | None, now: int) -> dict[str, Any]:
    """Give when something was last used, as templates show it; `used_unit` is empty for never."""
    unit, count = ("", 0) if used_at is None else ago(now - used_at)
    return {"used_unit": unit, "used_count": count, "used_at": "" if used_at is None else rfc3339(used_at)}
