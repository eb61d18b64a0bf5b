"""The subrequest: whether a proxy lets a request pass."""

from gateway.web.subrequest.authz import Authz

__all__ = [
    "Authz",
]
