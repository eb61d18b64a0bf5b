"""
Log lines: one JSON object each, or one readable line on a terminal.

A message says what happened; its facts travel as `extra={"fields": {...}}`. No token, cookie or password is ever
among them. Security events go to the logger `gateway.audit` and carry a member `event`.
"""

import datetime
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

TOLD_AGAIN_SECONDS = 60
MAX_KINDS_TOLD = 64
_EMPTY: dict[str, Any] = {}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line without its end."""
        fields = getattr(record, "fields", _EMPTY)
        line = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """Time, level, message and the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line without its end."""
        fields = getattr(record, "fields", _EMPTY)
        facts = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = f"{_utc(record.created)} {record.levelname.lower():7} {record.getMessage()}{facts}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class OnceAMinute:
    """
    Warns of what clients can bring about at will: of each kind once a minute, and of at most `MAX_KINDS_TOLD`.

    Args:
        monotonic: Seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._logger = logging.getLogger("gateway")
        self._told: dict[tuple[str, str], float] = {}

    def warn(self, message: str, kind: str = "", **fields: object) -> None:
        """Log *message* with its *fields*, unless one of the same message and *kind* was logged within the minute."""
        now = self._monotonic()
        self._told = {one: told_at for one, told_at in self._told.items() if now - told_at < TOLD_AGAIN_SECONDS}
        if (message, kind) not in self._told and len(self._told) < MAX_KINDS_TOLD:
            self._told[message, kind] = now
            self._logger.warning(message, extra={"fields": fields})


def configure(log_format: str | None) -> None:
    """Send every line to stderr; *log_format* is `text`, `json`, or None for text on a terminal and else JSON."""
    text = log_format == "text" or (log_format is None and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    # No line says where in the code it was written, or by which thread: finding that out is a third of its cost.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _plain(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)


def configure_for_commands() -> None:
    """Keep quiet but for errors: a command tells what went wrong in its own one line."""
    logging.basicConfig(level=logging.CRITICAL, force=True)
