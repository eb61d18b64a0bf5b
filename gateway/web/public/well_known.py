"""/.well-known/*: the JWKS and the metadata, ready bytes from memory, cacheable by everybody."""

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from gateway.machines import ASSERTION_ALGORITHMS
from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.tokens import AGGREGATION_PATH
from gateway.web.http import SECURITY_HEADERS
from gateway.web.public.validators import is_known

PUBLIC_HEADERS = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
JWKS_PATH = "/.well-known/jwks.json"
CLIENT_AUTHENTICATION_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
METADATA_PATHS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
_LINES = "".join(
    f"{name.lower()}: {value}\r\n"
    for name, value in (PUBLIC_HEADERS | SECURITY_HEADERS | {"Content-Type": "application/json"}).items()
).encode()


async def jwks(request: GatewayRequest) -> Response:
    """Give the public keys (RFC 7517 section 5), or 304 to who has them already."""
    keys = request.state["gateway"].keyring.keys
    headers = PUBLIC_HEADERS | {"ETag": keys.etag}
    if is_known(request, keys.etag):
        return Response(status_code=304, headers=headers)
    return Response(keys.jwks, headers=headers, media_type="application/json")


def jwks_quickly(scope: Scope) -> tuple[int, bytes] | None:
    """Give the JWKS to who does not have it yet (`gateway.state.QuickAnswer`)."""
    if any(name in (b"if-none-match", b"content-length") for name, _ in scope["headers"]):
        return None
    keys = scope["state"]["gateway"].keyring.keys
    return 200, b"%setag: %s\r\ncontent-length: %d\r\n\r\n%s" % (_LINES, keys.etag.encode(), len(keys.jwks), keys.jwks)


async def metadata(request: GatewayRequest) -> Response:
    """Give the authorization server metadata (RFC 8414 section 2): what there is, and nothing that does not work."""
    gateway = request.state["gateway"]
    keyring = gateway.keyring
    algorithms = [key.algorithm for key in keyring.keys.verification.values()] if keyring.is_open else []
    members = _metadata(gateway.settings, algorithms or [gateway.settings.signing_algorithm])
    return Response(msgspec.json.encode(members), headers=PUBLIC_HEADERS, media_type="application/json")


def _metadata(settings: Settings, algorithms: list[str]) -> dict[str, object]:
    """
    Give the members: those that are true, and with them those that common clients insist on.

    There is no way to an ID token here. go-oidc takes access tokens of the algorithms in
    `id_token_signing_alg_values_supported`, and without it of RS256 alone; Spring and Nimbus read no document without
    `subject_types_supported`.

    Args:
        algorithms: Those of the keys in the JWKS.
    """
    origin = settings.issuer_origin
    members: dict[str, object] = {
        "issuer": settings.issuer,
        "jwks_uri": jwks_uri(settings),
        "token_endpoint": f"{origin}/oauth/token",
        "introspection_endpoint": f"{origin}/oauth/introspect",
        "revocation_endpoint": f"{origin}/oauth/revoke",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(dict.fromkeys(algorithms)),
    }
    for endpoint in ("token", "introspection", "revocation"):
        members[f"{endpoint}_endpoint_auth_methods_supported"] = CLIENT_AUTHENTICATION_METHODS
        members[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = ASSERTION_ALGORITHMS
    if settings.status_list == "on":
        members["status_list_aggregation_endpoint"] = origin + AGGREGATION_PATH
    return members


def jwks_uri(settings: Settings) -> str:
    """Give the public address of the JWKS."""
    return settings.issuer_origin + JWKS_PATH
