"""GET and POST /auth/logout: a page with a button, and the end of the session."""

from contextlib import suppress

import msgspec
from starlette.responses import Response

from gateway.errors import CookieSentTwice, StoreUnavailable
from gateway.state import GatewayRequest
from gateway.web.html import page_response, see_other
from gateway.web.http import (
    clear_earlier_session_cookie,
    clear_refresh_cookie,
    clear_session_cookie,
    earlier_sessions,
    end_own_session,
    read_body,
    refuse_cross_site,
    safe_return_address,
)
from gateway.web.pages.visitor import LOGIN_PATH, find_visitor, for_people


class LogoutForm(msgspec.Struct, frozen=True):
    """Fields of the form; `rd` is where to go afterwards."""

    rd: str = ""


@for_people
async def show_logout(request: GatewayRequest) -> Response:
    """Show the button: a GET ends nothing."""
    visitor = None
    with suppress(StoreUnavailable, CookieSentTwice):
        visitor = await find_visitor(request)
    rd = safe_return_address(request.query_params.get("rd", ""), request.state["gateway"].settings)
    return page_response(request, "logout", rd=rd or "", email=visitor.email if visitor else "")


@for_people
async def log_out_by_form(request: GatewayRequest) -> Response:
    """End the sessions whose cookies came along, take the cookies back, and let the browser forget what it has kept."""
    settings = request.state["gateway"].settings
    refuse_cross_site(request.headers, settings)
    form = await read_body(request, LogoutForm)
    response = see_other(request, safe_return_address(form.rd, settings) or LOGIN_PATH)
    try:
        for user_id, family_id in earlier_sessions(request):
            await end_own_session(request, user_id, family_id)
    except CookieSentTwice:
        # Which of them is ours nobody knows; without both the next login works.
        clear_earlier_session_cookie(response, settings)
    clear_session_cookie(response, settings)
    clear_refresh_cookie(response, settings)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response
