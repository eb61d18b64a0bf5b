"""POST /auth/change-password: a new password, and every other session ends."""

from starlette.responses import Response

from gateway.state import GatewayRequest
from gateway.web.api.wire import ChangePasswordRequest
from gateway.web.http import change_password_of, read_body, require_caller


async def change_own_password(request: GatewayRequest) -> Response:
    """Take the current password and the new one."""
    caller = await require_caller(request)
    body = await read_body(request, ChangePasswordRequest, form=False)
    await change_password_of(request, caller, body.current_password, body.new_password)
    return Response(status_code=204)
