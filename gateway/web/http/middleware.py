"""Pure ASGI middleware: the envelope of every answer, and CORS."""

import logging
import re
import time
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import GatewayError, InternalError
from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.store import request_budget
from gateway.telemetry import endpoint_of, trace_of
from gateway.web.http.client_address import address_of
from gateway.web.http.counting import count_answer
from gateway.web.http.problems import problem_response
from gateway.web.http.request_id import request_id_of

PREFLIGHT_MAX_AGE_SECONDS = 600
MAX_TOLD_CHARACTERS = 512
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SECURITY_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
Header = tuple[bytes, bytes]
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
QUIET_PATHS = ("/livez", "/readyz")

logger = logging.getLogger("gateway.access")


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
                message["headers"] = _enveloped(message["headers"], request_id_of(scope))
            await send(message)

        try:
            with request_budget():
                await self.app(scope, receive, send_enveloped)
        except Exception:
            error = InternalError("It has been logged.")
            if status == 0:
                scope["gateway.error"] = error
            logger.exception("a request failed", extra={"fields": {"request_id": request_id_of(scope)}})
            if status == 0:
                await problem_response(error)(scope, receive, send_enveloped)
        seconds = time.monotonic() - begun
        metrics = scope["state"]["gateway"].metrics
        count_answer(metrics, endpoint_of(scope["path"]), status, seconds, scope.get("gateway.error"))
        is_quiet = scope["path"] in QUIET_PATHS or (status == 200 and scope["path"].startswith("/api/authz/"))
        level = logging.DEBUG if is_quiet else logging.INFO
        if logger.isEnabledFor(level):
            _log(scope, status, seconds, level)


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
        is_public = scope["path"] in self.public_paths or scope["path"].startswith(self.public_prefixes)
        if not is_public and not scope["path"].startswith("/auth/"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if is_public:
            answers = _preflight(headers, "GET, HEAD", "*") if scope["method"] == "OPTIONS" and origin else self.app
            await answers(scope, receive, send)
            return
        allowed = origin in self.allowed_origins

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if allowed:
                    answer["Access-Control-Allow-Origin"] = origin
                    answer["Access-Control-Allow-Credentials"] = "true"
                    answer["Access-Control-Expose-Headers"] = "Retry-After, RateLimit, RateLimit-Policy, X-Request-Id"
            await send(message)

        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(headers, "GET, POST, DELETE", origin)(scope, receive, send_with_cors)
        else:
            await self.app(scope, receive, send_with_cors)


def _preflight(headers: Headers, methods: str, origin: str) -> Response:
    """Allow an *origin* these *methods* and the headers that its preflight asks for (Fetch standard, CORS protocol)."""
    asked = ",".join(headers.getlist("access-control-request-headers")).split(",")
    names = [name for text in asked if (name := text.strip(" \t")) and _FIELD_NAME.fullmatch(name)]
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": ", ".join(names) or "Authorization, Content-Type",
            "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_SECONDS),
            "Vary": "Access-Control-Request-Headers",
        },
    )


def refuse_quickly(scope: Scope, error: GatewayError) -> tuple[int, bytes]:
    """Give an error as a quick answer (`gateway.state.QuickAnswer`), in its envelope and with its line in the log."""
    scope["gateway.error"] = error
    if logger.isEnabledFor(logging.INFO):
        _log(scope, error.status, 0.0)
    return problem_lines(scope, error)


def problem_lines(scope: Scope, error: GatewayError) -> tuple[int, bytes]:
    """Give an error as a quick answer in its envelope, without a line in the log."""
    scope["gateway.error"] = error
    response = problem_response(error)
    headers = _enveloped([*response.raw_headers, (b"vary", b"Origin")], request_id_of(scope))
    return response.status_code, b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + response.body


def _enveloped(headers: Iterable[Header], request_id: str) -> list[Header]:
    headers = list(headers)
    own = {name for name, _ in headers}
    added = ((b"cache-control", b"no-store"), (b"x-request-id", request_id.encode()), *_SECURITY_HEADERS)
    return [*headers, *(header for header in added if header[0] not in own)]


def _log(scope: Scope, status: int, seconds: float, level: int = logging.INFO) -> None:
    error = scope.get("gateway.error")
    request: GatewayRequest = Request(scope)
    gateway = scope["state"].get("gateway")  # a server that is not ours has none
    fields = {
        "method": scope["method"],
        "path": scope["path"][:MAX_TOLD_CHARACTERS],
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
        "address": str(address_of(request, gateway.trusted_networks)) if gateway else "",
        "peer": scope["client"][0] if scope.get("client") else "",
        "request_id": request_id_of(scope),
        **trace_of(scope["headers"]),
    }
    if sub := scope.get("gateway.sub"):
        fields["sub"] = sub
    if error is not None:
        fields["problem"] = error.slug
    if cause := getattr(error, "cause", None) or scope.get("gateway.outcome"):
        fields["cause"] = cause
    if error is not None:
        fields |= {name: value[:MAX_TOLD_CHARACTERS] for name, value in error.facts.items()}
    record = logger.debug if level == logging.DEBUG else logger.info
    record("request", extra={"fields": fields})
