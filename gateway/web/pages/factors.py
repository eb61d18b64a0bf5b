"""
/auth/account/factors: second factors are set up, named and taken away.

All of it takes a login that is at most ten minutes old; who comes with an older one is led to the login and back.
"""

import functools
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.accounts import Factor, NewCredential, check_factor_name
from gateway.clock import rfc3339
from gateway.errors import (
    AccessTokenInvalid,
    AuthenticationTooWeak,
    GatewayError,
    MalformedRequest,
    NotFound,
    SecondFactorInvalid,
)
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.telemetry import FACTOR_ADDED
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    SecretBody,
    add_own_passkey,
    begin_own_passkey,
    begin_own_totp,
    confirm_own_totp,
    make_own_recovery_codes,
    note_change,
    read_body,
    remove_own_factor,
    safe_return_address,
    tell,
    user_who_may_change,
)
from gateway.web.pages.factor_rows import RECOVERY, app_to_set_up, can_have_passkeys, factor_row
from gateway.web.pages.passkey_forms import options_text, read_answer
from gateway.web.pages.visitor import (
    ACCOUNT_PATH,
    FACTORS_PATH,
    find_sender,
    find_visitor,
    for_people,
    lead_to_login,
    lead_to_new_login,
)

MULTIPLE = "mfa"
DONE = ("app-added", "passkey-added")
_CODES = re.compile(r"[0-9A-Z]{5}-[0-9A-Z]{5}( [0-9A-Z]{5}-[0-9A-Z]{5}){9}")
Handler = Callable[[GatewayRequest, Presence], Awaitable[Response]]


class AppForm(SecretBody, frozen=True):
    """Fields of the form with which an authenticator app is confirmed."""

    id: str = ""
    code: str = ""
    name: str = ""


class PasskeyForm(SecretBody, frozen=True):
    """Fields of the form that brings a new passkey, `credential`."""

    credential: str = ""
    name: str = ""


class RecoveryForm(msgspec.Struct, frozen=True):
    """Fields of the form that makes recovery codes; `rd` is where to go afterwards."""

    rd: str = ""


class CodesForm(SecretBody, frozen=True):
    """Fields of the form that saves recovery codes: what the page shows, with blanks between."""

    codes: str = ""


class NameForm(msgspec.Struct, frozen=True):
    """Fields of the form that names a factor."""

    name: str = ""


def for_young_logins(way: str) -> Callable[[Handler], Callable[[GatewayRequest], Awaitable[Response]]]:
    """
    Let a handler answer who may change factors, with a page also for what goes wrong.

    Args:
        way: Where who has to log in once more is led back to; `factor` for the one of the path.
    """

    def wrap(handler: Handler) -> Callable[[GatewayRequest], Awaitable[Response]]:
        @for_people
        @functools.wraps(handler)
        async def answer(request: GatewayRequest) -> Response:
            find = find_sender if request.method == "POST" else find_visitor
            visitor = await find(request)
            if visitor is None:
                return lead_to_login(request)
            try:
                return await handler(request, visitor)
            except AuthenticationTooWeak as error:
                return lead_to_new_login(request, error, request.path_params["id"] if way == "factor" else way)
            except AccessTokenInvalid:
                return lead_to_login(request)

        return answer

    return wrap


# ------------------------------------------------------------------------------------------------ an authenticator app


@for_young_logins("app")
async def show_new_app(request: GatewayRequest, visitor: Presence) -> Response:
    """Show a new secret for an app."""
    new = await begin_own_totp(request, visitor)
    return page_response(request, "factor_app", reason="", wait="", app=app_to_set_up(new))


@for_young_logins("app")
async def add_app(request: GatewayRequest, visitor: Presence) -> Response:
    """Make it a factor, or show it again with what is wrong."""
    form, user = await read_body(request, AppForm), await user_who_may_change(request, visitor)
    try:
        await confirm_own_totp(request, visitor, form.id, form.code, form.name)
    except (SecondFactorInvalid, MalformedRequest) as error:
        try:
            app = app_to_set_up(await request.state["gateway"].factors.look_totp(user, form.id), form.name)
        except SecondFactorInvalid:
            if isinstance(error, MalformedRequest):
                return await _failed(request, error, "problem", form.name)
            return see_other(request, f"{FACTORS_PATH}/app")
        return await _failed(request, error, "factor_app", form.name, app=app)
    return await _added(request, visitor, "app-added")


# ----------------------------------------------------------------------------------------------------------- a passkey


@for_young_logins("passkey")
async def show_new_passkey(request: GatewayRequest, visitor: Presence) -> Response:
    """Show the form for a new passkey."""
    if not can_have_passkeys(request):
        raise NotFound
    options = options_text(await begin_own_passkey(request, visitor))
    return page_response(request, "factor_passkey", reason="", wait="", name="", options=options)


@for_young_logins("passkey")
async def add_passkey_by_form(request: GatewayRequest, visitor: Presence) -> Response:
    """Make it a factor, or show the form again with what is wrong."""
    form = await read_body(request, PasskeyForm)
    answer = read_answer(form.credential, NewCredential)
    try:
        await add_own_passkey(request, visitor, answer, form.name)
    except (SecondFactorInvalid, MalformedRequest) as error:
        options = options_text(await begin_own_passkey(request, visitor))
        wrong = {"reason": "passkey_failed"} if isinstance(error, SecondFactorInvalid) else {}
        return await _failed(request, error, "factor_passkey", form.name, **wrong, options=options)
    return await _added(request, visitor, "passkey-added")


# ------------------------------------------------------------------------------------------------------ recovery codes


@for_young_logins("recovery")
async def show_recovery(request: GatewayRequest, visitor: Presence) -> Response:
    """Show what recovery codes are for, with a button that makes them."""
    await user_who_may_change(request, visitor)
    kinds = {factor.kind for factor in await request.state["gateway"].factors.all(visitor.sub)}
    if not kinds - {RECOVERY}:
        return see_other(request, ACCOUNT_PATH)
    done = request.query_params.get("done", "")
    return page_response(
        request,
        "factor_recovery",
        replaces=RECOVERY in kinds,
        rd=_rd(request, request.query_params.get("rd", "")),
        done=done if done in DONE else "",
    )


@for_young_logins("recovery")
async def make_codes(request: GatewayRequest, visitor: Presence) -> Response:
    """Make them, and show them this once."""
    form = await read_body(request, RecoveryForm)
    codes = await make_own_recovery_codes(request, visitor)
    return _codes(request, visitor, codes, form.rd)


@for_young_logins("recovery")
async def save_codes(request: GatewayRequest, visitor: Presence) -> Response:
    """
    Give the codes that the page shows as a text file. They come with the form, since nobody here knows them any more:
    so a browser without scripts can save them, and they come into no address.
    """
    form, user = await read_body(request, CodesForm), await user_who_may_change(request, visitor)
    if not _CODES.fullmatch(form.codes):
        raise MalformedRequest("These are no recovery codes", "body-unreadable")
    gateway = request.state["gateway"]
    settings = gateway.settings
    head = [settings.shown_name, settings.issuer_origin, user.email, rfc3339(gateway.clock())]
    return Response(
        "\n".join([*head, "", *form.codes.split(" "), ""]),
        headers={"Content-Disposition": 'attachment; filename="recovery-codes.txt"'},
        media_type="text/plain",
    )


# ---------------------------------------------------------------------------------------------------- one that there is


@for_young_logins("factor")
async def show_factor(request: GatewayRequest, visitor: Presence) -> Response:
    """Show one of my factors, to name it or take it away."""
    await user_who_may_change(request, visitor)
    values = await _one(request, visitor)
    return page_response(request, "factor", reason="", wait="", **values) if values else _back(request)


@for_young_logins("factor")
async def name_factor(request: GatewayRequest, visitor: Presence) -> Response:
    """Give it another name."""
    form, user = await read_body(request, NameForm), await user_who_may_change(request, visitor)
    try:
        await request.state["gateway"].factors.rename(user.user_id, request.path_params["id"], form.name)
    except MalformedRequest as error:
        values = await _one(request, visitor)
        return await _failed(request, error, "factor", form.name, **values) if values else _back(request)
    return _back(request, done="factor-renamed")


@for_young_logins("factor")
async def remove_factor_by_form(request: GatewayRequest, visitor: Presence) -> Response:
    """Take it away; one that is not there is gone already."""
    try:
        await remove_own_factor(request, visitor, request.path_params["id"])
    except NotFound:
        return _back(request)
    return _back(request, done="factor-removed")


async def _one(request: GatewayRequest, visitor: Presence) -> dict[str, Any] | None:
    """Give what the page of a factor shows; None where there is none such."""
    gateway = request.state["gateway"]
    factors: dict[str, Factor] = {one.factor_id: one for one in await gateway.factors.all(visitor.sub)}
    factor = factors.get(request.path_params["id"])
    if factor is None:
        return None
    others = [one for one in factors.values() if one.kind != RECOVERY and one != factor]
    return {
        "factor": factor_row(factor, gateway.clock()),
        "is_last": factor.kind != RECOVERY and not others,
        "is_required": gateway.settings.second_factor == "required",
    }


async def _added(request: GatewayRequest, visitor: Presence, done: str) -> Response:
    """
    Lead on from a new factor, by recovery codes where there are none.

    A login without a second factor may add the first one, and nothing more. So who has just done that gets the codes
    with it, and need not log in once more for them.
    """
    factors = request.state["gateway"].factors
    kinds = [factor.kind for factor in await factors.all(visitor.sub)]
    if RECOVERY in kinds:
        return _back(request, done=done)
    if MULTIPLE in visitor.amr:
        return see_other(request, f"{FACTORS_PATH}/recovery", done=done)
    codes = await factors.make_recovery_codes(visitor.sub)
    tell(FACTOR_ADDED, request, RECOVERY, sid=visitor.sid)
    await note_change(request, visitor.sub, RECOVERY, visitor.sid)
    return _codes(request, visitor, codes, "")


def _codes(request: GatewayRequest, visitor: Presence, codes: tuple[str, ...], rd: str) -> Response:
    return page_response(request, "recovery_codes", codes=codes, email=visitor.email, rd=_rd(request, rd))


def _rd(request: GatewayRequest, text: str) -> str:
    return safe_return_address(text, request.state["gateway"].settings) or ""


async def _failed(request: GatewayRequest, error: GatewayError, template: str, name: str, **values: Any) -> Response:
    """Show a page again: what was sent is wrong, or the *name* is none; or say that there are as many as may be."""
    if isinstance(error, MalformedRequest):
        try:
            check_factor_name(name)
        except MalformedRequest:
            values["reason"] = "problem_factor_name"
        else:
            return await failure_page(request, error, reason="problem_factor_full")
    return await failure_page(request, error, template, name=name, **values)


def _back(request: GatewayRequest, **parameters: str) -> Response:
    return see_other(request, ACCOUNT_PATH, **parameters)
