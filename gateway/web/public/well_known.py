"""/.well-known/*: the JWKS and the metadata, ready bytes from memory, cacheable by everybody."""

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.web.http import SECURITY_HEADERS
from gateway.web.public.status import AGGREGATION_PATH
from gateway.web.public.validators import is_known

HEADERS = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
JWKS_PATH = "/.well-known/jwks.json"
METADATA_PATHS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
_LINES = "".join(
    f"{name.lower()}: {value}\r\n"
    for name, value in (HEADERS | SECURITY_HEADERS | {"Content-Type": "application/json"}).items()
).encode()


async def jwks(request: GatewayRequest) -> Response:
    """Give the public keys (RFC 7517 section 5), or 304 to who has them already."""
    keys = request.state["gateway"].keyring.keys
    headers = HEADERS | {"ETag": keys.etag}
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
    settings = request.state["gateway"].settings
    said = {"issuer": settings.issuer, "jwks_uri": jwks_uri(settings)}
    if settings.status_list == "on":
        said["status_list_aggregation_endpoint"] = settings.issuer_origin + AGGREGATION_PATH
    return Response(msgspec.json.encode(said), headers=HEADERS, media_type="application/json")


def jwks_uri(settings: Settings) -> str:
    """Give the public address of the JWKS."""
    return settings.issuer_origin + JWKS_PATH
