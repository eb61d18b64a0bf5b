"""/auth/account: who I am, where I am signed in, and my password."""

import datetime
from functools import partial
from typing import Any

from starlette.responses import Response

from gateway.clock import rfc3339
from gateway.errors import AccessTokenInvalid, PasswordRejected, RateLimited, WrongCurrentPassword
from gateway.sessions import Family, Presence
from gateway.state import GatewayRequest
from gateway.telemetry import SESSIONS_REVOKED
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    SecretBody,
    change_password_of,
    clear_session_cookie,
    find_session,
    read_body,
    refuse_cross_site,
    tell,
)
from gateway.web.pages.visitor import ACCOUNT_PATH, LOGIN_PATH, find_visitor, for_people

DONE = ("session-ended", "others-ended", "password-changed")
MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3600, 86_400


class PasswordForm(SecretBody, frozen=True):
    """Fields of the change of password."""

    current_password: str = ""
    new_password: str = ""


@for_people
async def show_account(request: GatewayRequest) -> Response:
    """Show it, with a note of what has just been done."""
    visitor = await find_visitor(request)
    values = await _values(request, visitor) if visitor else None
    if values is None:
        return _to_login(request)
    done = request.query_params.get("done", "")
    values["done"] = f"done_{done.replace('-', '_')}" if done in DONE else ""
    return page_response(request, "account", reason="", wait="", **values)


@for_people
async def end_chosen_session(request: GatewayRequest) -> Response:
    """End one of my sessions; one that is not there has ended already."""
    gateway, visitor = request.state["gateway"], await _sender(request)
    if visitor is None:
        return _to_login(request)
    family_id = request.path_params["id"]
    if await gateway.families.exists(visitor.sub, family_id):
        told = partial(tell, SESSIONS_REVOKED, request, sid=family_id)
        await gateway.end_families(visitor.sub, (family_id,), "revoked", told)
    return _done(request, "session-ended")


@for_people
async def end_other_sessions(request: GatewayRequest) -> Response:
    """End all of my sessions but this one."""
    gateway, visitor = request.state["gateway"], await _sender(request)
    if visitor is None:
        return _to_login(request)
    families = await gateway.families.list(visitor.sub)
    others = tuple(family.family_id for family in families if family.family_id != visitor.sid)
    told = partial(tell, SESSIONS_REVOKED, request, "others", sid=visitor.sid)
    await gateway.end_families(visitor.sub, others, "revoked", told)
    return _done(request, "others-ended")


@for_people
async def set_own_password(request: GatewayRequest) -> Response:
    """Change my password, which ends all other sessions; or show the page again with what is wrong."""
    visitor = await _sender(request)
    if visitor is None:
        return _to_login(request)
    form = await read_body(request, PasswordForm)
    values = await _values(request, visitor)
    if values is None:
        return _to_login(request)
    if not form.current_password or not form.new_password:
        return page_response(request, "account", 422, reason="problem_empty", wait="", **values)
    try:
        await change_password_of(request, visitor, form.current_password, form.new_password)
    except (PasswordRejected, WrongCurrentPassword, RateLimited) as error:
        reasons = error.reasons if isinstance(error, PasswordRejected) else ()
        if isinstance(error, WrongCurrentPassword):
            values["reason"] = "wrong_current_password"
        return await failure_page(request, error, "account", **values | {"reasons": reasons})
    except AccessTokenInvalid:
        return _to_login(request)
    return _done(request, "password-changed")


async def _sender(request: GatewayRequest) -> Presence | None:
    """
    Give who sends a form; None without a session that is good.

    Raises:
        CrossSiteRequest: It comes from another site.
        CookieSentTwice, StoreUnavailable: As `find_visitor`.
    """
    visitor = await find_visitor(request)
    refuse_cross_site(request.headers, request.state["gateway"].settings)
    return visitor


def _to_login(request: GatewayRequest) -> Response:
    """Lead to the login and back. A cookie that is no good is taken back, or the login would lead here again."""
    settings = request.state["gateway"].settings
    response = see_other(request, LOGIN_PATH, rd=settings.issuer_origin + ACCOUNT_PATH)
    if find_session(request.scope["headers"], request.state["gateway"]) is not None:
        clear_session_cookie(response, settings)
    return response


async def _values(request: GatewayRequest, visitor: Presence) -> dict[str, Any] | None:
    """Give what the page shows, with nothing done and nothing wrong; None where the user is disabled or gone."""
    gateway = request.state["gateway"]
    user = await gateway.users.get(visitor.sub)
    if user is None or not user.is_active:
        return None
    now = gateway.clock()
    rows = [_row(family, visitor, now) for family in await gateway.families.list(visitor.sub)]
    # The one that somebody looks with comes first.
    rows.sort(key=lambda row: not row["is_this"])
    return {"user": user, "sessions": rows, "done": "", "reasons": ()}


def _row(family: Family, visitor: Presence, now: int) -> dict[str, Any]:
    unit, count = _ago(now - family.last_used_at)
    opened = datetime.datetime.fromtimestamp(family.created_at, datetime.UTC)
    return {
        "id": family.family_id,
        "device": family.device.replace(" on ", " \u00b7 "),
        "address": family.address,
        "opened": opened,
        "opened_at": rfc3339(family.created_at),
        "used_unit": unit,
        "used_count": count,
        "used_at": rfc3339(family.last_used_at),
        "is_this": family.family_id == visitor.sid,
    }


def _ago(seconds: int) -> tuple[str, int]:
    """Give how long ago something was, as one of the texts `ago_*` and its number."""
    for unit, size in (("days", DAY_SECONDS), ("hours", HOUR_SECONDS), ("minutes", MINUTE_SECONDS)):
        if seconds >= (2 * size if unit == "days" else size):
            return f"ago_{unit}", seconds // size
    return "ago_now", 0


def _done(request: GatewayRequest, what: str) -> Response:
    return see_other(request, ACCOUNT_PATH, done=what)
