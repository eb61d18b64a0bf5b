"""GET and POST /auth/login: a person logs in, or is led on who has done so."""

import re
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from gateway.errors import (
    CookieSentTwice,
    CrossSiteRequest,
    GatewayError,
    SecondFactorInvalid,
    SecondFactorRequired,
)
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    Credentials,
    Wanted,
    heard_address,
    open_session,
    read_body,
    safe_return_address,
)
from gateway.web.pages.factor_rows import can_have_passkeys
from gateway.web.pages.hops import hops_to
from gateway.web.pages.login_form import LoginForm
from gateway.web.pages.second_step import ask_for_factor, enter, take_second_step
from gateway.web.pages.visitor import ACCOUNT_PATH, find_visitor, for_people

CLOCK_TOLERANCE_SECONDS = 60
MAX_SHOWN_CHARACTERS = 254
_SECONDS = re.compile(r"[0-9]{1,10}")


@for_people
async def show_login(request: GatewayRequest) -> Response:
    """Lead on who is signed in well enough; show the form to all others, and a loop to who is in one."""
    settings = request.state["gateway"].settings
    asked = request.query_params.get("rd", "")
    rd = safe_return_address(asked, settings)
    visitor = await find_visitor(request)
    if visitor is None:
        return _form(request, 200, _filled_in(request, LoginForm(rd=asked)))
    if why := _why_again(request, visitor):
        return _form(request, 200, _filled_in(request, LoginForm(username=visitor.email, rd=asked)), why=why)
    hops = hops_to(request, rd or ACCOUNT_PATH)
    if hops.is_loop:
        return _loop(request, visitor, rd or "")
    response = see_other(request, rd or ACCOUNT_PATH)
    hops.step(response, request)
    return response


@for_people
async def log_in_by_form(request: GatewayRequest) -> Response:
    """Open a browser session and lead on, or ask for a second factor, or show the form again with the reason."""
    form = LoginForm()
    try:
        form = await read_body(request, LoginForm)
        address = heard_address(request)
        if form.pending:
            return await take_second_step(request, form, address)
        if not form.username.strip() or not form.password:
            return _form(request, 422, _filled_in(request, form), reason="problem_empty")
        wanted = Wanted("session", remember=form.is_remembered)
        login = await open_session(request, Credentials(form.username, form.password, wanted), address)
    except SecondFactorRequired as lacking:
        return await ask_for_factor(request, lacking, form.rd, address)
    except CookieSentTwice:
        raise
    except CrossSiteRequest as error:
        # What another site has filled in is not shown.
        return await failure_page(request, error, "login", why="", **_filled_in(request, LoginForm()))
    except GatewayError as error:
        values = _filled_in(request, form)
        if isinstance(error, SecondFactorInvalid):  # of a passkey alone: the second step says it itself
            values["reason"] = "wrong_passkey"
        return await failure_page(request, error, "login", why="", **values)
    return enter(request, login, safe_return_address(form.rd, request.state["gateway"].settings) or ACCOUNT_PATH)


def _form(
    request: GatewayRequest, status: int, filled_in: dict[str, Any], *, why: str = "", reason: str = ""
) -> Response:
    """Give the form; *why* somebody who is signed in has to log in once more, *reason* why it did not work."""
    return page_response(request, "login", status, why=why, reason=reason, wait="", **filled_in)


def _filled_in(request: GatewayRequest, form: LoginForm) -> dict[str, Any]:
    """Give what the form shows: where it leads, and who has been here; never a password."""
    rd = safe_return_address(form.rd, request.state["gateway"].settings) or ""
    parts = urlsplit(rd)
    return {
        "rd": rd,
        "host": parts.netloc if parts.path != ACCOUNT_PATH else "",
        "email": form.username[:MAX_SHOWN_CHARACTERS],
        "remember": form.is_remembered,
        "can_have_passkeys": can_have_passkeys(request),
    }


def _why_again(request: GatewayRequest, visitor: Presence) -> str:
    """Tell why a session is not enough for what the query asks for, as far as it can be read; empty where it is."""
    ages = [int(age) for age in request.query_params.getlist("max_auth_age") if _SECONDS.fullmatch(age)]
    if ages and request.state["gateway"].clock() - visitor.auth_time > min(ages):
        return "too_old"
    asked = [set(methods.split(",")) for methods in request.query_params.getlist("amr") if methods]
    return "too_weak" if any(methods.isdisjoint(visitor.amr) for methods in asked) else ""


def _loop(request: GatewayRequest, visitor: Presence, rd: str) -> Response:
    """Tell why an application does not see that its visitor is signed in, as far as can be seen from here."""
    gateway = request.state["gateway"]
    own_host, domain = gateway.settings.issuer_host, gateway.settings.cookie_domain
    host = urlsplit(rd).hostname or own_host
    cause = "proxy" if gateway.settings.shares_session_with(host) else "domain"
    if visitor.auth_time > gateway.clock() + CLOCK_TOLERANCE_SECONDS:
        cause = "clock"
    shown: dict[str, Any] = {"host": urlsplit(rd).netloc or own_host, "cookie_host": domain or own_host}
    return page_response(request, "loop", cause=cause, rd=rd or ACCOUNT_PATH, **shown)
