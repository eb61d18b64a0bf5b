"""Who may change second factors and personal tokens on the pages, and what those pages answer in the same way."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from gateway.accounts import check_factor_name
from gateway.errors import AccessTokenInvalid, AuthenticationTooWeak, GatewayError, MalformedRequest
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.html import failure_page, page_response, see_other
from gateway.web.http import safe_return_address
from gateway.web.pages.visitor import (
    ACCOUNT_PATH,
    find_sender,
    find_visitor,
    for_people,
    lead_to_login,
    lead_to_new_login,
)

Handler = Callable[[GatewayRequest, Presence], Awaitable[Response]]


def for_young_logins(way: str) -> Callable[[Handler], Callable[[GatewayRequest], Awaitable[Response]]]:
    """
    Let a handler answer who may change factors and tokens, with a page also for what goes wrong.

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


def lead_back(request: GatewayRequest, **parameters: str) -> Response:
    """Lead to the account."""
    return see_other(request, ACCOUNT_PATH, **parameters)


def show_codes(request: GatewayRequest, visitor: Presence, codes: tuple[str, ...], rd: str) -> Response:
    """Show recovery codes that have just been made; *rd*, which may be anything, is where to go afterwards."""
    return page_response(request, "recovery_codes", codes=codes, email=visitor.email, rd=safe_rd(request, rd))


def safe_rd(request: GatewayRequest, text: str) -> str:
    """Give an address that may be led to, as it is, and nothing for any other."""
    return safe_return_address(text, request.state["gateway"].settings) or ""


async def show_again(request: GatewayRequest, error: GatewayError, template: str, name: str, **values: Any) -> Response:
    """Show a page again: what was sent is wrong, or the *name* is none; or say that there are as many as may be."""
    if isinstance(error, MalformedRequest):
        try:
            check_factor_name(name)
        except MalformedRequest:
            values["reason"] = "problem_factor_name"
        else:
            return await failure_page(request, error, reason="problem_factor_full")
    return await failure_page(request, error, template, name=name, **values)
