"""POST /oauth/token: a client gets an access token for itself (RFC 6749 section 4.4)."""

import msgspec
from starlette.responses import Response

from gateway.errors import InvalidScope, InvalidTarget, UnsupportedGrantType
from gateway.machines import Client
from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.web.http import SecretBody, address_of, rate_keys
from gateway.web.oauth.audiences import audiences_of
from gateway.web.oauth.authentication import LIMIT, authenticate, find_shown
from gateway.web.oauth.parameters import Parameters, read_parameters, the_one_audience

GRANT_TYPE = "client_credentials"
CLIENT_LIMIT = "oauth-client"


class IssuedToken(SecretBody, frozen=True):
    """Answer of /oauth/token (RFC 6749 section 5.1); `expires_in` in seconds."""

    access_token: str
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - what it is


async def issue_token(request: GatewayRequest) -> Response:
    """Give a client an access token with its roles, for one of its audiences."""
    gateway = request.state["gateway"]
    parameters = await read_parameters(request)
    if parameters.require("grant_type") != GRANT_TYPE:
        raise UnsupportedGrantType
    shown = find_shown(request, parameters)
    rate = await gateway.rate_limiter.take(LIMIT, *rate_keys(address_of(request, gateway.trusted_networks)))
    client = await authenticate(request, parameters, shown)
    await gateway.rate_limiter.take(CLIENT_LIMIT, client.client_id)
    access_token = await gateway.access_tokens.mint(
        subject=client.client_id,
        family_id="",
        auth_time=0,
        roles=_roles(client, parameters),
        email="",
        name="",
        now=gateway.clock(),
        session_seconds_left=gateway.settings.access_token_ttl_seconds,
        audience=_audience(client, parameters, gateway.settings),
    )
    body = IssuedToken(access_token, gateway.settings.access_token_ttl_seconds)
    headers = {"Pragma": "no-cache"} | (
        {"RateLimit-Policy": rate.policy, "RateLimit": rate.state} if rate is not None else {}
    )
    return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")


def _audience(client: Client, parameters: Parameters, settings: Settings) -> str:
    """Give the audience that is asked for, or without one the client's first."""
    audiences = audiences_of(client, settings)
    asked = the_one_audience(parameters)
    if not audiences or (asked is not None and asked not in audiences):
        raise InvalidTarget("The client gets no tokens for this audience", "audience-foreign")
    return audiences[0] if asked is None else asked


def _roles(client: Client, parameters: Parameters) -> tuple[str, ...]:
    """
    Give the roles of the token: all, or those that `scope` names.

    It is always all of `scope`, so that the answer need not say it again (RFC 6749 section 5.1).
    """
    asked = parameters.get("scope")
    if asked is None:
        return client.roles
    wanted = asked.split(" ")
    if not set(wanted) <= set(client.roles):
        raise InvalidScope
    return tuple(role for role in client.roles if role in wanted)
