"""The id of a request, which is in its answer, its line in the log and its security events."""

from collections.abc import MutableMapping
from typing import Any

from gateway.telemetry import random_request_id, verdict_of


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """
    Give the id of a request.

    It is made when it is first told. Where the reason why the request is refused is known by then, the id carries it
    (`gateway.telemetry.RequestIds`); where something is told before, an event say, it is random.
    """
    request_id: str | None = scope.get("gateway.request_id")
    if request_id is None:
        scope["gateway.request_id"] = request_id = _new(scope)
    return request_id


def _new(scope: MutableMapping[str, Any]) -> str:
    error, gateway = scope.get("gateway.error"), scope["state"].get("gateway")
    if error is None or gateway is None:  # a server that is not ours has none
        return random_request_id()
    sub = scope.get("gateway.sub") or error.facts.get("sub", "")
    sealed: str = gateway.request_ids.seal(scope["path"], verdict_of(error), sub)
    return sealed
