"""/auth/account: who I am, where I am signed in, and my password."""

import re
from functools import partial
from typing import Any

from starlette.responses import Response

from gateway.accounts import Change
from gateway.clock import rfc3339
from gateway.errors import AccessTokenInvalid, PasswordRejected, RateLimited, WrongCurrentPassword
from gateway.sessions import Family, Presence
from gateway.state import GatewayRequest
from gateway.telemetry import SESSIONS_REVOKED
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import (
    SecretBody,
    change_password_of,
    read_body,
    tell,
)
from gateway.web.pages.factor_rows import section_of_factors
from gateway.web.pages.moments import ago, day_of
from gateway.web.pages.token_rows import section_of_tokens
from gateway.web.pages.visitor import (
    ACCOUNT_PATH,
    FACTORS_PATH,
    TOKENS_PATH,
    find_sender,
    find_visitor,
    for_people,
    lead_to_login,
)

DONE = (
    "session-ended", "others-ended", "password-changed", "app-added", "passkey-added", "factor-renamed",
    "factor-removed", "token-revoked",
)  # fmt: skip
CHANGES_TOLD_SECONDS = 7 * 86_400
FACTOR_WAYS = re.compile(r"app|passkey|recovery|fac_[A-Za-z0-9_-]{22}")


class PasswordForm(SecretBody, frozen=True):
    """Fields of the change of password."""

    current_password: str = ""
    new_password: str = ""


@for_people
async def show_account(request: GatewayRequest) -> Response:
    """Show it, with a note of what has just been done; or lead on who had to log in once more for a page of it."""
    visitor = await find_visitor(request)
    if visitor and (page := _page_to_lead_to(request.query_params.get("to", ""))):
        return see_other(request, page)
    values = await _values(request, visitor) if visitor else None
    if values is None:
        return lead_to_login(request)
    done = request.query_params.get("done", "")
    values["done"] = f"done_{done.replace('-', '_')}" if done in DONE else ""
    return page_response(request, "account", reason="", wait="", **values)


@for_people
async def end_chosen_session(request: GatewayRequest) -> Response:
    """End one of my sessions; one that is not there has ended already."""
    gateway, visitor = request.state["gateway"], await find_sender(request)
    if visitor is None:
        return lead_to_login(request)
    family_id = request.path_params["id"]
    if await gateway.families.exists(visitor.sub, family_id):
        told = partial(tell, SESSIONS_REVOKED, request, sid=family_id)
        await gateway.end_families(visitor.sub, (family_id,), "revoked", told)
    return _done(request, "session-ended")


@for_people
async def end_other_sessions(request: GatewayRequest) -> Response:
    """End all of my sessions but this one."""
    gateway, visitor = request.state["gateway"], await find_sender(request)
    if visitor is None:
        return lead_to_login(request)
    families = await gateway.families.list(visitor.sub)
    others = tuple(family.family_id for family in families if family.family_id != visitor.sid)
    told = partial(tell, SESSIONS_REVOKED, request, "others", sid=visitor.sid)
    await gateway.end_families(visitor.sub, others, "revoked", told)
    return _done(request, "others-ended")


@for_people
async def set_own_password(request: GatewayRequest) -> Response:
    """Change my password, which ends all other sessions; or show the page again with what is wrong."""
    visitor = await find_sender(request)
    if visitor is None:
        return lead_to_login(request)
    form = await read_body(request, PasswordForm)
    values = await _values(request, visitor)
    if values is None:
        return lead_to_login(request)
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
        return lead_to_login(request)
    return _done(request, "password-changed")


def _page_to_lead_to(way: str) -> str | None:
    return f"{FACTORS_PATH}/{way}" if FACTOR_WAYS.fullmatch(way) else TOKENS_PATH if way == "token" else None


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
    sections = await section_of_factors(request, visitor.sub) | await section_of_tokens(request, visitor.sub)
    changes = [
        {"what": f"changed_{change.what}", "day": day_of(change.at), "at": rfc3339(change.at), **_where(change)}
        for change in await gateway.changes.latest(visitor.sub)
        if change.sid != visitor.sid and now - change.at < CHANGES_TOLD_SECONDS
    ]
    return {"user": user, "sessions": rows, "changes": changes, "done": "", "reasons": (), **sections}


def _row(family: Family, visitor: Presence, now: int) -> dict[str, Any]:
    unit, count = ago(now - family.last_used_at)
    return {
        "id": family.family_id,
        "device": _shown_device(family.device),
        "address": family.address,
        "opened": day_of(family.created_at),
        "opened_at": rfc3339(family.created_at),
        "used_unit": unit,
        "used_count": count,
        "used_at": rfc3339(family.last_used_at),
        "is_this": family.family_id == visitor.sid,
    }


def _where(change: Change) -> dict[str, str]:
    return {"address": change.address, "device": _shown_device(change.device)}


def _shown_device(label: str) -> str:
    return label.replace(" on ", " \u00b7 ")


def _done(request: GatewayRequest, what: str) -> Response:
    return see_other(request, ACCOUNT_PATH, done=what)
