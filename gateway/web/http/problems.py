"""The one exit for errors: an error type becomes `application/problem+json` (RFC 9457)."""

import http

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import (
    AuthenticationTooWeak,
    GatewayError,
    InvalidClient,
    MethodNotAllowed,
    NotFound,
    NotReady,
    OAuthError,
    PasswordRejected,
    RateLimited,
    SecondFactorRequired,
    Unavailable,
)
from gateway.state import GatewayRequest
from gateway.telemetry import RATE_LIMITED
from gateway.web.http.audit import tell

PROBLEM_TYPE_PREFIX = "urn:token-gateway:problem:"
CHALLENGE = 'Bearer realm="token-gateway"'
CLIENT_CHALLENGE = 'Basic realm="token-gateway", charset="UTF-8"'
_TOKENS_THAT_WERE_SENT = ("access-token-invalid", "refresh-token-invalid", "refresh-token-reused")


def problem_response(error: GatewayError) -> Response:
    """Give the answer for an error: body, `WWW-Authenticate`, `Retry-After`, `Allow` and the rate headers."""
    if isinstance(error, OAuthError):
        return _oauth_error(error)
    members: dict[str, object] = {}
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = CHALLENGE + (
            ', error="invalid_token"' if error.slug in _TOKENS_THAT_WERE_SENT else ""
        )
    match error:
        case AuthenticationTooWeak():
            headers["WWW-Authenticate"] = f"{CHALLENGE}, {_step_up(error)}"
        case SecondFactorRequired():
            members |= {"methods": error.methods, "pending": error.pending}
            if error.public_key is not None:
                members["publicKey"] = error.public_key
        case RateLimited():
            headers["Retry-After"] = str(error.retry_after_seconds)
            if error.policy:
                headers |= {"RateLimit-Policy": error.policy, "RateLimit": error.state}
        case Unavailable():
            headers["Retry-After"] = str(error.retry_after_seconds)
            if isinstance(error, NotReady):
                members["failing"] = error.failing
        case MethodNotAllowed():
            headers["Allow"] = error.allow
        case PasswordRejected():
            members["reasons"] = error.reasons
    return _problem(error.slug, error.title, error.status, error.detail, members, headers)


def _oauth_error(error: OAuthError) -> Response:
    """Give an answer as OAuth 2.0 has it (RFC 6749 section 5.2)."""
    headers = {"Pragma": "no-cache"}
    if isinstance(error, InvalidClient) and error.is_challenged:
        headers["WWW-Authenticate"] = CLIENT_CHALLENGE
    body = {"error": error.code, "error_description": error.detail}
    return Response(msgspec.json.encode(body), error.status, headers, media_type="application/json")


def _step_up(error: AuthenticationTooWeak) -> str:
    """Say what the login lacks (RFC 9470 section 3)."""
    lacks = ['error="insufficient_user_authentication"']
    if error.max_age_seconds is not None:
        lacks.append(f'max_age="{error.max_age_seconds}"')
    if error.amr:
        lacks.append(f'acr_values="{" ".join(dict.fromkeys(method for methods in error.amr for method in methods))}"')
    return ", ".join(lacks)


async def on_gateway_error(request: Request, error: Exception) -> Response:
    """Answer an error of ours; as Starlette has it."""
    assert isinstance(error, GatewayError)  # noqa: S101 - registered for this type alone
    return answer_error(Request(request.scope), error)


def answer_error(request: GatewayRequest, error: GatewayError) -> Response:
    """Answer an error of ours, and leave it where the access log finds it."""
    request.scope["gateway.error"] = error
    if isinstance(error, RateLimited):
        tell(RATE_LIMITED, request, error.limit)
    return problem_response(error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what Starlette's router refuses: an unknown path, or a method that the path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    if error.status_code in (404, 405):
        allow = (error.headers or {}).get("Allow", "")
        ours = NotFound() if error.status_code == 404 else MethodNotAllowed(allow)
        request.scope["gateway.error"] = ours
        return problem_response(ours)
    return _problem("malformed-request", http.HTTPStatus(error.status_code).phrase, error.status_code, "", {}, {})


def _problem(
    slug: str, title: str, status: int, detail: str, members: dict[str, object], headers: dict[str, str]
) -> Response:
    body = {"type": PROBLEM_TYPE_PREFIX + slug, "title": title, "status": status, "detail": detail, **members}
    return Response(msgspec.json.encode(body), status, headers, media_type="application/problem+json")
