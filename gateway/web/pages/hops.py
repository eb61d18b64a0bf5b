"""
How often the login has led the same browser back to one address: a loop is stopped, and explained.

It turns where the login sees the cookie of the session and the application's proxy does not. Counted in a cookie of its
own, so that nothing is stored here; who forges it only fools himself.
"""

import hashlib
import re
from typing import NamedTuple

from starlette.responses import Response

from gateway.errors import CookieSentTwice
from gateway.state import GatewayRequest
from gateway.web.http import LOGIN_HOPS, cookie_name, read_cookie, set_hops_cookie

MAX_HOPS = 5
WINDOW_SECONDS = 60
_VALUE = re.compile(r"([0-9]{1,3})\.([0-9a-f]{16})\.([0-9]{1,12})")


class Hops(NamedTuple):
    """How often a browser was led to an address since `begun_at`, in seconds since the epoch."""

    taken: int
    address_hash: str
    begun_at: int

    @property
    def is_loop(self) -> bool:
        """Tell whether it was often enough."""
        return self.taken >= MAX_HOPS

    def step(self, response: Response, request: GatewayRequest) -> None:
        """Let the browser remember one more."""
        settings = request.state["gateway"].settings
        value = f"{self.taken + 1}.{self.address_hash}.{self.begun_at}"
        set_hops_cookie(response, settings, value, WINDOW_SECONDS)


def hops_to(request: GatewayRequest, address: str) -> Hops:
    """Give what the browser remembers of an address within the last minute."""
    gateway = request.state["gateway"]
    now, address_hash = gateway.clock(), hashlib.sha256(address.encode()).hexdigest()[:16]
    try:
        text = read_cookie(request.scope["headers"], cookie_name(gateway.settings, LOGIN_HOPS))
    except CookieSentTwice:
        text = None
    if text is not None and (match := _VALUE.fullmatch(text)):
        hops = Hops(int(match[1]), match[2], int(match[3]))
        if hops.address_hash == address_hash and 0 <= now - hops.begun_at < WINDOW_SECONDS:
            return hops
    return Hops(0, address_hash, now)
