"""Who looks at a page, and a page also for what goes wrong."""

import functools
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from gateway.errors import BrowserSessionEnded, CookieSentTwice, GatewayError
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import failure_page
from gateway.web.http import find_presence, find_session

ACCOUNT_PATH = "/auth/account"
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
