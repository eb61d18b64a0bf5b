"""/auth/account/factors/app and /passkey: a second factor is set up."""

from starlette.responses import Response

from gateway.accounts import NewCredential
from gateway.errors import MalformedRequest, NotFound, SecondFactorInvalid
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.telemetry import FACTOR_ADDED
from gateway.web.html import page_response, see_other
from gateway.web.http import (
    SecretBody,
    add_own_passkey,
    begin_own_passkey,
    begin_own_totp,
    confirm_own_totp,
    note_change,
    read_body,
    tell,
    user_who_may_change,
)
from gateway.web.pages.factor_rows import RECOVERY, app_to_set_up, can_have_passkeys
from gateway.web.pages.passkey_forms import options_text, read_answer
from gateway.web.pages.visitor import FACTORS_PATH
from gateway.web.pages.young_logins import for_young_logins, lead_back, show_again, show_codes

MULTIPLE = "mfa"


class AppForm(SecretBody, frozen=True):
    """Fields of the form with which an authenticator app is confirmed."""

    id: str = ""
    code: str = ""
    name: str = ""


class PasskeyForm(SecretBody, frozen=True):
    """Fields of the form that brings a new passkey, `credential`."""

    credential: str = ""
    name: str = ""


@for_young_logins("app")
async def show_new_app(request: GatewayRequest, visitor: Presence) -> Response:
    """Show a new secret for an app."""
    new = await begin_own_totp(request, visitor)
    return page_response(request, "factor_app", reason="", wait="", app=app_to_set_up(new))


@for_young_logins("app")
async def add_app(request: GatewayRequest, visitor: Presence) -> Response:
    """Make it a factor, or show it again with what is wrong."""
    form, user = await read_body(request, AppForm), await user_who_may_change(request, visitor)
    async with request.state["gateway"].store.confirmed_together():  # with the recovery codes that may follow
        try:
            await confirm_own_totp(request, visitor, form.id, form.code, form.name)
        except (SecondFactorInvalid, MalformedRequest) as error:
            try:
                app = app_to_set_up(await request.state["gateway"].factors.look_totp(user, form.id), form.name)
            except SecondFactorInvalid:
                if isinstance(error, MalformedRequest):
                    return await show_again(request, error, "problem", form.name)
                return see_other(request, f"{FACTORS_PATH}/app")
            return await show_again(request, error, "factor_app", form.name, app=app)
        return await _added(request, visitor, "app-added")


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
    async with request.state["gateway"].store.confirmed_together():  # with the recovery codes that may follow
        try:
            await add_own_passkey(request, visitor, answer, form.name)
        except (SecondFactorInvalid, MalformedRequest) as error:
            options = options_text(await begin_own_passkey(request, visitor))
            wrong = {"reason": "passkey_failed"} if isinstance(error, SecondFactorInvalid) else {}
            return await show_again(request, error, "factor_passkey", form.name, **wrong, options=options)
        return await _added(request, visitor, "passkey-added")


async def _added(request: GatewayRequest, visitor: Presence, done: str) -> Response:
    """
    Lead on from a new factor, by recovery codes where there are none.

    A login without a second factor may add the first one, and nothing more. So who has just done that gets the codes
    with it, and need not log in once more for them.
    """
    factors = request.state["gateway"].factors
    kinds = [factor.kind for factor in await factors.all(visitor.sub)]
    if RECOVERY in kinds:
        return lead_back(request, done=done)
    if MULTIPLE in visitor.amr:
        return see_other(request, f"{FACTORS_PATH}/recovery", done=done)
    codes = await factors.make_recovery_codes(visitor.sub)
    tell(FACTOR_ADDED, request, RECOVERY, sid=visitor.sid)
    await note_change(request, visitor.sub, RECOVERY, visitor.sid)
    return show_codes(request, visitor, codes, "")
