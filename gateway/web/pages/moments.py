"""When something was, as pages say it."""

import datetime

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
