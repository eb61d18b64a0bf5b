"""POST /auth/logout and /auth/logout-all: sessions end, here at once and everywhere within a second."""

from functools import partial

from starlette.responses import Response

from gateway.errors import RefreshTokenInvalid, RefreshTokenMissing
from gateway.state import GatewayRequest
from gateway.telemetry import SESSIONS_REVOKED
from gateway.web.api.presented import presented_refresh_token
from gateway.web.api.wire import RevokedBody
from gateway.web.http import (
    clear_refresh_cookie,
    clear_session_cookie,
    end_own_session,
    find_session,
    json_response,
    read_cookie,
    refuse_cross_site,
    require_caller,
    session_cookie_name,
    tell,
)


async def log_out(request: GatewayRequest) -> Response:
    """End the session of a refresh token, whichever of its generations it is, and that of the session cookie."""
    gateway = request.state["gateway"]
    session = find_session(request.scope["headers"], gateway)
    response = Response(status_code=204)
    if session is not None:
        refuse_cross_site(request.headers, gateway.settings)
        clear_session_cookie(response, gateway.settings)
        await end_own_session(request, session.user_id, session.sid)
    try:
        presented = await presented_refresh_token(request)
    except RefreshTokenMissing:
        if session is None:
            raise
        return response
    clear_refresh_cookie(response, gateway.settings)
    try:
        token = gateway.families.parse(presented.text)
    except RefreshTokenInvalid:
        return response
    await end_own_session(request, token.user_id, token.family_id)
    return response


async def log_out_everywhere(request: GatewayRequest) -> Response:
    """End every session of the caller, his own counted, and refuse every access token that he was given before."""
    gateway = request.state["gateway"]
    claims = await require_caller(request)
    told = partial(tell, SESSIONS_REVOKED, request, "logout-all", sid=claims.sid)
    count = await gateway.end_all_families(claims.sub, "logout-all", told)
    if claims.sid not in gateway.revocations:
        # Redis has lost it. The cut-off that refuses it names no session, and lists for offline verifiers go by these.
        await gateway.revocations.announce((claims.sid,))
    response = json_response(RevokedBody(count))
    clear_refresh_cookie(response, gateway.settings)
    if read_cookie(request.scope["headers"], session_cookie_name(gateway.settings)) is not None:
        clear_session_cookie(response, gateway.settings)
    return response
