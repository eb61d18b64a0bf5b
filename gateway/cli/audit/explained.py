"""gateway audit --request ID: one answer in plain words, and what would change it."""

import re
from collections.abc import Iterator
from typing import Any

import click

from gateway.accounts import User
from gateway.cli import settings_for
from gateway.cli.audit.entries import Entry, Wanted, pages_since
from gateway.cli.connection import run_with_gateway
from gateway.cli.output import print_json
from gateway.clock import rfc3339, system_clock
from gateway.derived_keys import KeyChain
from gateway.errors import (
    CommandError,
    GatewayError,
    HeadersTooLarge,
    StartupError,
    StoreUnavailable,
    SubrequestHeadersTooLarge,
)
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.store import private_secret
from gateway.telemetry import EVENTS, Refusal, RequestIds, is_request_id, printable

CLOCKS_APART_SECONDS = 900
_EVENTS = {event.name: event for event in EVENTS}
SUBREQUESTS = "/api/authz/"
_AROUND_AN_ID = re.compile(r"""[\s"'`<>,;:=]+""")


def explain(ctx: click.Context, text: str, *, as_json: bool) -> None:
    """
    Print what is known of a request.

    Raises:
        click.BadParameter: It is no request id.
        CommandError: Nothing is known of it.
        StartupError, StoreUnavailable: Redis is away, and the id itself does not say it.
    """
    request_id = _id_in(text)
    settings = settings_for(ctx).settings
    refusal = RequestIds(KeyChain.of(_secret(settings), settings.previous_secrets), system_clock).open(request_id)

    async def look_up(gateway: Gateway) -> tuple[list[Entry], User | None]:
        events = await _events_of(gateway, request_id, refusal)
        subs = [event.members["sub"] for event in events if "sub" in event.members]
        user_id = refusal.user_id if refusal is not None and refusal.user_id else next(iter(subs), "")
        try:
            return events, await gateway.users.get(user_id) if user_id else None
        except ValueError:  # a record that cannot be read may be what was told of
            return events, None

    try:
        events, user = run_with_gateway(ctx, look_up)
    except (StartupError, StoreUnavailable) as error:
        if refusal is None:
            raise
        events, user = None, None
        click.echo(f"gateway: neither events nor users could be looked up: {_one_line(error)}", err=True)
    if refusal is None and not events:
        raise CommandError(
            f"nothing is known of the request {request_id}: it was allowed, or was refused under another secret (see "
            "previous_secrets), or its events are older than the last 100,000; the log may have it"
        )
    known = _Known(request_id, refusal, events, user)
    if as_json:
        print_json(known.document())
    else:
        for name, words in known.in_words():
            click.echo(f"{name:<9} {words}")


class _Known:
    """What is known of one request; `events` is None where they could not be looked up."""

    def __init__(self, request_id: str, refusal: Refusal | None, events: list[Entry] | None, user: User | None) -> None:
        self._request_id = request_id
        self._refusal = refusal
        self._events = events
        self._user = user

    def document(self) -> dict[str, Any]:
        """Give it for programs."""
        refusal, user = self._refusal, self._user
        document: dict[str, Any] = {"request_id": self._request_id, "refused": None}
        if refusal is not None:
            document["refused"] = {
                "time": rfc3339(refusal.at),
                "endpoint": refusal.endpoint,
                "status": _status_of(refusal),
                "problem": refusal.verdict.slug,
                "cause": refusal.verdict.cause,
                "why": refusal.verdict.words,
                "mend": self._mend(refusal),
            }
        document["user_id"] = self._user_id
        document["user"] = None
        if user is not None:
            document["user"] = {"email": user.email, "active": user.is_active, "roles": user.roles}
        document["events"] = None
        if self._events is not None:
            document["events"] = [{"id": event.entry_id, **event.members} for event in self._events]
        return document

    def in_words(self) -> Iterator[tuple[str, str]]:
        """Give it for people: what each line is about, and what there is to say."""
        yield "request", self._request_id
        if (refusal := self._refusal) is not None:
            yield "asked", refusal.endpoint if refusal.endpoint != "other" else "a path that there is not"
            yield "at", rfc3339(refusal.at)
            yield "answered", f"{_status_of(refusal) or ''} {refusal.verdict.slug}".strip()
            yield "why", refusal.verdict.words
            if mend := self._mend(refusal):
                yield "mend", mend
        else:
            yield "answered", "no refusal is known of it, but what it did"
        yield "user", self._who()
        for event in self._events or ():
            yield "event", " ".join(map(printable, _facts(event)))
            if meaning := _meaning(event):
                yield "", meaning

    @property
    def _user_id(self) -> str | None:
        if self._refusal is not None and self._refusal.user_id:
            return self._refusal.user_id
        return next((event.members["sub"] for event in self._events or () if "sub" in event.members), None)

    def _who(self) -> str:
        if self._user is not None:
            roles = ", ".join(self._user.roles) or "none"
            state = "" if self._user.is_active else "disabled, "
            return f"{printable(self._user.email)} ({self._user.user_id}), {state}roles now: {roles}"
        if self._user_id is None:
            return "not known: nobody showed who asks"
        return (
            f"{self._user_id}, {'who is not there, or not readable' if self._events is not None else 'not looked up'}"
        )

    def _mend(self, refusal: Refusal) -> str:
        mend, user = refusal.verdict.mend, self._user
        if user is None:
            return mend
        # The command replaces all roles: those that are there are to be named again.
        return mend.replace("EMAIL ROLE...", " ".join(("EMAIL", *user.roles, "ROLE"))).replace("EMAIL", user.email)


async def _events_of(gateway: Gateway, request_id: str, refusal: Refusal | None) -> list[Entry]:
    """Give the events of a request: from around the time that its id says, or from all there are."""
    wanted, until = Wanted(request_id=request_id), None
    if refusal is not None:
        until = refusal.at + CLOCKS_APART_SECONDS
        wanted = Wanted(since=max(0, refusal.at - CLOCKS_APART_SECONDS), request_id=request_id)
    return [entry async for page in pages_since(gateway.store, wanted, until) for entry in page]


def _id_in(text: str) -> str:
    """Give the id in what was pasted: with quotes, blanks, or the name of its header before it."""
    words = [word for word in _AROUND_AN_ID.split(text) if word]
    if words and is_request_id(words[-1]):
        return words[-1]
    raise click.BadParameter(
        f"{text!r} is no request id: it is the value of X-Request-Id, of 16 or 59 letters", param_hint="--request"
    )


def _secret(settings: Settings) -> str:
    """Give the secret that the gateway of these settings has, without asking Redis."""
    return settings.secret or private_secret(settings.data_dir)


def _status_of(refusal: Refusal) -> int | None:
    """Give the status that the table of problems has for a refusal; None for one of a later version."""
    slug, cause = refusal.verdict.slug, refusal.verdict.cause
    if slug == HeadersTooLarge.slug and refusal.endpoint.startswith(SUBREQUESTS):
        return SubrequestHeadersTooLarge.status
    found = [error for error in _kinds(GatewayError) if error.slug == slug]
    found = [error for error in found if error.cause == cause] or found
    return found[0].status if found else None


def _kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _kinds(child)


def _facts(event: Entry) -> Iterator[str]:
    members = event.members
    yield from (members.get(name, "") for name in ("time", "event", "outcome"))
    rest = ("reason", "sub", "account", "address", "sid", "kid")
    yield from (f"{name}={members[name]}" for name in rest if name in members)


def _meaning(entry: Entry) -> str:
    """Give what the catalogue says of an event and its reason; empty for one that this version does not know."""
    event, reason = _EVENTS.get(entry.members.get("event", "")), entry.members.get("reason", "")
    if event is None:
        return ""
    why = {**event.successes, **event.failures}.get(reason, "")
    return f"{event.meaning} {why[:1].upper()}{why[1:]}." if why and reason else event.meaning


def _one_line(error: StartupError | StoreUnavailable) -> str:
    return f"Redis does not serve ({error.cause})" if isinstance(error, StoreUnavailable) else str(error)
