"""
/api/authz/*: a reverse proxy asks about a request before it lets it pass.

The answer depends on the access token and on the requirements in the query that the proxy's own configuration
names, and on nothing else. It is 200 with every identity header, or 401, or 403, whatever is sent; it comes from
memory, Redis up or down.
"""

import logging
import re
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from gateway.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    AuthenticationTooWeak,
    GatewayError,
    InsufficientRole,
)
from gateway.state import Gateway
from gateway.verifier import AccessClaims
from gateway.web.bearer import find_access_token, verify
from gateway.web.problems import problem_response

_ROLE = re.compile(r"\A[a-z0-9][a-z0-9_.:-]{0,63}\Z")
_SECONDS = re.compile(r"\A[0-9]{1,10}\Z")

logger = logging.getLogger("gateway.authz")


class Authz:
    """
    Answers subrequests, in plain ASGI.

    Args:
        reads_query: False for Envoy, which appends the client's own query to the path.
    """

    def __init__(self, *, reads_query: bool) -> None:
        self._reads_query = reads_query

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one subrequest."""
        try:
            claims = self._decide(scope)
        except (AccessTokenMissing, AccessTokenInvalid, AuthenticationTooWeak, InsufficientRole) as error:
            denial: GatewayError = error
        except GatewayError as error:
            denial = AccessTokenInvalid(getattr(error, "cause", "") or error.slug)
        except Exception:
            logger.exception("a subrequest failed; it is denied")
            denial = AccessTokenInvalid("internal-error")
        else:
            headers = scope["state"]["gateway"].identity_headers.of(claims)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        scope["gateway.error"] = denial
        await problem_response(denial)(scope, receive, send)

    def quickly(self, scope: Scope) -> tuple[int, bytes] | None:
        """Give the 200 (`gateway.state.QuickAnswer`), or raise why it is none."""
        gateway: Gateway = scope["state"]["gateway"]
        return 200, gateway.identity_headers.lines_of(self._decide(scope))

    def _decide(self, scope: Scope) -> AccessClaims:
        gateway: Gateway = scope["state"]["gateway"]
        now = gateway.clock()
        token, _ = find_access_token(scope["headers"], gateway.settings)
        claims = verify(token, gateway, now)
        if self._reads_query and scope["query_string"]:
            _check_requirements(claims, scope["query_string"].decode("latin-1"), now)
        return claims


def _check_requirements(claims: AccessClaims, query: str, now: int) -> None:
    """Raise `InsufficientRole` or `AuthenticationTooWeak` unless all that the query asks for holds."""
    asked = parse_qsl(query, keep_blank_values=True)
    ages = [value for name, value in asked if name == "max_auth_age"]
    alternatives = [value.split(",") for name, value in asked if name == "role"]
    unreadable = [age for age in ages if not _SECONDS.match(age)]
    unreadable += [role for roles in alternatives for role in roles if not _ROLE.match(role)]
    if unreadable:
        raise InsufficientRole("A requirement of the proxy's configuration cannot be read")
    max_age_seconds = min((int(age) for age in ages), default=None)
    if max_age_seconds is not None and now - claims.auth_time > max_age_seconds:
        raise AuthenticationTooWeak(max_age_seconds)
    if any(not set(roles) & set(claims.roles) for roles in alternatives):
        raise InsufficientRole
