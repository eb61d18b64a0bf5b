"""Security events: one line each, with who and from where, never with a token or a password."""

import logging

from gateway.state import GatewayRequest
from gateway.web.client_address import client_address

logger = logging.getLogger("gateway.audit")


def audit(event: str, request: GatewayRequest, **facts: object) -> None:
    """Log a security event (such as `refresh_token_reused`) with the client's address and *facts*."""
    address = str(client_address(request, request.state["gateway"].trusted_networks))
    logger.info(event, extra={"fields": {"event": event, **facts, "address": address}})
