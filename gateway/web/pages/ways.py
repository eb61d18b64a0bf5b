"""GET / and /.well-known/change-password (W3C Change Password URL): both lead to the account."""

from starlette.responses import Response

from gateway.state import GatewayRequest
from gateway.web.html import see_other
from gateway.web.pages.visitor import ACCOUNT_PATH


async def lead_to_account(request: GatewayRequest) -> Response:
    """Lead to who I am."""
    return see_other(request, ACCOUNT_PATH)


async def lead_to_change_of_password(request: GatewayRequest) -> Response:
    """Lead a password manager to where a password is changed."""
    return see_other(request, f"{ACCOUNT_PATH}#password")
