"""Which client asks: by Basic, by a secret in the form, or by an assertion (RFC 6749 section 2.3, RFC 7523)."""

import base64
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote_plus

from gateway.errors import InvalidClient, InvalidOAuthRequest, StoreUnavailable
from gateway.machines import Client
from gateway.state import Gateway, GatewayRequest
from gateway.web.http import address_of, rate_keys
from gateway.web.oauth.parameters import Parameters

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIMIT = "oauth"


class Shown(NamedTuple):
    """What a client shows: its id and a secret, or an assertion."""

    client_id: str = ""
    secret: str = ""
    assertion: str = ""

    def __repr__(self) -> str:
        """Show nothing of the secret."""
        return "Shown(...)"


def find_shown(request: GatewayRequest, parameters: Parameters) -> Shown:
    """
    Give what the request shows, without a look at whether it is good.

    Raises:
        InvalidOAuthRequest: It authenticates in two ways at once, or names two clients.
        InvalidClient: It does in none, or in one that is not taken here.
    """
    found = [
        shown for shown in (_in_header(request), _in_form(parameters), _by_assertion(parameters)) if shown is not None
    ]
    if len(found) > 1:
        raise InvalidOAuthRequest("A client authenticates in one way alone", "two-authentications")
    if not found:
        raise InvalidClient("credentials-missing")
    named = parameters.get("client_id")
    if found[0].client_id and named not in (None, found[0].client_id):
        raise InvalidOAuthRequest("client_id names another client", "two-authentications")
    return found[0]


async def require_client(request: GatewayRequest, parameters: Parameters) -> Client:
    """
    Give the client that asks. Who fails has it counted against the quota of the address.

    Raises:
        InvalidOAuthRequest, InvalidClient: As above and below.
        RateLimited: The quota of the address is used up.
        StoreUnavailable: Redis did not answer.
    """
    try:
        return await authenticate(request, parameters, find_shown(request, parameters))
    except InvalidClient as error:
        if error.cause != "credentials-missing":
            await count_attempt(request)
        raise


async def count_attempt(request: GatewayRequest) -> None:
    """Take one from the quota of the address. Raises `RateLimited` and `StoreUnavailable`."""
    gateway = request.state["gateway"]
    await gateway.rate_limiter.take(LIMIT, *rate_keys(address_of(request, gateway.trusted_networks)))


async def authenticate(request: GatewayRequest, parameters: Parameters, shown: Shown) -> Client:
    """
    Give the client that has what is shown.

    Raises:
        InvalidClient: There is none. The removal of one that was left half done is completed.
        StoreUnavailable: Redis did not answer.
    """
    gateway = request.state["gateway"]
    try:
        client = await _find(gateway, shown)
        if parameters.get("client_id") not in (None, client.client_id):
            raise InvalidClient("wrong-client-id", "client_id and client_assertion name different clients")
    except InvalidClient as error:
        error.is_challenged = "authorization" in request.headers
        await _complete_removal(gateway, error)
        raise
    request.scope["gateway.sub"] = client.client_id
    return client


async def _find(gateway: Gateway, shown: Shown) -> Client:
    if shown.assertion:
        return await gateway.clients.by_assertion(shown.assertion, issuer=gateway.settings.issuer, now=gateway.clock())
    return await gateway.clients.by_secret(shown.client_id, shown.secret)


async def _complete_removal(gateway: Gateway, error: InvalidClient) -> None:
    if error.unfinished is not None:
        with suppress(StoreUnavailable):
            await gateway.finish_removal(*error.unfinished)


def _in_header(request: GatewayRequest) -> Shown | None:
    values = request.headers.getlist("authorization")
    if not values:
        return None
    scheme, _, encoded = values[0].partition(" ")
    if len(values) > 1:
        raise InvalidOAuthRequest("Authorization was sent twice", "two-authentications")
    if scheme.lower() != "basic":
        raise InvalidClient("credentials-malformed", "Of Authorization, Basic alone is taken here")
    try:
        pair = base64.b64decode(encoded.strip(" "), validate=True).decode()
        client_id, colon, secret = (unquote_plus(part, errors="strict") for part in pair.partition(":"))
    except ValueError:
        # The cause would quote what was sent.
        raise InvalidClient("credentials-malformed", "Basic has the base64 of client_id:client_secret") from None
    if not (client_id and colon and secret):
        raise InvalidClient("credentials-malformed", "Basic has the base64 of client_id:client_secret")
    return Shown(client_id, secret)


def _in_form(parameters: Parameters) -> Shown | None:
    secret = parameters.get("client_secret")
    if secret is None:
        return None
    return Shown(parameters.require("client_id"), secret)


def _by_assertion(parameters: Parameters) -> Shown | None:
    kind, assertion = parameters.get("client_assertion_type"), parameters.get("client_assertion")
    if kind is None and assertion is None:
        return None
    if kind is None or assertion is None:
        raise InvalidOAuthRequest("client_assertion and client_assertion_type belong together", "parameter-missing")
    if kind != JWT_BEARER:
        error = InvalidClient("assertion-malformed", f"client_assertion_type is {JWT_BEARER}")
        error.is_challenged = False
        raise error
    return Shown(assertion=assertion)
