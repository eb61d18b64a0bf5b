"""The route table: every path of the gateway, its method, and who answers."""

from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from gateway.state import QuickAnswer
from gateway.web.api import (
    change_own_password,
    end_session,
    list_sessions,
    log_in,
    log_out,
    log_out_everywhere,
    login_quickly,
    refresh_tokens,
    show_me,
)
from gateway.web.http import BodyCap
from gateway.web.public import JWKS_PATH, METADATA_PATHS, jwks, jwks_quickly, livez, metadata, readyz
from gateway.web.subrequest import Authz, Endpoint


class AnyText(Convertor[str]):
    """A path of any shape, line breaks and the empty one included."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        """Give the path as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Give the path as it is."""
        return value


register_url_convertor("any", AnyText())

NGINX, FORWARD, ENVOY = Authz(Endpoint.NGINX), Authz(Endpoint.FORWARD), Authz(Endpoint.ENVOY)

QUICK_ANSWERS: dict[bytes, QuickAnswer] = {
    b"GET /api/authz/auth-request": NGINX.quickly,
    b"GET /api/authz/forward-auth": FORWARD.quickly,
    b"GET " + JWKS_PATH.encode(): jwks_quickly,
    b"POST /auth/login": login_quickly,
}
"""
What `gateway.web.connections` asks about a plain request before the route table; what it does not answer goes there.
"""

CAPPED = [Middleware(BodyCap)]

ROUTES: list[BaseRoute] = [
    Route("/auth/login", log_in, methods=["POST"], middleware=CAPPED),
    Route("/auth/refresh", refresh_tokens, methods=["POST"], middleware=CAPPED),
    Route("/auth/logout", log_out, methods=["POST"], middleware=CAPPED),
    Route("/auth/logout-all", log_out_everywhere, methods=["POST"], middleware=CAPPED),
    Route("/auth/me", show_me, methods=["GET"], middleware=CAPPED),
    Route("/auth/change-password", change_own_password, methods=["POST"], middleware=CAPPED),
    Route("/auth/sessions", list_sessions, methods=["GET"], middleware=CAPPED),
    Route("/auth/sessions/{id}", end_session, methods=["DELETE"], middleware=CAPPED),
    Route("/api/authz/auth-request", NGINX, methods=["GET"]),
    Route("/api/authz/forward-auth", FORWARD, methods=["GET"]),
    Route("/api/authz/ext-authz", ENVOY),
    Route("/api/authz/ext-authz/{path:any}", ENVOY),
    Route(JWKS_PATH, jwks, methods=["GET"], middleware=CAPPED),
    *(Route(path, metadata, methods=["GET"], middleware=CAPPED) for path in METADATA_PATHS),
    Route("/livez", livez, methods=["GET"], middleware=CAPPED),
    Route("/readyz", readyz, methods=["GET"], middleware=CAPPED),
]
