"""Who looks at a page, and a page also for what goes wrong."""

import functools
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from gateway.errors import AuthenticationTooWeak, BrowserSessionEnded, CookieSentTwice, GatewayError
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import failure_page, see_other
from gateway.web.http import clear_session_cookie, find_presence, find_session, refuse_cross_site

ACCOUNT_PATH = "/auth/account"
FACTORS_PATH = "/auth/account/factors"
TOKENS_PATH = "/auth/account/tokens"
LOGIN_PATH = "/auth/login"
LOGOUT_PATH = "/auth/logout"
Handler = Callable[[GatewayRequest], Awaitable[Response]]


async def find_visitor(request: GatewayRequest) -> Presence | None:
    """
    Give whose browser session a request comes with; None without one that is good.

    Raises:
        CookieSentTwice: There are two.
        StoreUnavailable: Nobody can tell now.
    """
    gateway = request.state["gateway"]
    session = find_session(request.scope["headers"], gateway)
    if session is None:
        return None
    try:
        presence = await find_presence(session, gateway)
    except BrowserSessionEnded:
        return None
    request.scope["gateway.sub"] = presence.sub
    return presence


async def find_sender(request: GatewayRequest) -> Presence | None:
    """
    Give who sends a form; None without a session that is good.

    Raises:
        CrossSiteRequest: It comes from another site.
        CookieSentTwice, StoreUnavailable: As `find_visitor`.
    """
    visitor = await find_visitor(request)
    refuse_cross_site(request.headers, request.state["gateway"].settings)
    return visitor


def lead_to_login(request: GatewayRequest) -> Response:
    """Lead to the login and back. A cookie that is no good is taken back, or the login would lead here again."""
    settings = request.state["gateway"].settings
    response = see_other(request, LOGIN_PATH, rd=settings.issuer_origin + ACCOUNT_PATH)
    if find_session(request.scope["headers"], request.state["gateway"]) is not None:
        clear_session_cookie(response, settings)
    return response


def lead_to_new_login(request: GatewayRequest, error: AuthenticationTooWeak, to: str) -> Response:
    """Lead who is signed in to a login that is good enough, and back: by the account, to one of its pages."""
    back = f"{request.state['gateway'].settings.issuer_origin}{ACCOUNT_PATH}?to={to}"
    lacking = {} if error.max_age_seconds is None else {"max_auth_age": str(error.max_age_seconds)}
    if error.amr:
        lacking["amr"] = ",".join(error.amr[0])
    return see_other(request, LOGIN_PATH, rd=back, **lacking)


def for_people(handler: Handler) -> Handler:
    """Answer an error of a handler with a page."""

    @functools.wraps(handler)
    async def answer(request: GatewayRequest) -> Response:
        try:
            return await handler(request)
        except CookieSentTwice as error:
            return await failure_page(request, error, "loop", cause="twice", rd="")
        except GatewayError as error:
            return await failure_page(request, error)

    return answer
