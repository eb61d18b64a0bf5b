"""
/api/authz/*: a reverse proxy asks about a request before it lets it pass.

The answer depends on the credentials and on the requirements in the query that the proxy's own configuration names,
and on nothing else. It is 200 with every identity header, or 401, or 403, whatever is sent. It comes from memory, Redis
up or down; only a browser session that was not seen for a while takes a look at Redis, and is 503 where that is away.
"""

import difflib
import functools
import logging
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from gateway.accounts import ROLE
from gateway.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    AuthenticationTooWeak,
    GatewayError,
    InsufficientRole,
    SessionUnseen,
    StoreUnavailable,
)
from gateway.sessions import Presence, SessionCookie
from gateway.state import Gateway
from gateway.tokens import RawHeaders
from gateway.verifier import AccessClaims
from gateway.web.http import (
    Caller,
    find_access_token,
    find_presence,
    problem_response,
    read_cookie,
    session_cookie_name,
    verify,
)

MAX_REMEMBERED_QUERIES = 128
MAX_NAMES_COMPARED = 16
MAX_NAME_CHARACTERS = 64
LIKENESS = 0.75
_OURS = {"role": "role", "maxauthage": "max_auth_age"}  # by their letters
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
            headers = await self._headers(scope)
        except (
            AccessTokenMissing,
            AccessTokenInvalid,
            AuthenticationTooWeak,
            InsufficientRole,
            SessionUnseen,
        ) as error:
            denial: GatewayError = error
        except GatewayError as error:
            denial = AccessTokenInvalid(getattr(error, "cause", "") or error.slug, reason=error.detail)
        except Exception:
            logger.exception("a subrequest failed; it is denied")
            denial = AccessTokenInvalid("internal-error")
        else:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        scope["gateway.error"] = denial
        await problem_response(denial)(scope, receive, send)

    def quickly(self, scope: Scope) -> tuple[int, bytes] | None:
        """Give the 200 (`gateway.state.QuickAnswer`), or raise why it is none; None where it takes a look at Redis."""
        gateway: Gateway = scope["state"]["gateway"]
        asked = self._asked(scope, gateway)
        found = self._find(scope, gateway)
        caller = gateway.presences.known(found) if isinstance(found, SessionCookie) else found
        if caller is None:
            return None
        self._check(scope, gateway, caller, asked)
        return 200, gateway.identity_headers.lines_of(_key_of(caller), caller)

    async def _headers(self, scope: Scope) -> RawHeaders:
        gateway: Gateway = scope["state"]["gateway"]
        asked = self._asked(scope, gateway)
        found = self._find(scope, gateway)
        caller = await _present(found, gateway) if isinstance(found, SessionCookie) else found
        self._check(scope, gateway, caller, asked)
        return gateway.identity_headers.of(_key_of(caller), caller)

    def _find(self, scope: Scope, gateway: Gateway) -> AccessClaims | SessionCookie:
        """
        Give who asks: an access token of ours that is good, else a session cookie of ours.

        Any other `Authorization` beside that cookie is the application's own, and is not looked at.
        """
        headers = scope["headers"]
        text = read_cookie(headers, session_cookie_name(gateway.settings))
        try:
            return verify(find_access_token(headers, gateway.settings)[0], gateway, gateway.clock())
        except (AccessTokenMissing, AccessTokenInvalid):
            session = gateway.presences.parse(text) if text is not None else None
            if session is None:
                raise
            return session

    def _asked(self, scope: Scope, gateway: Gateway) -> "_Requirements | None":
        if not (self._reads_query and scope["query_string"]):
            return None
        asked = _read_requirements(scope["query_string"])
        _tell_near_misses(asked, gateway)
        return asked

    def _check(self, scope: Scope, gateway: Gateway, caller: Caller, asked: "_Requirements | None") -> None:
        if self._reads_query and scope.get("gateway.has_fragment"):
            scope["gateway.sub"] = caller.sub
            raise InsufficientRole("What follows the # in the URL of the proxy's configuration cannot be read")
        if asked:
            scope["gateway.sub"] = caller.sub
            _check_requirements(caller, asked, gateway.clock())


async def _present(session: SessionCookie, gateway: Gateway) -> Presence:
    try:
        return await find_presence(session, gateway)
    except StoreUnavailable as error:
        raise SessionUnseen(error.cause) from error


def _key_of(caller: Caller) -> str:
    return caller.sid if isinstance(caller, Presence) else caller.jti


class _Requirements(NamedTuple):
    """
    What a query asks for.

    `alternatives` holds sets of roles, of each of which the user must have one; `max_auth_age` is in seconds;
    `near_misses` names of ours by those that are like them.
    """

    is_readable: bool
    alternatives: tuple[frozenset[str], ...]
    max_auth_age: int | None
    near_misses: dict[str, str]


@functools.lru_cache(maxsize=MAX_REMEMBERED_QUERIES)
def _read_requirements(query: bytes) -> _Requirements:
    asked = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    ages = [value for name, value in asked if name == "max_auth_age"]
    alternatives = [value.split(",") for name, value in asked if name == "role"]
    is_readable = all(_SECONDS.match(age) for age in ages)
    is_readable &= all(ROLE.match(role) for roles in alternatives for role in roles)
    others = [name for name in dict.fromkeys(name for name, _ in asked) if name not in _OURS.values()]
    return _Requirements(
        is_readable,
        tuple(frozenset(roles) for roles in alternatives),
        min((int(age) for age in ages), default=None) if is_readable else None,
        {name: ours for name in others[:MAX_NAMES_COMPARED] if (ours := _nearest(name))},
    )


def _nearest(name: str) -> str | None:
    """Give the requirement that a name is nearly the name of: another case, another dash, a letter more or less."""
    letters = re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", name[:MAX_NAME_CHARACTERS]).casefold())
    likely = difflib.get_close_matches(letters, _OURS, 1, LIKENESS) or [ours for ours in _OURS if ours in letters]
    return _OURS[likely[0]] if likely else None


def _tell_near_misses(asked: _Requirements, gateway: Gateway) -> None:
    for name, ours in asked.near_misses.items():
        gateway.once_a_minute.warn(
            "a parameter of a subrequest is ignored, and is nearly a requirement",
            name,
            parameter=name[:MAX_NAME_CHARACTERS],
            nearest=ours,
            mend=f"write {ours}= in the URL of the proxy's configuration",
        )


def _check_requirements(caller: Caller, asked: _Requirements, now: int) -> None:
    """Raise `InsufficientRole` or `AuthenticationTooWeak` unless all that the query asks for holds."""
    if not asked.is_readable:
        raise InsufficientRole("A requirement of the proxy's configuration cannot be read")
    if asked.max_auth_age is not None and now - caller.auth_time > asked.max_auth_age:
        raise AuthenticationTooWeak(asked.max_auth_age)
    if any(roles.isdisjoint(caller.roles) for roles in asked.alternatives):
        raise InsufficientRole
