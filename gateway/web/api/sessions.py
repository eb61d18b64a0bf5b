"""GET /auth/sessions and DELETE /auth/sessions/{id}: a user sees where he is logged in, and ends it there."""

from functools import partial

from starlette.responses import Response

from gateway.clock import rfc3339
from gateway.errors import NotFound
from gateway.state import GatewayRequest
from gateway.telemetry import SESSIONS_REVOKED
from gateway.web.api.wire import SessionBody, SessionsBody
from gateway.web.http import json_response, require_caller, tell


async def list_sessions(request: GatewayRequest) -> Response:
    """Give the caller's living sessions, newest first."""
    claims = await require_caller(request)
    families = await request.state["gateway"].families.list(claims.sub)
    rows = [
        SessionBody(
            id=family.family_id,
            created_at=rfc3339(family.created_at),
            last_used_at=rfc3339(family.last_used_at),
            expires_at=rfc3339(family.expires_at),
            ip=family.address,
            device=family.device,
            amr=family.amr,
            current=family.family_id == claims.sid,
        )
        for family in families
    ]
    return json_response(SessionsBody(rows))


async def end_session(request: GatewayRequest) -> Response:
    """End one of the caller's sessions."""
    gateway = request.state["gateway"]
    claims = await require_caller(request)
    family_id = request.path_params["id"]
    if not await gateway.families.exists(claims.sub, family_id):
        raise NotFound("You have no such session")
    told = partial(tell, SESSIONS_REVOKED, request, sid=family_id)
    await gateway.end_families(claims.sub, (family_id,), "revoked", told)
    return Response(status_code=204)
