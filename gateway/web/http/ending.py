"""How a session is ended by who has it, whoever asks for it: the API or a page."""

from functools import partial

from gateway.state import GatewayRequest
from gateway.telemetry import LOGOUT
from gateway.web.http.audit import tell


async def end_own_session(request: GatewayRequest, user_id: str, family_id: str) -> None:
    """
    End a session that somebody logs out of, whether Redis still has it or not.

    Raises:
        StoreUnavailable: Not everybody knows; the caller should try again.
    """
    gateway = request.state["gateway"]
    if await gateway.families.exists(user_id, family_id):
        told = partial(tell, LOGOUT, request, sub=user_id, sid=family_id)
        await gateway.end_families(user_id, (family_id,), "logout", told)
    elif family_id not in gateway.revocations:
        # Redis has lost it, or it is over; in the first case access tokens of it may still be good.
        await gateway.revocations.announce((family_id,))
        tell(LOGOUT, request, "already-over", sub=user_id, sid=family_id)
