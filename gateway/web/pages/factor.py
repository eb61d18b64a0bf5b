"""/auth/account/factors/{id}: one of my second factors gets another name, or is taken away."""

from typing import Any

import msgspec
from starlette.responses import Response

from gateway.accounts import Factor
from gateway.errors import MalformedRequest, NotFound
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import page_response
from gateway.web.http import read_body, remove_own_factor, user_who_may_change
from gateway.web.pages.factor_rows import RECOVERY, factor_row
from gateway.web.pages.young_logins import for_young_logins, lead_back, show_again


class NameForm(msgspec.Struct, frozen=True):
    """Fields of the form that names a factor."""

    name: str = ""


@for_young_logins("factor")
async def show_factor(request: GatewayRequest, visitor: Presence) -> Response:
    """Show one of my factors, to name it or take it away."""
    await user_who_may_change(request, visitor)
    values = await _one(request, visitor)
    return page_response(request, "factor", reason="", wait="", **values) if values else lead_back(request)


@for_young_logins("factor")
async def name_factor(request: GatewayRequest, visitor: Presence) -> Response:
    """Give it another name."""
    form, user = await read_body(request, NameForm), await user_who_may_change(request, visitor)
    try:
        await request.state["gateway"].factors.rename(user.user_id, request.path_params["id"], form.name)
    except MalformedRequest as error:
        values = await _one(request, visitor)
        return await show_again(request, error, "factor", form.name, **values) if values else lead_back(request)
    return lead_back(request, done="factor-renamed")


@for_young_logins("factor")
async def remove_factor_by_form(request: GatewayRequest, visitor: Presence) -> Response:
    """Take it away; one that is not there is gone already."""
    try:
        await remove_own_factor(request, visitor, request.path_params["id"])
    except NotFound:
        return lead_back(request)
    return lead_back(request, done="factor-removed")


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
