"""GET /livez and /readyz: for supervisors and load balancers."""

from starlette.responses import Response

from gateway.errors import NotReady, StoreUnavailable
from gateway.state import GatewayRequest


async def livez(request: GatewayRequest) -> Response:
    """Say that the process serves; touches nothing."""
    return Response(b"alive\n", media_type="text/plain")


async def readyz(request: GatewayRequest) -> Response:
    """Say whether this process should get traffic, or which parts fail."""
    gateway = request.state["gateway"]
    failing = []
    try:
        await gateway.store.execute("PING")
    except StoreUnavailable:
        failing.append("redis")
    if not gateway.keyring.is_open:
        failing.append("keyring")
    if not gateway.revocations.is_current:
        failing.append("revocations")
    if failing:
        raise NotReady(tuple(failing))
    return Response(b"ready\n", media_type="text/plain")
