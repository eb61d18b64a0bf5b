"""
Access tokens in front of any ASGI application (RFC 6750), Starlette and FastAPI among them; imports neither.

    app = Starlette(routes=routes, middleware=[Middleware(AccessTokenMiddleware, verifier=verifier)])

    @require(role="staff")
    async def orders(request):
        return JSONResponse({"of": claims_of(request).sub})

In FastAPI `app.add_middleware(AccessTokenMiddleware, verifier=verifier)`, with `@require(...)` below `@app.get(...)`
or on a dependency that takes `request: Request`.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from .claims import AccessClaims
from .errors import AccessTokenError, AccessTokenMissing, InsufficientRole, KeysUnavailable, StatusUnavailable
from .presented import SentTwice, find_access_token
from .verifier import AccessTokenVerifier

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Handler = TypeVar("Handler", bound=Callable[..., Any])

_POLICY_VIOLATION: Final = 1008


class _Connection(Protocol):
    @property
    def scope(self) -> MutableMapping[str, Any]: ...


class AccessTokenMiddleware:
    """
    Lets requests with a good access token through, with its claims in the request's state.

    The token is taken from where the gateway takes it, so that whom the proxy lets in is known here too: from
    `Authorization: Bearer`, or from the cookie `access_token`, which under an https issuer is called
    `__Secure-access_token`. A cookie comes along with what other sites send, too: where requests change something the
    application refuses those that come from elsewhere (`SameSite`, `Origin`), which is not done here.

    Answers, as RFC 6750 section 3 has them: 401 without `error` when there is no token, 401 `invalid_token` when it
    is not good, 400 `invalid_request` when there are two or the cookie was sent twice, 403 `insufficient_scope` when
    `require` says so, and 503 with `Retry-After` when the issuer's keys, or a status list that is needed, can't be
    read. An `AccessTokenError` that the application raises is answered likewise. A WebSocket is closed with 1008
    instead. Put it inside CORS middleware, since preflight requests carry no token.

    Args:
        app: The application behind.
        verifier: Judges the tokens.
        optional: Also lets requests without a token through, for applications with public parts; a token that is
            there must be good all the same. `require` and `claims_of` still refuse them.
        realm: Named in `WWW-Authenticate`.
    """

    def __init__(
        self, app: ASGIApp, *, verifier: AccessTokenVerifier, optional: bool = False, realm: str = "token-gateway"
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._optional = optional
        self._realm = realm

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the token of one HTTP request or WebSocket; anything else passes untouched."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def watched_send(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            scope.setdefault("state", {})["claims"] = await self._claims(scope)
            await self._app(scope, receive, watched_send)
        except (AccessTokenError, SentTwice) as error:
            if started:
                raise
            await self._refuse(error, scope, send)

    async def _claims(self, scope: Scope) -> AccessClaims | None:
        found = find_access_token(scope["headers"], is_https=self._verifier.issuer.startswith("https:"))
        if found is not None:
            return await self._verifier.verify_async(found[0])
        if self._optional:
            return None
        raise AccessTokenMissing("no access token was sent")

    async def _refuse(self, error: Exception, scope: Scope, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
            return
        status, code, title = _answer_to(error)
        body = msgspec.json.encode({"title": title, "status": status})
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "cache-control": "no-store",
        }
        if isinstance(error, (KeysUnavailable, StatusUnavailable)):
            headers["retry-after"] = str(error.retry_after_seconds)
        else:
            headers["www-authenticate"] = f'Bearer realm="{self._realm}"' + (f', error="{code}"' if code else "")
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def claims_of(request: _Connection | Mapping[str, Any]) -> AccessClaims:
    """
    Give the claims that `AccessTokenMiddleware` found.

    Args:
        request: A request or WebSocket of Starlette or FastAPI, or an ASGI scope.

    Raises:
        AccessTokenMissing: There was no token (only where the middleware is `optional`); the middleware answers 401.
        LookupError: The middleware is not in front of this application.
    """
    scope = request if isinstance(request, Mapping) else request.scope
    if "claims" not in scope.get("state", {}):
        raise LookupError("AccessTokenMiddleware is not in front of this application")
    claims = scope["state"]["claims"]
    if claims is None:
        raise AccessTokenMissing("no access token was sent")
    return cast(AccessClaims, claims)


def require(*, role: str) -> Callable[[Handler], Handler]:
    """
    Make a handler, or a FastAPI dependency, refuse callers whose token lacks *role*.

    Works on any function, sync or async, with a parameter called `request` or `websocket`. Several requirements are
    several decorators; all must hold. Refuses by an exception that `AccessTokenMiddleware` answers with 403, or
    with 401 when there is no token at all.

    Raises:
        TypeError: The function has no such parameter; told when it is decorated.
    """

    def decorate(handler: Handler) -> Handler:
        position, name = _request_parameter(handler)

        def check(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            request = kwargs[name] if name in kwargs else args[position]
            if role not in claims_of(request).roles:
                raise InsufficientRole(f"the role {role} is required")

        if inspect.iscoroutinefunction(handler):

            @functools.wraps(handler)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                check(args, kwargs)
                return await handler(*args, **kwargs)

            return cast(Handler, guarded_async)

        @functools.wraps(handler)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            check(args, kwargs)
            return handler(*args, **kwargs)

        return cast(Handler, guarded)

    return decorate


def _request_parameter(handler: Callable[..., Any]) -> tuple[int, str]:
    for position, name in enumerate(inspect.signature(handler).parameters):
        if name in ("request", "websocket"):
            return position, name
    raise TypeError(f"{handler!r} has no parameter called request or websocket")


def _answer_to(error: Exception) -> tuple[int, str | None, str]:
    match error:
        case SentTwice():
            return 400, "invalid_request", "Two access tokens were sent"
        case AccessTokenMissing():
            return 401, None, "An access token is needed"
        case InsufficientRole():
            return 403, "insufficient_scope", "The access token does not allow this"
        case KeysUnavailable() | StatusUnavailable():
            return 503, None, "The access token cannot be checked at the moment"
        case _:
            return 401, "invalid_token", "The access token is not valid"
