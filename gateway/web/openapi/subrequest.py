"""What a reverse proxy asks, and is told."""

from typing import Annotated

import msgspec

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
DENIED_BROWSER = "With the portal on a browser gets a page that says what to do."
_Lists = tuple[str, ...]


class Requirements(msgspec.Struct):
    """The query of a subrequest: only the proxy's own configuration is meant to say so."""

    role: Annotated[
        _Lists, msgspec.Meta(description="One of these roles, `a,b`; repeated: one of each.", max_length=8)
    ] = ()
    max_auth_age: Annotated[
        int, msgspec.Meta(ge=0, le=9_999_999_999, description="At most so many seconds since the login.")
    ] = 9_999_999_999
    amr: Annotated[
        _Lists,
        msgspec.Meta(description="A login by one of these methods, `mfa,pop` (RFC 8176); repeated: one of each."),
    ] = ()
    token: Annotated[str, msgspec.Meta(description="Adds an access token for this audience.")] = ""
    cookies: Annotated[
        str,
        msgspec.Meta(
            description="Adds the cookies of the request that are not the gateway's.",
            extra_json_schema={"enum": ["others"]},
        ),
    ] = "others"
    challenge: Annotated[
        str,
        msgspec.Meta(
            description="A 401 asks for a name and a password.",
            extra_json_schema={"enum": ["basic"]},
        ),
    ] = "basic"


def operations(settings: Settings) -> dict[str, Operation]:
    """Give the operations; the header fields by which a proxy is told who asks are those of the settings."""
    *names, token_name = identity_headers(settings)
    pages = settings.portal == "on"
    denied = {
        401: Answer(DENIED_BROWSER, (), (HTML,), ("Login-Location", "WWW-Authenticate")),
        403: Answer(DENIED_BROWSER, (), (HTML,)),
    }
    led = {302: led_on("A navigation of a browser is led to the login.")}

    def operation(name: str, summary: str, *, is_led: bool = True, query: type | None = Requirements) -> Operation:
        more = (token_name, "Cookie") if query else ()
        gives = {200: Answer("It may pass. There is no body.", headers=(*names, *more))}
        if pages:
            gives |= denied | (led if is_led else {})
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
