"""POST /auth/logout and /auth/logout-all: sessions end, here at once and everywhere within a second."""

from starlette.responses import Response

from gateway.errors import RefreshTokenInvalid
from gateway.state import GatewayRequest
from gateway.web.api.presented import presented_refresh_token
from gateway.web.api.wire import RevokedBody
from gateway.web.http import clear_refresh_cookie, json_response, require_access_token, tell


async def log_out(request: GatewayRequest) -> Response:
    """End the session of a refresh token, whichever of its generations it is."""
    gateway = request.state["gateway"]
    presented = await presented_refresh_token(request)
    response = Response(status_code=204)
    clear_refresh_cookie(response, gateway.settings)
    try:
        token = gateway.families.parse(presented.text)
    except RefreshTokenInvalid:
        return response
    if await gateway.families.exists(token.user_id, token.family_id):
        await gateway.end_families(token.user_id, (token.family_id,))
        tell("logout", request, sub=token.user_id, sid=token.family_id)
    elif token.family_id not in gateway.revocations:
        # Redis has lost it, or it is over; in the first case access tokens of it may still be good.
        await gateway.revocations.announce((token.family_id,))
    return response


async def log_out_everywhere(request: GatewayRequest) -> Response:
    """End every session of the caller, his own counted, and refuse every access token that he was given before."""
    gateway = request.state["gateway"]
    claims = require_access_token(request)
    count = await gateway.end_all_families(claims.sub)
    tell("sessions_revoked", request, reason="logout-all", sid=claims.sid)
    response = json_response(RevokedBody(count))
    clear_refresh_cookie(response, gateway.settings)
    return response
