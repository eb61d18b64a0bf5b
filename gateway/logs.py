"""
Log lines: one JSON object each, or one readable line on a terminal.

A message says what happened; its facts travel as `extra={"fields": {...}}`. No token, cookie or password is ever
among them. Security events go to the logger `gateway.audit` and carry a member `event`.
"""

import datetime
import logging
import sys
from typing import Any

import msgspec

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
