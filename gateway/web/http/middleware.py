"""Pure ASGI middleware: the envelope of every answer, and CORS."""

import re
import time

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.settings import Settings
from gateway.store import request_budget
from gateway.web.http.envelope import CORS_PREFIX, enveloped, note_answer, note_failure, origin_of, with_cors
from gateway.web.http.problems import problem_response

PREFLIGHT_MAX_AGE_SECONDS = 600
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Envelope:
    """
    Gives every answer its request id, `Cache-Control: no-store` and security headers, counts it and logs a line for it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; an error that nobody answered becomes a 500 that tells nothing."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = enveloped(message["headers"], scope)
            await send(message)

        try:
            with request_budget():
                await self.app(scope, receive, send_enveloped)
        except Exception:
            error = note_failure(scope, is_answered=status != 0)
            if status == 0:
                await problem_response(error)(scope, receive, send_enveloped)
        note_answer(scope, status, begun)


class Cors:
    """
    Lets the allowed origins read answers under /auth/, errors included (Fetch standard, CORS protocol).

    Args:
        public_paths: Those of documents that say themselves that all origins may read them, one that ends with a slash
            for all that is below; here their preflights are answered.
    """

    def __init__(self, app: ASGIApp, settings: Settings, public_paths: tuple[str, ...]) -> None:
        self.app = app
        self.allowed_origins = settings.allowed_origins
        self.public_paths = frozenset(public_paths)
        self.public_prefixes = tuple(path for path in public_paths if path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, a preflight included."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin, is_asked = origin_of(scope), scope["method"] == "OPTIONS"
        if scope["path"] in self.public_paths or scope["path"].startswith(self.public_prefixes):
            answers = _preflight(scope, "GET, HEAD", "*") if is_asked and origin else self.app
            await answers(scope, receive, send)
            return
        if not scope["path"].startswith(CORS_PREFIX):
            await self.app(scope, receive, send)
            return

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = with_cors(message["headers"], origin, self.allowed_origins)
            await send(message)

        told = origin.decode("latin-1")
        if is_asked and told in self.allowed_origins and "access-control-request-method" in Headers(scope=scope):
            await _preflight(scope, "GET, POST, DELETE")(scope, receive, send_with_cors)
        else:
            await self.app(scope, receive, send_with_cors)


def _preflight(scope: Scope, methods: str, origin: str | None = None) -> Response:
    """
    Allow *methods* and the headers that a preflight asks for (Fetch standard, CORS protocol).

    Args:
        origin: Who is allowed them; None where `with_cors` says it.
    """
    asked = ",".join(Headers(scope=scope).getlist("access-control-request-headers")).split(",")
    names = [name for text in asked if (name := text.strip(" \t")) and _FIELD_NAME.fullmatch(name)]
    return Response(
        status_code=204,
        headers={
            **({"Access-Control-Allow-Origin": origin} if origin is not None else {}),
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": ", ".join(names) or "Authorization, Content-Type",
            "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_SECONDS),
            "Vary": "Access-Control-Request-Headers",
        },
    )
