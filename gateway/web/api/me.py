"""GET /auth/me: who is asking, as stored now."""

from dataclasses import replace

from starlette.responses import Response

from gateway.errors import AccessTokenInvalid
from gateway.sessions import Presence
from gateway.state import GatewayRequest
from gateway.web.api.delivery import user_body
from gateway.web.http import json_response, require_caller


async def show_me(request: GatewayRequest) -> Response:
    """Give the user who asks; by a personal token with the roles that this gives."""
    caller = await require_caller(request, takes_personal_tokens=True)
    user = await request.state["gateway"].users.get(caller.sub)
    if user is None or not user.is_active:
        raise AccessTokenInvalid("user_disabled")
    if isinstance(caller, Presence) and caller.is_of_personal_token:
        user = replace(user, roles=caller.roles)
    return json_response(user_body(user))
