"""POST /auth/refresh: a refresh token becomes its successor and a fresh access token."""

from starlette.responses import Response

from gateway.errors import RefreshTokenInvalid, RefreshTokenReused
from gateway.state import GatewayRequest
from gateway.telemetry import REFRESH_TOKEN_REUSED
from gateway.web.api.delivery import token_response
from gateway.web.api.presented import Presented, presented_refresh_token
from gateway.web.http import address_of, clear_refresh_cookie, problem_response, rate_keys, tell


async def refresh_tokens(request: GatewayRequest) -> Response:
    """Rotate the token; a 401 takes a cookie back that cannot be of use any more."""
    presented = await presented_refresh_token(request)
    try:
        return await _rotate(request, presented)
    except (RefreshTokenInvalid, RefreshTokenReused) as error:
        request.state["gateway"].refresh_verdicts[error.cause] += 1
        request.scope["gateway.error"] = error
        response = problem_response(error)
        if presented.is_cookie:
            clear_refresh_cookie(response, request.state["gateway"].settings)
        return response


async def _rotate(request: GatewayRequest, presented: Presented) -> Response:
    gateway = request.state["gateway"]
    token = gateway.families.parse(presented.text)
    request.scope["gateway.sub"] = token.user_id
    rate = await gateway.rate_limiter.take("refresh", *rate_keys(address_of(request, gateway.trusted_networks)))
    if token.family_id in gateway.revocations:
        # Redis has lost the revocation if it was put back to an older copy: here it is still known.
        if await gateway.families.exists(token.user_id, token.family_id):
            await gateway.end_families(token.user_id, (token.family_id,))
        raise RefreshTokenInvalid("revoked")
    try:
        rotation = await gateway.families.rotate(token, is_cookie=presented.is_cookie)
    except RefreshTokenReused as error:
        request.scope["gateway.error"] = error
        tell(REFRESH_TOKEN_REUSED, request, sub=token.user_id, sid=token.family_id)
        await gateway.end_families(token.user_id, (token.family_id,), "reused")
        raise
    except RefreshTokenInvalid as error:
        if error.cause == "unknown":
            # Redis keeps nothing of a family that is gone; while its revocation is remembered, the cause is known.
            error.cause = "revoked" if token.family_id in gateway.revocations else "expired"
        await gateway.end_families(token.user_id, error.unannounced)
        raise
    await gateway.end_families(token.user_id, rotation.unannounced)
    if gateway.revocations.is_cut_off(token.user_id, token.family_id, rotation.auth_time):
        # Redis has lost that all sessions were ended, or it happened this very moment.
        await gateway.end_families(token.user_id, (token.family_id,))
        raise RefreshTokenInvalid("revoked")
    gateway.refresh_verdicts[rotation.outcome] += 1
    request.scope["gateway.outcome"] = rotation.outcome

    access_token = await gateway.access_tokens.mint(
        subject=rotation.user_id,
        family_id=rotation.family_id,
        auth_time=rotation.auth_time,
        roles=rotation.roles,
        email=rotation.email,
        name=rotation.name,
        now=gateway.clock(),
        session_seconds_left=rotation.max_age_seconds,
        amr=rotation.amr,
    )
    return token_response(
        gateway,
        access_token,
        rotation.refresh_token,
        max_age_seconds=rotation.max_age_seconds,
        as_cookie=presented.is_cookie,
        rate=rate,
    )
