"""
What machine clients send and get.

The forms are told here: `gateway.web.oauth` reads parameters one by one, and ignores what it does not know. So are the
members of an introspection, which are those of RFC 7662 section 2.2 and RFC 9068.
"""

from typing import Annotated, Literal

import msgspec

from gateway.errors import (
    GatewayError,
    InvalidClient,
    InvalidGrant,
    InvalidOAuthRequest,
    InvalidScope,
    InvalidTarget,
    RateLimited,
    StoreUnavailable,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from gateway.web.oauth import IssuedToken
from gateway.web.openapi.operations import FORM, OR_OTHERWISE, RATE_HEADERS, Answer, Operation, Takes, json_answer

CLIENTS = "Machine clients"
CLIENT: tuple[type[GatewayError], ...] = (InvalidOAuthRequest, InvalidClient, RateLimited, StoreUnavailable)
SHOWN = ("client", OR_OTHERWISE)
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class ClientForm(msgspec.Struct, kw_only=True):
    """Fields by which a client may show who it is (RFC 6749 section 2.3.1, RFC 7523 section 2.2)."""

    client_id: str = ""
    client_secret: str = ""
    client_assertion_type: str = ""
    client_assertion: str = ""


class TokenRequest(ClientForm, kw_only=True):
    """Form of POST /oauth/token (RFC 6749 section 4.4.2, RFC 8707); `scope` names roles of the client."""

    grant_type: Literal["client_credentials"]
    audience: str = ""
    resource: Annotated[str, msgspec.Meta(description="An absolute URI without a fragment.")] = ""
    scope: str = ""


class ShownToken(ClientForm, kw_only=True):
    """Form of POST /oauth/introspect (RFC 7662 section 2.1) and /oauth/revoke (RFC 7009 section 2.1)."""

    token: _Text
    token_type_hint: str = ""


class Inactive(msgspec.Struct):
    """A token that is not good now, or not for this client."""

    active: Literal[False]


class Active(msgspec.Struct, kw_only=True):
    """An access token that is good now; times are seconds since the epoch, and that of a client has no session."""

    active: Literal[True]
    token_type: Literal["Bearer"]
    iss: str
    sub: str
    aud: str
    client_id: str
    iat: int
    exp: int
    jti: str
    roles: tuple[str, ...]
    nbf: int | msgspec.UnsetType = msgspec.UNSET
    sid: str | msgspec.UnsetType = msgspec.UNSET
    auth_time: int | msgspec.UnsetType = msgspec.UNSET
    amr: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    username: str | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET


OPERATIONS: dict[str, Operation] = {
    "POST /oauth/token": Operation(
        "issue_token",
        CLIENTS,
        "Get an access token for a client itself",
        {200: json_answer("The token.", IssuedToken, headers=RATE_HEADERS)},
        (*CLIENT, UnsupportedGrantType, InvalidScope, InvalidTarget),
        Takes(TokenRequest, (FORM,)),
        SHOWN,
    ),
    "POST /oauth/introspect": Operation(
        "introspect_token",
        CLIENTS,
        "Ask what an access token says",
        {200: json_answer("What it says, of one of the client's audiences.", Active, Inactive)},
        CLIENT,
        Takes(ShownToken, (FORM,)),
        SHOWN,
    ),
    "POST /oauth/revoke": Operation(
        "revoke_token",
        CLIENTS,
        "Give an access token of the client's own back",
        {200: Answer("It is refused from now on, if it was one.")},
        (*CLIENT, InvalidGrant, UnsupportedTokenType),
        Takes(ShownToken, (FORM,)),
        SHOWN,
    ),
}
