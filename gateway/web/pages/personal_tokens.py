"""/auth/account/tokens: a personal token is made and shown once, or revoked."""

import re

import msgspec
from starlette.responses import Response

from gateway.accounts import User, check_factor_name
from gateway.errors import MalformedRequest, NotFound, RateLimited
from gateway.machines import DEFAULT_DAYS, MAX_DAYS
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import failure_page, page_response
from gateway.web.http import make_own_token, read_body, revoke_own_token, user_with_young_login
from gateway.web.pages.token_rows import token_row
from gateway.web.pages.visitor import find_sender, for_people, lead_to_login
from gateway.web.pages.young_logins import for_young_logins, lead_back

REPEATED = frozenset({"roles"})
_DAYS = re.compile(r"[0-9]{1,3}")


class TokenForm(msgspec.Struct, frozen=True):
    """Fields of the form that makes a token. No role chosen is all of them; `days` is kept as it was typed."""

    name: str = ""
    days: str = ""
    roles: tuple[str, ...] = ()

    @property
    def days_given(self) -> int:
        """The days as a number; 0, which is none that a token may have, for what is no number."""
        return int(self.days) if _DAYS.fullmatch(self.days) else 0


@for_young_logins("token")
async def show_new_token(request: GatewayRequest, visitor: Presence) -> Response:
    """Show the form for a new one."""
    user = await user_with_young_login(request, visitor)
    form = TokenForm(days=str(DEFAULT_DAYS))
    return page_response(request, "token_new", reason="", wait="", form=form, roles=user.roles, max_days=MAX_DAYS)


@for_young_logins("token")
async def make_token_by_form(request: GatewayRequest, visitor: Presence) -> Response:
    """Make it, and show it this once; or show the form again with what is wrong."""
    form = await read_body(request, TokenForm, repeated_fields=REPEATED)
    try:
        text, entry = await make_own_token(request, visitor, form.name, form.roles or None, form.days_given)
    except (MalformedRequest, RateLimited) as error:
        user = await user_with_young_login(request, visitor)
        wrong = {"reason": _what_is_wrong(form, user)} if isinstance(error, MalformedRequest) else {}
        return await failure_page(request, error, "token_new", form=form, roles=user.roles, max_days=MAX_DAYS, **wrong)
    now = request.state["gateway"].clock()
    return page_response(request, "token_made", text=text, token=token_row(entry, now))


@for_people
async def revoke_token_by_form(request: GatewayRequest) -> Response:
    """Revoke it, by a login of any age; one that is not there is gone already."""
    visitor = await find_sender(request)
    if visitor is None:
        return lead_to_login(request)
    try:
        await revoke_own_token(request, visitor, request.path_params["id"])
    except NotFound:
        return lead_back(request)
    return lead_back(request, done="token-revoked")


def _what_is_wrong(form: TokenForm, user: User) -> str:
    """Give the text that says why no token was made."""
    try:
        name = check_factor_name(form.name)
    except MalformedRequest:
        return "problem_factor_name"
    if not name:
        return "problem_token_name"
    if not 1 <= form.days_given <= MAX_DAYS:
        return "problem_token_days"
    if not set(form.roles) <= set(user.roles):
        return "problem_token_roles"
    return "problem_factor_full"
