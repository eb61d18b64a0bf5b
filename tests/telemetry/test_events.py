"""The catalogue of events: it is what the docs say, and everything that is told is in it, and nothing else is."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry import EVENTS, VERDICTS, Event

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "telemetry.md"
BEGINS, ENDS = "<!-- events: written by tests/telemetry/test_events.py -->\n", "<!-- end of events -->\n"
NAMES_OF_THE_CONTRACT = (
    *("login_succeeded", "login_failed", "second_factor_failed", "refresh_token_reused", "logout", "sessions_revoked"),
    *("password_changed", "user_added", "user_changed", "user_removed", "user_invited"),
    *(
        "factor_added",
        "factor_removed",
        "token_created",
        "token_revoked",
        "client_added",
        "client_changed",
        "client_removed",
        "key_rotated",
        "key_imported",
        "rate_limited",
    ),
)
# Reasons that are no word in the call, and where they come from.
GIVEN_ELSEWHERE = {
    ("LOGIN_FAILED", "error.cause"): {"wrong-password", "unknown-user", "user-disabled", "user-changed"},
    ("LOGIN_SUCCEEDED", "reason"): {"", "invitation", "totp", "recovery", "passkey"},
    ("SECOND_FACTOR_FAILED", "error.cause"): {
        v.cause for v in VERDICTS if v.slug == "second-factor-invalid" and v.cause
    },
    ("FACTOR_ADDED", "factor.kind"): {"totp", "passkey"},
    ("FACTOR_ADDED", "proved.kind"): {"totp", "passkey"},
    ("FACTOR_ADDED", "RECOVERY"): {"recovery"},
    ("RATE_LIMITED", "error.limit"): {
        *(
            "login",
            "refresh",
            "change-password",
            "second-factor",
            "passkey",
            "factors",
            "tokens",
            "oauth",
            "oauth-client",
            "account",
        )
    },
    ("USER_REMOVED", "reason"): {"", "doctor"},
    ("KEY_ROTATED", "reason"): {"first", "due", "by-command", "forced", "compromised"},
}


def events_table() -> str:
    """Write the table of the page."""
    lines = ["| event | outcome | `reason` | |", "| --- | --- | --- | --- |"]
    for event in EVENTS:
        members = ", ".join(f"`{name}`" for name in event.members)
        lines.append(f"| **`{event.name}`** | | | {event.meaning} Tells {members}. |")
        for outcome, reasons in (("success", event.successes), ("failure", event.failures)):
            for reason, meaning in reasons.items():
                lines.append(f"| | {outcome} | {f'`{reason}`' if reason else ''} | {meaning} |")
    return "\n".join(lines) + "\n"


def calls() -> Iterator[tuple[str, str, str]]:
    """Give what is told anywhere: where, the event, and the reason as it is written there."""
    for path in sorted((REPOSITORY / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            words = [ast.unparse(argument) for argument in (node.func, *node.args)]
            if words[:2] == ["partial", "tell"]:
                del words[0]
            if not words.pop(0).endswith("tell"):
                continue
            if words and words[0].isidentifier() and words[0].isupper():
                after = 2 if words[1:2] == ["request"] or words[1:2] == ["ours"] else 1
                yield f"{path.name}:{node.lineno}", words[0], words[after] if len(words) > after else "''"


def test_the_page_has_the_catalogue() -> None:
    """Put `events_table()` there when this fails."""
    written = PAGE.read_text().partition(BEGINS)[2].partition(ENDS)[0]
    assert written == events_table()


def test_the_mapping_of_the_page_has_every_event() -> None:
    mapping = PAGE.read_text().partition("| event | ECS `event.category`, `event.type` |")[2].partition("\n###")[0]
    firsts = [line.split("|")[1] for line in mapping.splitlines()[2:] if line.startswith("|")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(firsts))) == sorted(event.name for event in EVENTS)


def test_the_names_are_those_of_the_contract() -> None:
    assert tuple(event.name for event in EVENTS) == NAMES_OF_THE_CONTRACT


def test_all_that_is_told_is_in_the_catalogue_and_all_of_the_catalogue_is_told() -> None:
    constants = {event.name.upper(): event for event in EVENTS}
    told: dict[str, set[str]] = {name: set() for name in constants}
    for place, name, reason in calls():
        reasons = {ast.literal_eval(reason)} if reason.startswith("'") else GIVEN_ELSEWHERE.get((name, reason))
        assert reasons is not None, f"{place} gives {name} the reason {reason}: say here which these can be"
        told[name] |= reasons
    assert told == {name: {*event.successes, *event.failures} for name, event in constants.items()}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_reason_has_one_outcome_and_the_outcome_a_level(event: Event) -> None:
    assert not event.successes.keys() & event.failures.keys()
    assert {event.outcome(reason) for reason in event.successes} <= {"success"}
    assert {event.level(reason) for reason in event.successes} <= {logging.INFO}
    assert {event.level(reason) for reason in event.failures} <= {logging.WARNING}
    with pytest.raises(ValueError, match=event.name):
        event.outcome("no-such-reason")
