"""GET and POST /auth/login: a person logs in, or is led on who has done so."""

import re
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from gateway.errors import CookieSentTwice, CrossSiteRequest, GatewayError
from gateway.sessions import Presence
from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    Credentials,
    SecretBody,
    Wanted,
    heard_address,
    open_session,
    read_body,
    safe_return_address,
    set_device_cookie,
    set_session_cookie,
)
from gateway.web.pages.hops import hops_to
from gateway.web.pages.visitor import ACCOUNT_PATH, find_visitor, for_people

CLOCK_TOLERANCE_SECONDS = 60
MAX_SHOWN_CHARACTERS = 254
_SECONDS = re.compile(r"[0-9]{1,10}")


class LoginForm(SecretBody, frozen=True):
    """Fields of the form; `rd` is where to go afterwards, `remember` is `on` or not there. Others are ignored."""

    username: str = ""
    password: str = ""
    remember: str = ""
    rd: str = ""

    @property
    def is_remembered(self) -> bool:
        """Whether the session outlives the browser."""
        return self.remember == "on"


@for_people
async def show_login(request: GatewayRequest) -> Response:
    """Lead on who is signed in well enough; show the form to all others, and a loop to who is in one."""
    settings = request.state["gateway"].settings
    asked = request.query_params.get("rd", "")
    rd = safe_return_address(asked, settings)
    visitor = await find_visitor(request)
    if visitor is None:
        return _form(request, 200, _filled_in(LoginForm(rd=asked), settings))
    if why := _why_again(request, visitor):
        return _form(request, 200, _filled_in(LoginForm(username=visitor.email, rd=asked), settings), why=why)
    hops = hops_to(request, rd or ACCOUNT_PATH)
    if hops.is_loop:
        return _loop(request, visitor, rd or "")
    response = see_other(request, rd or ACCOUNT_PATH)
    hops.step(response, request)
    return response


@for_people
async def log_in_by_form(request: GatewayRequest) -> Response:
    """Open a browser session and lead on, or show the form again with the reason."""
    gateway, form = request.state["gateway"], LoginForm()
    settings = gateway.settings
    try:
        form = await read_body(request, LoginForm)
        address = heard_address(request)
        if not form.username.strip() or not form.password:
            return _form(request, 422, _filled_in(form, settings), reason="problem_empty")
        wanted = Wanted("session", remember=form.is_remembered)
        login = await open_session(request, Credentials(form.username, form.password, wanted), address)
    except CookieSentTwice:
        raise
    except CrossSiteRequest as error:
        # What another site has filled in is not shown.
        return await failure_page(request, error, "login", why="", **_filled_in(LoginForm(), settings))
    except GatewayError as error:
        return await failure_page(request, error, "login", why="", **_filled_in(form, settings))

    response = see_other(request, safe_return_address(form.rd, settings) or ACCOUNT_PATH)
    cookie = gateway.presences.cookie_of(login.user.user_id, login.opened)
    set_session_cookie(
        response, settings, cookie, settings.refresh_absolute_ttl_seconds if form.is_remembered else None
    )
    if login.device_token is not None:
        set_device_cookie(response, settings, login.device_token)
    if login.rate:
        response.headers["RateLimit-Policy"], response.headers["RateLimit"] = login.rate.policy, login.rate.state
    return response


def _form(
    request: GatewayRequest, status: int, filled_in: dict[str, Any], *, why: str = "", reason: str = ""
) -> Response:
    """Give the form; *why* somebody who is signed in has to log in once more, *reason* why it did not work."""
    return page_response(request, "login", status, why=why, reason=reason, wait="", **filled_in)


def _filled_in(form: LoginForm, settings: Settings) -> dict[str, Any]:
    """Give what the form shows: where it leads, and who has been here; never a password."""
    rd = safe_return_address(form.rd, settings) or ""
    parts = urlsplit(rd)
    return {
        "rd": rd,
        "host": parts.netloc if parts.path != ACCOUNT_PATH else "",
        "email": form.username[:MAX_SHOWN_CHARACTERS],
        "remember": form.is_remembered,
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
