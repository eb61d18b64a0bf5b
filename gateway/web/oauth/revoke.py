"""POST /oauth/revoke: a client gives an access token of its own back before its time (RFC 7009)."""

from starlette.responses import Response

from gateway.errors import InvalidGrant, RefreshTokenInvalid, UnsupportedTokenType
from gateway.machines import PERSONAL_TOKEN_PREFIX
from gateway.state import Gateway, GatewayRequest
from gateway.verifier import AccessClaims, AccessTokenError
from gateway.web.oauth.audiences import claimed_audience
from gateway.web.oauth.authentication import require_client
from gateway.web.oauth.parameters import read_parameters


async def revoke_token(request: GatewayRequest) -> Response:
    """
    Refuse an access token of the client from now on, here at once and everywhere within a second.

    A token that is unknown, expired or revoked is as good as revoked (section 2.2).

    Raises:
        InvalidGrant: It was issued to somebody else, and nothing happens (section 2.1).
        UnsupportedTokenType: It is a refresh token or a personal token, which its user ends otherwise.
    """
    gateway = request.state["gateway"]
    parameters = await read_parameters(request)
    token = parameters.require("token")
    client = await require_client(request, parameters)
    claims = _find_claims(token, gateway)
    if claims is None:
        _refuse_other_kinds(token, gateway)
    elif claims.sub != client.client_id:
        raise InvalidGrant
    elif not gateway.revocations.was_heard(claims.jti):
        await gateway.revocations.announce((claims.jti,))
    return Response(status_code=200, headers={"Pragma": "no-cache"})


def _find_claims(token: str, gateway: Gateway) -> AccessClaims | None:
    """
    Give the claims of an access token of ours whose time is not over, whoever has it and whatever it is for; else None.

    One that is refused here already counts: the others may not have heard, where the first attempt was answered 503.
    """
    verified = gateway.verified_by_audience.get(claimed_audience(token) or "")
    if verified is None:
        return None
    try:
        return verified.verify(token, gateway.keyring.keys.verification, now=gateway.clock())
    except AccessTokenError:
        return None


def _refuse_other_kinds(token: str, gateway: Gateway) -> None:
    if token.startswith(PERSONAL_TOKEN_PREFIX):
        raise UnsupportedTokenType
    try:
        gateway.families.parse(token)
    except RefreshTokenInvalid:
        return
    raise UnsupportedTokenType
