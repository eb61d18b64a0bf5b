"""Stands in until the room is merged."""

from starlette.responses import HTMLResponse, Response

from gateway.state import GatewayRequest


def small_page(request: GatewayRequest, template: str, status: int, **values: object) -> Response:
    """Give a page."""
    return HTMLResponse(f"<p>{template}</p>", status)
