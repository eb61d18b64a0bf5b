"""Log lines: one line each, whatever they tell."""

import io
import itertools
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from gateway.telemetry import logs

HOSTILE = [
    "a\nb",
    "a\r\nevil: 1",
    "a\x1b[2Jb",
    "a\0b",
    "a b",
    "",
    "a=b",
    'a"b',
    "\u2028",
    "\u202e",
    '{"event":"login_succeeded"}',
]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Give the root logger without handlers; afterwards it, and ours, are as they were."""
    logger, ours = logging.getLogger(), [logging.getLogger("gateway"), logging.getLogger(logs.AUDIT_LOGGER)]
    handlers, levels = logger.handlers[:], [one.level for one in (logger, *ours)]
    logger.handlers = []
    yield logger
    logger.handlers = handlers
    for one, level in zip((logger, *ours), levels, strict=True):
        one.setLevel(level)


def record(message: str = "something happened", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.test", logging.INFO, "a-path", 1, message, (), None)
    made.created = 1_790_000_000.25
    if fields:
        made.fields = fields
    return made


def test_a_json_line_has_time_level_logger_message_and_the_facts() -> None:
    """Shows ASVS 16.2.1, ASVS 16.2.2, ASVS 16.2.4."""
    line = logs.JsonFormatter().format(record(event="logout", sub="usr_x", count=3, names=["a", "b"]))
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "info",
        "logger": "gateway.test",
        "message": "something happened",
        "event": "logout",
        "sub": "usr_x",
        "count": 3,
        "names": ["a", "b"],
    }


def test_a_text_line_has_the_same_in_a_readable_order() -> None:
    line = logs.TextFormatter().format(record(event="logout", sub="usr_x", count=3))
    assert line == "2026-09-21T14:13:20.250Z info    something happened event=logout sub=usr_x count=3"
    assert logs.TextFormatter().format(record()) == "2026-09-21T14:13:20.250Z info    something happened"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_fact_makes_a_second_line_or_another_fact(text: str) -> None:
    """Nobody forges a line with the name of his browser. Shows ASVS 16.4.1."""
    json_line = logs.JsonFormatter().format(record(device=text, end=1))
    assert "\n" not in json_line
    assert json.loads(json_line)["device"] == text
    text_line = logs.TextFormatter().format(record(device=text, end=1))
    assert text_line.isprintable()
    assert text_line.count(" end=1") == 1


@pytest.mark.parametrize("fact", [ValueError("x"), object(), b"\xff", {1, 2}, float("nan"), 2**70, None, io.StringIO])
def test_a_fact_of_any_kind_is_written(fact: object) -> None:
    assert "fact" in json.loads(logs.JsonFormatter().format(record(fact=fact)))
    assert "fact=" in logs.TextFormatter().format(record(fact=fact))


def test_an_error_brings_its_traceback() -> None:
    failed = record()
    try:
        raise ValueError("the cause")
    except ValueError:
        failed.exc_info = sys.exc_info()
    line = logs.JsonFormatter().format(failed)
    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("ValueError: the cause")
    assert logs.TextFormatter().format(failed).endswith("ValueError: the cause")


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("text", False), (None, True)])
def test_the_chosen_format_is_written_to_stderr(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], log_format: str | None, is_json: bool
) -> None:
    """Without a choice it is JSON where stderr is no terminal. Shows ASVS 16.2.3."""
    logs.configure(log_format)
    logging.getLogger("gateway.test").info("something %s", "happened", extra={"fields": {"a": 1}})
    logging.getLogger("gateway.test").debug("not told")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("{") is is_json
    assert "something happened" in captured.err


def test_on_a_terminal_it_is_text(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    logs.configure(None)
    logging.getLogger("gateway.test").info("something happened")
    assert not capsys.readouterr().err.startswith("{")


def test_commands_tell_nothing_but_their_own_line(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure_for_commands(None)
    logging.getLogger("gateway.store").error("redis does not serve")
    assert capsys.readouterr().err == ""


def test_what_clients_bring_about_is_told_once_a_minute_of_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    once = logs.OnceAMinute(lambda: now)
    told = []
    for now, message, kind in (
        (0.0, "a", ""), (1.0, "a", ""), (2.0, "a", "x"), (3.0, "b", ""),
        (59.9, "a", ""), (60.0, "a", ""), (61.9, "a", "x"), (62.0, "a", "x"), (119.9, "a", ""),
    ):  # fmt: skip
        before = len(caplog.records)
        once.warn(message, kind, seen=now)
        told += [(now, message, kind)] * (len(caplog.records) - before)
    assert told == [(0.0, "a", ""), (2.0, "a", "x"), (3.0, "b", ""), (60.0, "a", ""), (62.0, "a", "x")]


def test_of_kinds_that_clients_make_up_so_many_are_told_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    times = itertools.chain.from_iterable([now] * 1000 for now in (0.0, 59.0, 60.0))
    once = logs.OnceAMinute(lambda: next(times))
    for number in range(3000):
        once.warn("a", str(number))
    assert len(caplog.records) == 2 * logs.MAX_KINDS_TOLD
