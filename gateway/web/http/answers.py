"""Answers that succeed."""

import msgspec
from starlette.responses import Response


def json_response(body: msgspec.Struct) -> Response:
    """Give a 200 with a JSON body."""
    return Response(msgspec.json.encode(body), media_type="application/json")
