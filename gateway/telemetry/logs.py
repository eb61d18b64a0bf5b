"""
Log lines: one JSON object each, or one readable line on a terminal.

A message says what happened; its facts travel as `extra={"fields": {...}}`. No token, cookie or password is ever
among them. Security events go to the logger `gateway.audit`; their message is `audit`, and `event` says which.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any

import msgspec

from gateway.clock import rfc3339

TOLD_AGAIN_SECONDS = 60
MAX_KINDS_TOLD = 64
MAX_HELD_BACK = 1_000
AUDIT_LOGGER = "gateway.audit"
_EMPTY: dict[str, Any] = {}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line without its end, in ASCII: some readers end a line at a letter that is no line feed."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", _EMPTY),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            text = msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # half a surrogate pair, as in the name of a file that is not UTF-8
            return json.dumps(line, default=str)
        return text if text.isascii() else json.dumps(json.loads(text))


class TextFormatter(logging.Formatter):
    """Time, level, message and the fields as name=value; a traceback follows indented, so that no line is forged."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line without its end."""
        fields = getattr(record, "fields", _EMPTY)
        facts = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = f"{_time(record)} {record.levelname.lower():7} {printable(record.getMessage())}{facts}"
        if record.exc_info:
            traceback = self.formatException(record.exc_info).split("\n")
            line += "".join(f"\n  {printable(text)}" for text in traceback)
        return line


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


def is_json(log_format: str | None) -> bool:
    """Tell whether the log is JSON: *log_format* is `text`, `json`, or None for text on a terminal and else JSON."""
    return log_format == "json" or (log_format is None and not sys.stderr.isatty())


def json_line(message: str) -> str:
    """Give the line of JSON that tells an error which has no logger yet."""
    record = logging.LogRecord("gateway", logging.ERROR, "", 0, message, None, None)
    return JsonFormatter().format(record)


def configure(log_format: str | None, log_level: str = "info") -> None:
    """
    Send every line from *log_level* on to stderr, in the form of `is_json`.

    Debug lines are ours alone: nobody has looked at what libraries write there.
    """
    # No line says where in the code it was written, or by which thread: finding that out is a third of its cost.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    level = _LEVELS[log_level]
    logging.basicConfig(handlers=[_handler(log_format)], level=max(level, logging.INFO), force=True)
    logging.getLogger("gateway").setLevel(level)
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.NOTSET)


def configure_for_commands(log_format: str | None, log_level: str = "info", *, tells_events: bool = True) -> None:
    """
    Keep quiet but for security events from *log_level* on, in the form of `is_json`: a command tells what went wrong in
    its own one line.

    Without *tells_events* these are kept in Redis alone, and only what gets lost of them is told.
    """
    logging.basicConfig(handlers=[_handler(log_format)], level=logging.CRITICAL, force=True)
    logging.getLogger("gateway").setLevel(logging.NOTSET)
    logging.getLogger(AUDIT_LOGGER).setLevel(_LEVELS[log_level] if tells_events else logging.ERROR)


@contextmanager
def events_held_back() -> Iterator[list[logging.LogRecord]]:
    """Give the security events that are told within the block, without a line: `log_held_back` writes it later."""
    logger, held = logging.getLogger(AUDIT_LOGGER), BufferingHandler(MAX_HELD_BACK)
    logger.addHandler(held)
    logger.propagate = False
    try:
        yield held.buffer
    finally:
        logger.propagate = True
        logger.removeHandler(held)


def log_held_back(records: list[logging.LogRecord]) -> None:
    """Write the lines of events that were held back."""
    for record in records:
        logging.getLogger(AUDIT_LOGGER).handle(record)


def log_what_python_tells() -> None:
    """Send to the log, too, what the interpreter would write to stderr itself: warnings, and errors nobody caught."""
    logger = logging.getLogger("gateway")

    def tell(error_type: type[BaseException], error: BaseException | None, traceback: Any) -> None:
        logger.critical("an error that nobody caught", exc_info=(error_type, error or error_type(), traceback))

    logging.captureWarnings(True)
    sys.excepthook = tell
    sys.unraisablehook = lambda told: tell(told.exc_type, told.exc_value, told.exc_traceback)
    threading.excepthook = lambda told: tell(told.exc_type, told.exc_value, told.exc_traceback)


def _time(record: logging.LogRecord) -> str:
    return rfc3339(record.created, "milliseconds")


def _handler(log_format: str | None) -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if is_json(log_format) else TextFormatter())
    return handler


def printable(text: str) -> str:
    """Give a text without what would move the cursor of a terminal, or begin another line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _plain(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)
