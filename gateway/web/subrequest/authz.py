"""
/api/authz/*: a reverse proxy asks about a request before it lets it pass.

The verdict depends on the credentials and on the requirements in the query that the proxy's own configuration names,
and on nothing else. It is 200 with every identity header, or 401, or 403, whatever is sent. It comes from memory, Redis
up or down; only a browser session or a personal token that was not seen for a while takes a look at Redis, and is 503
where that is away.
What a denied browser is told besides is said by `denied`.
"""

import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    AuthenticationTooWeak,
    GatewayError,
    InsufficientRole,
    PersonalTokenInvalid,
    SessionUnseen,
    StoreUnavailable,
)
from gateway.machines import PERSONAL_TOKEN_PREFIX, PersonalToken
from gateway.sessions import Presence, SessionCookie
from gateway.state import Gateway, GatewayRequest
from gateway.tokens import RawHeaders
from gateway.verifier import AccessClaims
from gateway.web.http import (
    Caller,
    cookies_of_others,
    find_credentials,
    find_known,
    find_owner,
    find_presence,
    find_session,
    note_known,
    request_id_of,
    verify,
)
from gateway.web.subrequest.browsers import Endpoint
from gateway.web.subrequest.denied import denied_response
from gateway.web.subrequest.requirements import (
    MAX_NAME_CHARACTERS,
    Requirements,
    check,
    holds_until,
    read_requirements,
)

BASIC_CHALLENGE = 'Basic realm="token-gateway", charset="UTF-8"'  # RFC 7617

logger = logging.getLogger("gateway.authz")


class Authz:
    """
    Answers subrequests.

    Args:
        endpoint: Whose they are. Envoy's have no requirements, since it appends the client's own query to the path.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._reads_query = endpoint is not Endpoint.ENVOY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one subrequest, of any method."""
        response = await self.answer(Request(scope))
        await response(scope, receive, send)

    async def answer(self, request: GatewayRequest) -> Response:
        """Give the answer to one subrequest."""
        scope = request.scope
        is_ours = False  # our fault: a new login would mend nothing
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
            is_ours = isinstance(error, StoreUnavailable)
            denial = AccessTokenInvalid(error.cause or error.slug, reason=error.detail)
        except Exception:
            is_ours, denial = True, AccessTokenInvalid("internal-error")
            scope["gateway.error"] = denial
            logger.exception(
                "a subrequest failed; it is denied", extra={"fields": {"request_id": request_id_of(scope)}}
            )
        else:
            allowed = Response()
            allowed.raw_headers = [*headers]
            return allowed
        scope["gateway.error"] = denial
        response = denied_response(denial, self._endpoint, scope, may_lead=not is_ours)
        if (
            response.status_code == 401
            and self._reads_query
            and read_requirements(scope["query_string"]).asks_for_basic
        ):
            # Alone: docker and podman take a Bearer challenge beside it for that of a token server, and give up.
            response.headers["WWW-Authenticate"] = BASIC_CHALLENGE
        return response

    def quickly(self, scope: Scope) -> tuple[int, bytes] | None:
        """Give the 200 (`gateway.state.QuickAnswer`), or raise why it is none; None where it takes more than memory."""
        gateway: Gateway = scope["state"]["gateway"]
        query, now = scope["query_string"], gateway.clock()
        if (known := find_known(scope, gateway, now)) is not None:
            if not query:
                return 200, known.lines
            found: AccessClaims | PersonalToken | SessionCookie = known.claims
        else:
            found = self._find(scope, gateway, now)
        if isinstance(found, AccessClaims):
            caller: Caller | None = found
        elif isinstance(found, SessionCookie):
            caller = gateway.presences.known(found)
        else:
            caller = gateway.token_presences.known(found)
        if caller is None:
            return None
        key, headers = _key_of(caller), gateway.identity_headers
        if known is None and isinstance(found, AccessClaims):
            note_known(scope, gateway, found, headers.lines_of(key, found))
        if not query:
            return 200, headers.lines_of(key, caller)
        if (lines := headers.remembered(key, query, caller, now)) is None:
            asked = self._asked(scope, gateway)
            self._check(scope, gateway, caller, asked, now)
            audience = asked.audience if asked is not None else None
            token = gateway.application_tokens.known(caller, audience, now) if audience is not None else None
            if audience is not None and token is None:
                return None
            lines = headers.lines_of(key, caller, token)
            if asked is None:
                return 200, lines
            if asked.wants_cookies:
                cookies = cookies_of_others(scope["headers"])
                return 200, b"cookie: %s\r\n%s" % (cookies, lines) if cookies else lines
            if not asked.near_misses:  # these are told again
                until = holds_until(asked, caller, gateway.application_tokens.end_of_minute(now))
                headers.remember(key, query, caller, lines, now, until)
        return 200, lines

    async def _headers(self, scope: Scope) -> RawHeaders:
        gateway: Gateway = scope["state"]["gateway"]
        asked, now = self._asked(scope, gateway), gateway.clock()
        found = self._find(scope, gateway, now)
        if isinstance(found, PersonalToken):
            caller: Caller = await _present_by_token(found, scope, gateway)
        elif isinstance(found, SessionCookie):
            caller = await _present(found, scope, gateway)
        else:
            caller = found
        self._check(scope, gateway, caller, asked, now)
        token = await _token_for(caller, asked.audience, gateway, now) if asked and asked.audience is not None else None
        headers = gateway.identity_headers.of(_key_of(caller), caller, token)
        cookies = cookies_of_others(scope["headers"]) if asked and asked.wants_cookies else b""
        return [(b"cookie", cookies), *headers] if cookies else headers

    def _find(self, scope: Scope, gateway: Gateway, now: int) -> AccessClaims | PersonalToken | SessionCookie:
        """
        Give who asks: an access token of ours that is good, or a personal token of ours, else a session cookie of ours.

        Any other `Authorization` beside that cookie is the application's own, and is not looked at.
        """
        session, sent = find_credentials(scope, gateway)
        if sent is None:
            if session is None:
                raise AccessTokenMissing
            return session
        token, is_cookie = sent
        try:
            if (
                token.startswith(PERSONAL_TOKEN_PREFIX)
                and not is_cookie
                and (claim := gateway.token_presences.parse(token))
            ):
                return claim
            return verify(token, gateway, now)
        except AccessTokenInvalid:
            if session is None:
                raise
            return session

    def _asked(self, scope: Scope, gateway: Gateway) -> Requirements | None:
        if not (self._reads_query and scope["query_string"]):
            return None
        asked = read_requirements(scope["query_string"])
        for name, ours in asked.near_misses:
            gateway.once_a_minute.warn(
                "a parameter of a subrequest is ignored, and is nearly a requirement",
                name,
                parameter=name[:MAX_NAME_CHARACTERS],
                nearest=ours,
                mend=f"write {ours}= in the URL of the proxy's configuration",
            )
        return asked

    def _check(self, scope: Scope, gateway: Gateway, caller: Caller, asked: Requirements | None, now: int) -> None:
        if self._reads_query and scope.get("gateway.has_fragment"):
            scope["gateway.sub"], scope["gateway.caller"] = caller.sub, caller
            detail = "What follows the # in the URL of the proxy's configuration cannot be read"
            raise InsufficientRole("fragment-in-url", detail)
        if asked:
            scope["gateway.sub"], scope["gateway.caller"] = caller.sub, caller
            check(asked, caller, now, gateway.application_tokens.audiences)


async def _present_by_token(token: PersonalToken, scope: Scope, gateway: Gateway) -> Presence:
    scope["gateway.sub"] = token.user_id
    try:
        return await find_owner(token, gateway)
    except StoreUnavailable as error:
        raise SessionUnseen(error.cause) from error
    except PersonalTokenInvalid:
        session = find_session(scope["headers"], gateway)
        if session is None:
            raise
        return await _present(session, scope, gateway)


async def _present(session: SessionCookie, scope: Scope, gateway: Gateway) -> Presence:
    scope["gateway.sub"] = session.user_id
    try:
        return await find_presence(session, gateway)
    except StoreUnavailable as error:
        raise SessionUnseen(error.cause) from error


async def _token_for(caller: Caller, audience: str, gateway: Gateway, now: int) -> str:
    if isinstance(caller, Presence):
        seen = gateway.token_presences if caller.is_of_personal_token else gateway.presences
        seconds_left = seen.seconds_left(caller.sid)
    else:
        seconds_left = caller.exp - now  # of its session we know no more
    return await gateway.application_tokens.make(caller, audience, now, seconds_left)


def _key_of(caller: Caller) -> str:
    return caller.sid if isinstance(caller, Presence) else caller.jti
