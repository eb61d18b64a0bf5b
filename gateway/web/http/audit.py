"""Security events of requests: with who is asking, from where, and the request id of the answer."""

from gateway.state import GatewayRequest
from gateway.telemetry import Event, trace_of
from gateway.web.http.client_address import address_of
from gateway.web.http.request_id import request_id_of


def tell(
    event: Event, request: GatewayRequest, reason: str = "", *, sub: str = "", sid: str = "", token_id: str = ""
) -> None:
    """
    Tell a security event with one of its reasons (`gateway.telemetry.AuditTrail.tell`).

    Args:
        sub: The user. Without it the one whom this request is known to be of, else the account that it names.
    """
    gateway, scope = request.state["gateway"], request.scope
    gateway.audit.tell(
        event,
        reason,
        sub=sub or scope.get("gateway.sub", ""),
        email=scope.get("gateway.email", ""),
        sid=sid,
        token_id=token_id,
        address=str(address_of(request, gateway.trusted_networks)),
        request_id=request_id_of(scope),
        **trace_of(scope["headers"]),
    )
