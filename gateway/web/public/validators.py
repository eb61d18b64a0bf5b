"""Validators: whether who asks has a document already (RFC 9110 section 13.1.2)."""

from gateway.state import GatewayRequest


def is_known(request: GatewayRequest, etag: str) -> bool:
    """Tell whether `If-None-Match` names the tag of a document, or any."""
    asked = ",".join(request.headers.getlist("if-none-match"))
    known = [tag.strip(" \t").removeprefix("W/") for tag in asked.split(",")]
    return etag in known or "*" in known
