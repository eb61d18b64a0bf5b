"""Request bodies: capped, and read strictly: JSON or an urlencoded form, chosen by Content-Type, each member once."""

import asyncio
import contextlib
import json
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import MalformedRequest, PayloadTooLarge, UnsupportedMediaType
from gateway.state import GatewayRequest
from gateway.web.admission import LINGER_SECONDS
from gateway.web.http.problems import problem_response

MAX_BODY_BYTES = 16_384
MAX_FORM_FIELDS = 20
MAX_REPEATED_FIELDS = 50
_CAUSE = "body-unreadable"
T = TypeVar("T")


class SecretBody(msgspec.Struct, frozen=True):
    """A body that holds a secret: a log, or a traceback, shows nothing of it."""

    def __repr__(self) -> str:
        """Give its kind alone."""
        return f"{type(self).__name__}(...)"


class BodyCap:
    """Reads the request body before the handler sees it, and answers 413 as soon as it is too large."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose body is at most `MAX_BODY_BYTES`."""
        if is_too_large(Headers(scope=scope)):
            await self._refuse(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                await self._refuse(scope, receive, send)
                return
        given = False

        async def receive_whole() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive_whole, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then read on for a while: closing while the body still comes would cut the answer off."""
        scope["gateway.error"] = error = PayloadTooLarge(f"At most {MAX_BODY_BYTES} bytes")
        response = problem_response(error)
        headers = [*response.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})


def is_too_large(headers: Headers) -> bool:
    """Tell whether a body is announced that is longer than `MAX_BODY_BYTES`."""
    declared = headers.get("content-length", "0")
    return not declared.isdecimal() or int(declared) > MAX_BODY_BYTES


async def read_body(
    request: GatewayRequest,
    kind: type[T],
    *,
    form: bool = True,
    ignored_fields: frozenset[str] = frozenset(),
    repeated_fields: frozenset[str] = frozenset(),
) -> T:
    """
    Give the request body as a *kind*, a msgspec Struct that forbids unknown fields. No body at all counts as `{}`.

    Args:
        form: Whether an urlencoded form is taken as well as JSON.
        ignored_fields: Form fields that are let through unread.
        repeated_fields: Form fields that may come more than once, `MAX_REPEATED_FIELDS` times at most: a list each.

    Raises:
        MalformedRequest: Not JSON, wrong types, unknown, missing or repeated members.
        UnsupportedMediaType: The body has another type.
    """
    body = await request.body()
    if not body:
        return _convert({}, kind)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if media_type == "application/json":
        return _convert(_read_json(body), kind)
    if form and media_type == "application/x-www-form-urlencoded":
        fields = _read_form(body, repeated_fields)
        return _convert({name: value for name, value in fields.items() if name not in ignored_fields}, kind)
    raise UnsupportedMediaType("Send application/json" + (" or application/x-www-form-urlencoded" if form else ""))


def _convert(members: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise MalformedRequest(str(error), _CAUSE) from error


def _read_json(body: bytes) -> object:
    try:
        # msgspec is the stricter reader (no NaN, no lone surrogates), but lets the last of repeated members win.
        _EACH_ONCE.decode(body.decode())
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("The body is not JSON in UTF-8 with each member once", _CAUSE) from error


def _read_form(body: bytes, repeated: frozenset[str]) -> dict[str, str | list[str]]:
    try:
        pairs = parse_qsl(
            "&".join(pair for pair in body.decode().split("&") if pair),
            keep_blank_values=True, strict_parsing=True, errors="strict",
            max_num_fields=MAX_FORM_FIELDS + (MAX_REPEATED_FIELDS if repeated else 0),
        )  # fmt: skip
        lists = {name: [text for other, text in pairs if other == name] for name, _ in pairs if name in repeated}
        return _once([pair for pair in pairs if pair[0] not in repeated]) | lists
    except ValueError as error:
        raise MalformedRequest("The body is not an urlencoded form in UTF-8 with each field once", _CAUSE) from error


def _once(pairs: list[tuple[str, T]]) -> dict[str, T]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


_EACH_ONCE = json.JSONDecoder(object_pairs_hook=_once)
