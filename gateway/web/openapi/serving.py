"""GET /openapi.json: what this gateway takes, gives and refuses, for programs (OpenAPI 3.1)."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.settings import Settings
from gateway.state import GatewayRequest
from gateway.web.public import PUBLIC_HEADERS, is_known

OPENAPI_PATH = "/openapi.json"


class _Served(NamedTuple):
    """The document as it goes out, and its validator."""

    body: bytes
    etag: str


async def openapi_document(request: GatewayRequest) -> Response:
    """Give the document, or 304 to who has it already. It is made for who asks first, on a thread, and kept."""
    app = request.app
    served: _Served | None = getattr(app.state, "openapi", None)
    if served is None:
        served = await asyncio.to_thread(_make, request.state["gateway"].settings, app.routes)
        app.state.openapi = served
    headers = PUBLIC_HEADERS | {"ETag": served.etag}
    if is_known(request, served.etag):
        return Response(status_code=304, headers=headers)
    return Response(served.body, headers=headers, media_type="application/json")


def _make(settings: Settings, routes: Sequence[BaseRoute]) -> _Served:
    # Here and not above: only who asks for it needs the tables.
    from gateway.web.openapi.document import document_of

    body = msgspec.json.encode(document_of(settings, routes))
    return _Served(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
