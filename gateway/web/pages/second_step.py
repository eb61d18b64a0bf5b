"""
The pages between a password and a session: a second factor is shown, or the first one is set up.

What a login goes on with (`pending`) is a hidden field: it comes into no address, and so into no log and no history.
"""

from typing import Any

from starlette.responses import Response

from gateway.accounts import Assertion, NewCredential, NewTotp, User
from gateway.errors import CookieSentTwice, GatewayError, SecondFactorInvalid, SecondFactorRequired
from gateway.state import GatewayRequest
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    Address,
    LoggedIn,
    SecondStep,
    Wanted,
    complete_by_first_passkey,
    complete_by_first_totp,
    complete_login,
    safe_return_address,
    set_device_cookie,
    set_session_cookie,
    user_to_enrol,
)
from gateway.web.pages.factor_rows import app_to_set_up, can_have_passkeys
from gateway.web.pages.login_form import LoginForm
from gateway.web.pages.passkey_forms import options_text, read_answer
from gateway.web.pages.visitor import ACCOUNT_PATH, FACTORS_PATH

WRONG = {"recovery": "wrong_recovery_code", "passkey": "wrong_passkey"}


def enter(request: GatewayRequest, login: LoggedIn, location: str, **parameters: str) -> Response:
    """Hand out the session of a login that is complete, and lead on."""
    gateway = request.state["gateway"]
    settings = gateway.settings
    response = see_other(request, location, **parameters)
    cookie = gateway.families.cookie_of(login.user.user_id, login.opened)
    is_kept = login.wanted.remember
    set_session_cookie(response, settings, cookie, settings.refresh_absolute_ttl_seconds if is_kept else None)
    if login.device_token is not None:
        set_device_cookie(response, settings, login.device_token)
    if login.rate:
        response.headers["RateLimit-Policy"], response.headers["RateLimit"] = login.rate.policy, login.rate.state
    return response


async def ask_for_factor(request: GatewayRequest, lacking: SecondFactorRequired, rd: str, address: Address) -> Response:
    """Give the page on which a login goes on whose password was right; *rd* may be anything."""
    rd = safe_return_address(rd, request.state["gateway"].settings) or ""
    if lacking.methods:
        return _page(request, "second_step", await _second_step(request, lacking.pending, rd))
    return await _begin_enrolment(request, lacking.pending, rd, address)


async def take_second_step(request: GatewayRequest, form: LoginForm, address: Address) -> Response:
    """
    Complete a login and lead on; or show the page again with the reason, or one that says that it is too late.

    Raises:
        GatewayError: A login by a passkey alone did not work: the caller shows where it began.
    """
    gateway = request.state["gateway"]
    rd = safe_return_address(form.rd, gateway.settings) or ""
    try:
        pending, user = await gateway.factors.logins.look(form.pending)
    except SecondFactorInvalid as error:
        return await failure_page(request, error, "step_over", rd=rd)
    if user is None:
        return enter(request, await complete_login(request, _step_of(form), address), rd or ACCOUNT_PATH)
    step = _enrol if pending.purpose == "enrolment" else _show_factor
    return await step(request, form, user, rd, address)


async def _show_factor(request: GatewayRequest, form: LoginForm, user: User, rd: str, address: Address) -> Response:
    if not (form.totp or form.recovery or form.passkey):
        return _page(request, "second_step", await _second_step(request, form.pending, rd))
    try:
        login = await complete_login(request, _step_of(form), address)
    except CookieSentTwice:
        raise
    except GatewayError as error:
        shown = "recovery" if form.recovery else "passkey" if form.passkey else "totp"
        try:
            values = await _second_step(request, form.pending, rd) | {"shown": shown}
        except SecondFactorInvalid as over:
            return await failure_page(request, over, "step_over", rd=rd)
        return await _failed(request, error, "second_step", values, WRONG.get(shown))
    return enter(request, login, rd or ACCOUNT_PATH)


async def _enrol(request: GatewayRequest, form: LoginForm, user: User, rd: str, address: Address) -> Response:
    if not (form.code or form.credential):
        return await _begin_enrolment(request, form.pending, rd, address)
    try:
        if form.credential:
            answer = read_answer(form.credential, NewCredential)
            login = await complete_by_first_passkey(request, form.pending, answer, "", address)
        else:
            login = await complete_by_first_totp(request, form.pending, form.id, form.code, "", address)
    except CookieSentTwice:
        raise
    except GatewayError as error:
        factors = request.state["gateway"].factors
        try:
            new = await (factors.look_totp(user, form.id) if form.code else factors.begin_totp(user))
            values = await _enrolment(request, user, form.pending, rd, new)
        except SecondFactorInvalid as over:
            return await failure_page(request, over, "step_over", rd=rd)
        return await _failed(request, error, "enrolment", values, WRONG["passkey"] if form.credential else None)
    done = "passkey-added" if form.credential else "app-added"
    return enter(request, login, f"{FACTORS_PATH}/recovery", rd=rd, done=done)


async def _begin_enrolment(request: GatewayRequest, pending: str, rd: str, address: Address) -> Response:
    user = await user_to_enrol(request, pending, address)
    new = await request.state["gateway"].factors.begin_totp(user)
    return _page(request, "enrolment", await _enrolment(request, user, pending, rd, new))


async def _second_step(request: GatewayRequest, pending: str, rd: str) -> dict[str, Any]:
    """
    Give what the page shows to who has a second factor.

    Raises:
        SecondFactorInvalid: The pending login is over.
    """
    logins = request.state["gateway"].factors.logins
    _, user = await logins.look(pending)
    if user is None:
        raise SecondFactorInvalid("pending-over")
    asked, demand = await logins.ask_again(pending), await logins.demand(user.user_id)
    options = options_text(asked.public_key) if asked.public_key and can_have_passkeys(request) else ""
    shown = {"methods": demand.methods, "options": options, "shown": ""}
    return {"pending": pending, "rd": rd, "email": user.email, **shown}


async def _enrolment(request: GatewayRequest, user: User, pending: str, rd: str, new: NewTotp) -> dict[str, Any]:
    """Give what the page shows to who has to set one up."""
    factors = request.state["gateway"].factors
    options = options_text(await factors.begin_passkey(user)) if can_have_passkeys(request) else ""
    return {"pending": pending, "rd": rd, "app": app_to_set_up(new), "options": options}


def _step_of(form: LoginForm) -> SecondStep:
    """
    Give what a form completes a login with.

    Raises:
        MalformedRequest: It is no passkey.
    """
    passkey = read_answer(form.passkey, Assertion) if form.passkey else None
    wanted = Wanted("session", remember=form.is_remembered)
    return SecondStep(form.pending, form.totp or None, form.recovery or None, passkey, wanted)


def _page(request: GatewayRequest, template: str, values: dict[str, Any]) -> Response:
    return page_response(request, template, reason="", wait="", **values)


async def _failed(
    request: GatewayRequest, error: GatewayError, template: str, values: dict[str, Any], wrong: str | None
) -> Response:
    reason = {"reason": wrong} if wrong and isinstance(error, SecondFactorInvalid) else {}
    return await failure_page(request, error, template, **values | reason)
