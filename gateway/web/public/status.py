"""/status: which sessions were ended, as signed lists for verifiers that ask nobody else."""

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from gateway.errors import NotFound, StoreUnavailable
from gateway.state import GatewayRequest
from gateway.tokens import STALE_IF_ERROR_SECONDS, STATUS_PATH
from gateway.web.http import SECURITY_HEADERS
from gateway.web.public.validators import is_known

STATUS_PREFIX = STATUS_PATH + "/"
MEDIA_TYPE = "application/statuslist+jwt"
AGGREGATION_HEADERS = {"Cache-Control": "public, max-age=60", "Access-Control-Allow-Origin": "*"}
_CONDITIONAL = (b"if-none-match", b"content-length")
_LINES = "".join(
    f"{name.lower()}: {value}\r\n"
    for name, value in (SECURITY_HEADERS | {"Content-Type": MEDIA_TYPE, "Access-Control-Allow-Origin": "*"}).items()
).encode()


async def status_list(request: GatewayRequest) -> Response:
    """Give a Status List Token (draft-ietf-oauth-status-list section 8), or 304 to who has it already."""
    gateway = request.state["gateway"]
    number = gateway.status_indexes.parse(request.path_params["number"])
    if number is None:
        raise NotFound
    if "time" in request.query_params:
        raise HTTPException(501)  # section 8.4: nothing is known of lists of the past
    if not gateway.revocations.may_be_asked:
        raise StoreUnavailable("revocations-stale" if gateway.revocations.was_read else "revocations-unread")
    signed, cached_seconds = await gateway.status_lists.give(number)
    headers = {
        "Cache-Control": _cache_control(cached_seconds),
        "Access-Control-Allow-Origin": "*",
        "ETag": signed.etag,
    }
    if is_known(request, signed.etag):
        return Response(status_code=304, headers=headers)
    return Response(signed.token, headers=headers, media_type=MEDIA_TYPE)


def status_list_quickly(scope: Scope) -> tuple[int, bytes] | None:
    """Give a list that is signed already to who does not have it yet (`gateway.state.QuickAnswer`)."""
    if scope["query_string"] or any(name in _CONDITIONAL for name, _ in scope["headers"]):
        return None
    gateway, text = scope["state"]["gateway"], scope["path"].removeprefix(STATUS_PREFIX)
    # Only what was asked for in this spelling is remembered, so that no other one is found.
    if not gateway.revocations.may_be_asked or len(text) != 22 or not text.isascii() or not text.isdigit():
        return None
    known = gateway.status_lists.known(int(text))
    if known is None:
        return None
    signed, cached_seconds = known
    return 200, b"%scache-control: %s\r\netag: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        _LINES,
        _cache_control(cached_seconds).encode(),
        signed.etag.encode(),
        len(signed.token),
        signed.token,
    )


async def status_lists(request: GatewayRequest) -> Response:
    """Give the addresses of the lists that are known here (section 9.3)."""
    gateway = request.state["gateway"]
    if gateway.settings.status_list == "off":
        raise NotFound
    body = msgspec.json.encode({"status_lists": gateway.status_lists.listed})
    return Response(body, headers=AGGREGATION_HEADERS, media_type="application/json")


def _cache_control(cached_seconds: int) -> str:
    return f"public, max-age={cached_seconds}, stale-if-error={STALE_IF_ERROR_SECONDS}"
