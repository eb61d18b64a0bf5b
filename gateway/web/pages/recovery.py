"""/auth/account/factors/recovery: recovery codes are made, shown once, and saved."""

import re

import msgspec
from starlette.responses import Response

from gateway.clock import rfc3339
from gateway.errors import MalformedRequest
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import page_response
from gateway.web.http import SecretBody, make_own_recovery_codes, read_body, user_who_may_change
from gateway.web.pages.factor_rows import RECOVERY
from gateway.web.pages.young_logins import for_young_logins, lead_back, safe_rd, show_codes

DONE = ("app-added", "passkey-added")
_CODES = re.compile(r"[0-9A-Z]{5}-[0-9A-Z]{5}( [0-9A-Z]{5}-[0-9A-Z]{5}){9}")


class RecoveryForm(msgspec.Struct, frozen=True):
    """Fields of the form that makes recovery codes; `rd` is where to go afterwards."""

    rd: str = ""


class CodesForm(SecretBody, frozen=True):
    """Fields of the form that saves recovery codes: what the page shows, with blanks between."""

    codes: str = ""


@for_young_logins("recovery")
async def show_recovery(request: GatewayRequest, visitor: Presence) -> Response:
    """Show what recovery codes are for, with a button that makes them."""
    await user_who_may_change(request, visitor)
    kinds = {factor.kind for factor in await request.state["gateway"].factors.all(visitor.sub)}
    if not kinds - {RECOVERY}:
        return lead_back(request)
    done = request.query_params.get("done", "")
    return page_response(
        request,
        "factor_recovery",
        replaces=RECOVERY in kinds,
        rd=safe_rd(request, request.query_params.get("rd", "")),
        done=done if done in DONE else "",
    )


@for_young_logins("recovery")
async def make_codes(request: GatewayRequest, visitor: Presence) -> Response:
    """Make them, and show them this once."""
    form = await read_body(request, RecoveryForm)
    codes = await make_own_recovery_codes(request, visitor)
    return show_codes(request, visitor, codes, form.rd)


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
