"""What a reverse proxy asks, and is told."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    AuthenticationTooWeak,
    GatewayError,
    InsufficientRole,
    SessionUnseen,
    SubrequestHeadersTooLarge,
)
from gateway.settings import Settings
from gateway.web.openapi.headers import identity_headers
from gateway.web.openapi.operations import HTML, PERSON, Answer, Operation, led_on

SUBREQUESTS = "Subrequests"
REFUSED: tuple[type[GatewayError], ...] = (
    AccessTokenMissing,
    AccessTokenInvalid,
    AuthenticationTooWeak,
    InsufficientRole,
    SubrequestHeadersTooLarge,
    SessionUnseen,
)
SHOWN = (*PERSON, "personalToken", "personalTokenAsPassword")
DENIED_BROWSER = "A browser gets a page that says what to do."
_Roles = Annotated[tuple[str, ...], msgspec.Meta(description="One of these roles, `a,b`; repeated: one of each.")]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=9_999_999_999, description="At most so many seconds since the login.")]
_Methods = Annotated[
    tuple[str, ...],
    msgspec.Meta(description="One of these methods of a login, `a,b` (RFC 8176); repeated: one of each."),
]
_Audience = Annotated[str, msgspec.Meta(description="Adds an access token for this audience.")]
_Others = Annotated[Literal["others"], msgspec.Meta(description="Adds the request's cookies that are none of ours.")]
_Basic = Annotated[Literal["basic"], msgspec.Meta(description="A 401 asks for a name and a password.")]


class Requirements(msgspec.Struct):
    """The query of a subrequest: only the proxy's own configuration is meant to say so."""

    role: _Roles | UnsetType = UNSET
    max_auth_age: _Seconds | UnsetType = UNSET
    amr: _Methods | UnsetType = UNSET
    token: _Audience | UnsetType = UNSET
    cookies: _Others | UnsetType = UNSET
    challenge: _Basic | UnsetType = UNSET


def operations(settings: Settings) -> dict[str, Operation]:
    """Give the operations; the header fields by which a proxy is told who asks are those of the settings."""
    *names, token_name = identity_headers(settings)
    pages = settings.portal == "on"
    denied = {status: Answer(DENIED_BROWSER, (), (HTML,)) for status in (401, 403)}
    led = {302: led_on("A navigation of a browser is led to the login.")}
    led_by_nginx = {401: denied[401]._replace(headers=("Login-Location",))}

    def operation(name: str, summary: str, *, is_led: bool = True, query: type | None = Requirements) -> Operation:
        more = (token_name, "Cookie") if query else ()
        gives = {200: Answer("It may pass. There is no body.", headers=(*names, *more))}
        if pages:
            gives |= denied | (led if is_led else led_by_nginx)
        return Operation(
            name,
            SUBREQUESTS,
            summary,
            gives,
            REFUSED,
            shows=SHOWN,
            query=query,
            details="The verdict depends on the credentials and the query alone. It is 200, 401 or 403, with Redis and "
            "without; 503 only where Redis alone could tell.",
        )

    envoy = operation("ext_authz", "Ask for Envoy, by any method and path", query=None)
    return {
        "GET /api/authz/auth-request": operation("auth_request", "Ask for nginx", is_led=False),
        "GET /api/authz/forward-auth": operation("forward_auth", "Ask for Traefik, Caddy and HAProxy"),
        "ANY /api/authz/ext-authz": envoy,
        "ANY /api/authz/ext-authz/{path}": envoy._replace(name="ext_authz_path"),
    }
