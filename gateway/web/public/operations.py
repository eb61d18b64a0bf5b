"""GET /livez and /readyz: for supervisors and load balancers."""

import msgspec
from starlette.responses import Response

from gateway.errors import NotReady
from gateway.state import GatewayRequest
from gateway.web.http import json_response


class StatusBody(msgspec.Struct, frozen=True):
    """Answer of /livez (`alive`) and /readyz (`ready`)."""

    status: str


async def livez(request: GatewayRequest) -> Response:
    """Say that the process serves; touches nothing."""
    return json_response(StatusBody("alive"))


async def readyz(request: GatewayRequest) -> Response:
    """Say whether this process should get traffic, or which parts fail."""
    gateway = request.state["gateway"]
    failing = []
    if not await gateway.server_look.is_fit():
        failing.append("redis")
    if not gateway.keyring.is_open:
        failing.append("keyring")
    if not gateway.revocations.is_current:
        failing.append("revocations")
    if failing:
        raise NotReady(tuple(failing))
    return json_response(StatusBody("ready"))
