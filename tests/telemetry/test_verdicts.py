"""The catalogue of why answers are refused: every error has words, and every mend names what there is."""

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import click
import msgspec
import pytest

import gateway
from gateway import errors
from gateway.cli import cli
from gateway.settings import Settings
from gateway.store import faults
from gateway.telemetry import INTERNAL_ERROR, VERDICTS, Verdict, verdict_by_code, verdict_of
from gateway.verifier import errors as verifier_errors

T = TypeVar("T")
PACKAGE = Path(gateway.__file__).parent
ROWS = {(verdict.slug, verdict.cause): verdict for verdict in VERDICTS}
TOLD_SO_FAR = 110
# Which argument of an error is its cause, and what its slug is where that is not the class's own.
CAUSE_AT = {
    "MalformedRequest": 1,
    "InvalidCredentials": 0,
    "AccessTokenInvalid": 0,
    "RefreshTokenInvalid": 0,
    "InsufficientRole": 0,
    "SecondFactorInvalid": 0,
    "StoreUnavailable": 0,
    "Overloaded": 1,
    "InvalidOAuthRequest": 1,
    "InvalidClient": 0,
    "InvalidTarget": 1,
}


def leaves(kind: type[T]) -> Iterator[type[T]]:
    for child in kind.__subclasses__():
        yield child
        yield from leaves(child)


ERRORS = sorted(set(leaves(errors.GatewayError)), key=lambda kind: kind.__qualname__)


def causes_in_the_code() -> Iterator[tuple[str, str]]:
    """Give slug and cause of each error that is raised with a literal cause."""
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CAUSE_AT:
                at, slug = CAUSE_AT[node.func.id], getattr(errors, node.func.id).slug
                for word in ast.walk(node.args[at]) if len(node.args) > at else ():
                    if isinstance(word, ast.Constant) and isinstance(word.value, str) and not {*" /"} & {*word.value}:
                        yield slug, word.value


def causes_by_name() -> Iterator[tuple[str, str]]:
    """Give those that are computed."""
    yield from (("store-unavailable", code) for code in re.findall(r"[A-Z]+", faults._CODE.pattern))
    yield from (("store-unavailable", code) for code in ("BUSYPOOL", "TIMEOUT", "CONNECTION", "ERROR", "AWAY"))
    # Not of a token that was sent here.
    lacking = {"access_token_missing", "insufficient_role", "keys_unavailable", "status_unavailable", "token_revoked"}
    codes = {kind.code for kind in leaves(verifier_errors.AccessTokenError)} - lacking
    yield from (("access-token-invalid", code) for code in codes)
    claims = ("wrong_issuer", "wrong_audience", "not_yet_valid")
    yield from (("access-token-invalid", cause) for cause in claims)
    outcomes = ("revoked", "user_disabled", "expired", "unknown")
    yield from (("access-token-invalid", f"session-{outcome}") for outcome in outcomes)
    yield from (("refresh-token-invalid", outcome) for outcome in outcomes)
    # What a subrequest makes of errors that have no answer of their own there.
    unheard = ("revocations-stale", "revocations-unread", "keyring-unread", "token-sent-twice", "cookie-sent-twice")
    yield from (("access-token-invalid", cause) for cause in (*unheard, "store-unavailable", "malformed-request"))
    yield from (("password-rejected", rule) for rule in ("too_short", "too_long", "common", "contains_email"))
    yield from (
        ("rate-limited", limit)
        for limit in ("login", "refresh", "change-password", "second-factor", "passkey", "factors", "account")
    )
    yield from (("not-ready", part) for part in ("redis", "keyring", "revocations"))
    yield from (("second-factor-invalid", outcome) for outcome in ("spent", "gone"))
    yield ("invalid-credentials", "unknown-user")
    yield ("malformed-request", "body-unreadable")


def test_the_causes_of_the_code_are_found() -> None:
    found = set(causes_in_the_code())
    assert {("insufficient-role", "role-missing"), ("store-unavailable", "revocations-stale")} <= found
    assert len(found) >= 20


@pytest.mark.parametrize(("slug", "cause"), sorted({*causes_in_the_code(), *causes_by_name()}))
def test_every_cause_has_a_row(slug: str, cause: str) -> None:
    assert (slug, cause) in ROWS


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_words(kind: type[errors.GatewayError]) -> None:
    error = kind.__new__(kind)  # not every cause of it, but its slug, and its own cause where it has one for all
    verdict = verdict_of(error)
    assert (verdict.slug, verdict.cause) == (kind.slug, kind.cause)


def test_words_of_a_parser_fall_to_the_row_of_their_slug() -> None:
    assert verdict_of(errors.MalformedRequest("", "HTTP/3.7 \r\n")) == ROWS["malformed-request", ""]


def test_an_error_of_an_unknown_slug_is_still_a_verdict() -> None:
    class Other(errors.GatewayError):
        status, slug, title = 418, "teapot", "A teapot"

    assert verdict_of(Other()).code == 0


def test_a_code_stands_for_its_row_for_ever() -> None:
    """What was told once is in ids that are out: a row may be added, with a test of its own number, never moved."""
    codes = sorted(verdict.code for verdict in VERDICTS)
    assert codes == list(range(len(codes)))
    assert codes[-1] <= 255
    told = sorted((verdict.code, verdict.slug, verdict.cause) for verdict in VERDICTS)[:TOLD_SO_FAR]
    assert hashlib.sha256(repr(told).encode()).hexdigest()[:16] == "bd7dacfc9b9cf55d"
    assert all(verdict_by_code(verdict.code) == verdict for verdict in VERDICTS)
    assert verdict_by_code(255) is None


def test_an_answer_that_should_not_be_has_a_row() -> None:
    assert INTERNAL_ERROR.slug == "internal-error"


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: f"{verdict.slug}-{verdict.cause}")
def test_words_are_a_sentence_and_a_mend_names_what_there_is(verdict: Verdict) -> None:
    assert re.fullmatch(r"[A-Z].*[a-z]\.", verdict.words) or verdict.words.endswith(("URL.", "Redis."))
    assert not verdict.mend.endswith(".")
    for command in re.findall(r"`(gateway(?: [a-z][a-z-]*)+)", verdict.mend):
        found: click.Command = cli
        for word in command.split()[1:]:
            assert isinstance(found, click.Group)
            child = found.get_command(click.Context(found), word)
            assert child is not None, command
            found = child
        assert not isinstance(found, click.Group)
    settings = {field.name for field in msgspec.structs.fields(Settings)}
    theirs = {"max_auth_age", "access_token", "id_token", "expires_in"}
    assert {word for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", verdict.mend)} <= settings | theirs
