"""The envelope of an answer: its request id, `Cache-Control`, security and CORS headers; what is counted and logged."""

import logging
import time
from collections.abc import Collection, Iterable

from starlette.requests import Request
from starlette.types import Scope

from gateway.errors import GatewayError, InternalError
from gateway.state import GatewayRequest
from gateway.telemetry import endpoint_of, trace_of
from gateway.web.http.client_address import address_of
from gateway.web.http.counting import count_answer
from gateway.web.http.problems import problem_response
from gateway.web.http.request_id import request_id_of

MAX_TOLD_CHARACTERS = 512
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CORS_PREFIX = "/auth/"
QUIET_PATHS = ("/livez", "/readyz")
Header = tuple[bytes, bytes]

_SECURITY_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_NO_STORE = (b"cache-control", b"no-store")
_CREDENTIALS_AND_EXPOSED = (
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", b"Retry-After, RateLimit, RateLimit-Policy, X-Request-Id"),
)

logger = logging.getLogger("gateway.access")


def enveloped(headers: Iterable[Header], scope: Scope) -> list[Header]:
    """Give headers, names in lower case, with those that every answer has, where they are not among them."""
    given = list(headers)
    own = {name for name, _ in given}
    added = (_NO_STORE, (b"x-request-id", request_id_of(scope).encode()), *_SECURITY_HEADERS)
    return [*given, *(header for header in added if header[0] not in own)]


def with_cors(headers: Iterable[Header], origin: bytes, allowed_origins: Collection[str]) -> list[Header]:
    """
    Give headers by which an allowed origin may read the answer (Fetch standard, CORS protocol).

    Args:
        origin: That of the request; empty without one.
    """
    given = list(headers)
    varies = [value for name, value in given if name == b"vary"]
    answer = [header for header in given if header[0] != b"vary"] if varies else given
    answer.append((b"vary", b", ".join([*varies, b"Origin"])))
    if allowed_origins and origin.decode("latin-1") in allowed_origins:
        answer += ((b"access-control-allow-origin", origin), *_CREDENTIALS_AND_EXPOSED)
    return answer


def origin_of(scope: Scope) -> bytes:
    """Give the `Origin` of a request, the first where there are several; empty without one."""
    return next((value for name, value in scope["headers"] if name == b"origin"), b"")


def note_failure(scope: Scope, *, is_answered: bool) -> InternalError:
    """Log the exception that is being handled, and give what is told of it; *is_answered*: to nobody any more."""
    error = InternalError("It has been logged.")
    if not is_answered:
        scope["gateway.error"] = error
    logger.exception("a request failed", extra={"fields": {"request_id": request_id_of(scope)}})
    return error


def note_answer(scope: Scope, status: int, begun: float) -> None:
    """
    Count an answer and write its line of the log.

    Args:
        status: 0 where the client was gone before there was one.
        begun: When its request was begun with, by `time.monotonic`.
    """
    seconds, path = time.monotonic() - begun, scope["path"]
    metrics = scope["state"]["gateway"].metrics
    count_answer(metrics, endpoint_of(path), status, seconds, scope.get("gateway.error"))
    is_quiet = path in QUIET_PATHS or (status == 200 and path.startswith("/api/authz/"))
    level = logging.DEBUG if is_quiet else logging.INFO
    if logger.isEnabledFor(level):
        _log(scope, status, seconds, level)


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
    return response.status_code, lines_of(
        enveloped([*response.raw_headers, (b"vary", b"Origin")], scope), response.body
    )


def lines_of(headers: list[Header], body: bytes | memoryview) -> bytes:
    """
    Give headers and body as they are sent, after status line and date.

    Raises:
        ValueError: A header has the end of a line in it.
    """
    head = b"".join([b"%s: %s\r\n" % (name.lower(), value) for name, value in headers])
    if not head.count(b"\n") == head.count(b"\r") == len(headers):
        raise ValueError("a header with the end of a line in it")
    return b"%s\r\n%s" % (head, body)


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
