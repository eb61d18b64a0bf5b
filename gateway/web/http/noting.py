"""What is told to users themselves, on their account: that a password or a factor was changed, and from where."""

from gateway.state import GatewayRequest
from gateway.web.http.client_address import address_of
from gateway.web.http.device import device_label


async def note_change(request: GatewayRequest, user_id: str, what: str, sid: str) -> None:
    """Keep a change that a request has made in a session; see `gateway.accounts.Changes`."""
    gateway = request.state["gateway"]
    address = str(address_of(request, gateway.trusted_networks))
    device = device_label(request.headers.get("user-agent", ""))
    await gateway.changes.note(user_id, what, sid=sid, address=address, device=device)
