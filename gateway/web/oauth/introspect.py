"""POST /oauth/introspect: what an access token says, for a client that is among its audiences (RFC 7662)."""

import msgspec
from starlette.responses import Response

from gateway.errors import AccessTokenInvalid
from gateway.machines import Client
from gateway.state import Gateway, GatewayRequest
from gateway.verifier import AccessClaims
from gateway.web.http import verify
from gateway.web.oauth.audiences import audiences_of, claimed_audience
from gateway.web.oauth.authentication import require_client
from gateway.web.oauth.parameters import read_parameters

INACTIVE = msgspec.json.encode({"active": False})


async def introspect_token(request: GatewayRequest) -> Response:
    """
    Say whether an access token of one of the client's audiences is good now, and what it says.

    Of any other token, of refresh tokens and of personal tokens it says no more than that it is not active.
    """
    parameters = await read_parameters(request)
    token = parameters.require("token")
    client = await require_client(request, parameters)
    claims = find_claims(token, client, request.state["gateway"])
    body = INACTIVE if claims is None else msgspec.json.encode(_told(claims))
    return Response(body, headers={"Pragma": "no-cache"}, media_type="application/json")


def find_claims(token: str, client: Client, gateway: Gateway) -> AccessClaims | None:
    """
    Give the claims of a token that is good and for one of the client's audiences, from memory; else None.

    Raises:
        StoreUnavailable: This process does not know yet, or not any more, what was revoked.
    """
    audience = claimed_audience(token)
    if audience not in audiences_of(client, gateway.settings):
        return None
    try:
        return verify(token, gateway, gateway.clock(), audience)
    except AccessTokenInvalid:
        return None


def _told(claims: AccessClaims) -> dict[str, object]:
    """Give the members of RFC 7662 section 2.2 and, by their own names, those of RFC 9068."""
    said: dict[str, object] = {
        "active": True,
        "token_type": "Bearer",
        "iss": claims.iss,
        "sub": claims.sub,
        "aud": claims.aud,
        "client_id": claims.client_id,
        "iat": claims.iat,
        "exp": claims.exp,
        "jti": claims.jti,
        "roles": claims.roles,
    }
    if claims.nbf is not None:
        said["nbf"] = claims.nbf
    if not claims.is_of_client:
        said |= {"sid": claims.sid, "auth_time": claims.auth_time, "amr": claims.amr}
    if claims.email is not None:
        said |= {"username": claims.email, "email": claims.email}
    if claims.name is not None:
        said["name"] = claims.name
    return said
