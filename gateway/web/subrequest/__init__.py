"""The subrequest: whether a proxy lets a request pass, and what who is denied is told."""

from gateway.web.subrequest.authz import Authz
from gateway.web.subrequest.browsers import Endpoint

__all__ = [
    "Authz",
    "Endpoint",
]
