"""GET /auth/me: who is asking, as stored now."""

from starlette.responses import Response

from gateway.errors import AccessTokenInvalid
from gateway.state import GatewayRequest
from gateway.web.api.delivery import user_body
from gateway.web.http import json_response, require_caller


async def show_me(request: GatewayRequest) -> Response:
    """Give the user who asks."""
    claims = await require_caller(request)
    user = await request.state["gateway"].users.get(claims.sub)
    if user is None or not user.is_active:
        raise AccessTokenInvalid("user_disabled")
    return json_response(user_body(user))
