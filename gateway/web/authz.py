"""
/api/authz/*: a reverse proxy asks about a request before it lets it pass.

The answer depends on the access token and on the requirements in the query that the proxy's own configuration
names, and on nothing else. It is 200 with every identity header, or 401, or 403, whatever is sent; it comes from
memory, Redis up or down.
"""

import logging
import re
from urllib.parse import parse_qsl, quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import AccessTokenInvalid, AccessTokenMissing, GatewayError, InsufficientRole
from gateway.state import GatewayRequest
from gateway.verifier import AccessClaims
from gateway.web.bearer import find_access_token, verify
from gateway.web.problems import problem_response

IDENTITY_HEADERS = {
    "remote": ("Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "Remote-Sub"),
    "x-auth-request": tuple(
        f"X-Auth-Request-{n}" for n in ("User", "Groups", "Preferred-Username", "Email", "Subject")
    ),
    "x-forwarded": tuple(f"X-Forwarded-{n}" for n in ("User", "Groups", "Preferred-Username", "Email", "Subject")),
}
VISIBLE_ASCII_BUT_PERCENT = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_ROLE = re.compile(r"\A[a-z0-9][a-z0-9_.:-]{0,63}\Z")
_SECONDS = re.compile(r"\A[0-9]{1,10}\Z")

logger = logging.getLogger("gateway.authz")


async def auth_request(request: GatewayRequest) -> Response:
    """Answer nginx's `auth_request`, and `forward-auth` of Traefik, Caddy and HAProxy."""
    return _decide(request, request.scope["query_string"].decode("latin-1"))


class ExtAuthz:
    """Answers Envoy's `ext_authz`: every method and path; no query, since Envoy appends the client's."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one subrequest."""
        await _decide(GatewayRequest(scope, receive), "")(scope, receive, send)


def _decide(request: GatewayRequest, query: str) -> Response:
    try:
        claims = _verified_claims(request)
        _check_requirements(claims, query, request.state["gateway"].clock())
        return Response(headers=_identity_headers(claims, request.state["gateway"].settings.identity_headers))
    except (AccessTokenMissing, AccessTokenInvalid, InsufficientRole) as error:
        denial: GatewayError = error
    except GatewayError as error:
        denial = AccessTokenInvalid(error.slug)
    except Exception:
        logger.exception("a subrequest failed; it is denied")
        denial = AccessTokenInvalid("internal-error")
    request.scope["gateway.error"] = denial
    return problem_response(denial)


def _verified_claims(request: GatewayRequest) -> AccessClaims:
    gateway = request.state["gateway"]
    if not gateway.revocations.was_read:
        raise AccessTokenInvalid("revocations-unread")
    token, _ = find_access_token(request.headers, gateway)
    return verify(token, gateway, gateway.clock())


def _check_requirements(claims: AccessClaims, query: str, now: int) -> None:
    """Raise `InsufficientRole` or `AccessTokenInvalid` unless all that the query asks for holds."""
    asked = parse_qsl(query, keep_blank_values=True)
    ages = [value for name, value in asked if name == "max_auth_age"]
    alternatives = [value.split(",") for name, value in asked if name == "role"]
    unreadable = [age for age in ages if not _SECONDS.match(age)]
    unreadable += [role for roles in alternatives for role in roles if not _ROLE.match(role)]
    if unreadable:
        raise InsufficientRole("A requirement of the proxy's configuration cannot be read")
    if any(now - claims.auth_time > int(age) for age in ages):
        raise AccessTokenInvalid("auth-too-old")
    if any(not set(roles) & set(claims.roles) for roles in alternatives):
        raise InsufficientRole


def _identity_headers(claims: AccessClaims, family: str) -> dict[str, str]:
    """Give every identity header, empty when there is nothing to say, so that none of the client's gets through."""
    values = (claims.email or claims.sub, ",".join(claims.roles), claims.name or "", claims.email or "", claims.sub)
    return {
        name: quote(value, safe=VISIBLE_ASCII_BUT_PERCENT)
        for name, value in zip(IDENTITY_HEADERS[family], values, strict=True)
    }
