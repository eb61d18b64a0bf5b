"""What the load test reads from the gateway's answers."""

import base64
import json
import random
import unicodedata
from dataclasses import dataclass, field

from load_http import Answer

PROBLEM_TYPE_PREFIX = "urn:token-gateway:problem:"
IDENTITY_HEADERS = (b"remote-sub", b"x-auth-request-subject", b"x-forwarded-subject")
# `exp` is in whole seconds, and what was sent before it may arrive after it.
TOKEN_MARGIN_SECONDS = 2.0
DEFAULT_RETRY_SECONDS = 1.0
SPREAD = 0.2


class NotUnderstood(Exception):
    """A 200 that is not what the contract says."""


@dataclass(frozen=True)
class Identity:
    """Whose the tokens are, as the body of a login says."""

    subject: str
    email: str


@dataclass
class Session:
    """What a client keeps of its session; times are monotonic."""

    subject: str
    session_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    refresh_at: float
    may_refresh_at: float = 0.0
    first_lost_at: float | None = None
    is_leaving: bool = False


def read_tokens(answer: Answer, sent_at: float, refresh_every_seconds: float | None) -> tuple[Session, Identity | None]:
    """
    Give the session that a login or a refresh handed out, and at a login whose it says it is.

    Args:
        sent_at: When the request was sent.
        refresh_every_seconds: When to refresh; None: before the access token is over.

    Raises:
        NotUnderstood: A member or a claim is missing or of another type.
    """
    try:
        body = json.loads(answer.body)
        claims = json.loads(base64.urlsafe_b64decode(body["access_token"].split(".")[1] + "=="))
        life_seconds = max(float(body["expires_in"]) - TOKEN_MARGIN_SECONDS, 0.0)
        refresh_seconds = life_seconds * random.uniform(1 - 2 * SPREAD, 1 - SPREAD / 2)
        if refresh_every_seconds is not None:
            refresh_seconds = min(refresh_seconds, refresh_every_seconds * random.uniform(1 - SPREAD, 1 + SPREAD))
        session = Session(
            subject=str(claims["sub"]),
            session_id=str(claims["sid"]),
            access_token=str(body["access_token"]),
            refresh_token=str(body["refresh_token"]),
            expires_at=sent_at + life_seconds,
            refresh_at=sent_at + refresh_seconds,
        )
        user = body.get("user")
        return session, Identity(str(user["id"]), str(user["email"])) if user is not None else None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotUnderstood(type(error).__name__) from error


def subject_of(answer: Answer) -> str | None:
    """Give the subject that an allowed subrequest names, None when it names none."""
    told = next((answer.headers[name] for name in IDENTITY_HEADERS if name in answer.headers), None)
    return told.decode("latin-1") if told is not None else None


def retry_after(answer: Answer) -> float:
    """Give the seconds that a refused client has to wait, a little spread so that not all come again at once."""
    try:
        seconds = float(answer.headers.get(b"retry-after", b"0"))
    except ValueError:
        seconds = DEFAULT_RETRY_SECONDS
    return seconds * random.uniform(1, 1 + SPREAD)


def slug_of(answer: Answer) -> str:
    """Give the problem's slug, empty when the answer is no problem of the gateway's."""
    try:
        kind = str(json.loads(answer.body)["type"])
    except (ValueError, LookupError, TypeError):
        return ""
    return kind.removeprefix(PROBLEM_TYPE_PREFIX) if kind.startswith(PROBLEM_TYPE_PREFIX) else ""


def normalised(email: str) -> str:
    """Spell an e-mail address as the gateway does."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", email).strip().lower())
