"""The route table: every path of the gateway, its method, and who answers."""

from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from gateway.state import QuickAnswer
from gateway.web.authz import Authz
from gateway.web.change_password import change_password
from gateway.web.login import login, login_quickly
from gateway.web.logout import logout, logout_all
from gateway.web.me import me
from gateway.web.middleware import BodyCap
from gateway.web.operations import livez, readyz
from gateway.web.refresh import refresh
from gateway.web.sessions import end_session, list_sessions
from gateway.web.well_known import JWKS_PATH, METADATA_PATHS, jwks, jwks_quickly, metadata


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

SUBREQUEST = Authz(reads_query=True)

QUICK_ANSWERS: dict[bytes, QuickAnswer] = {
    b"GET /api/authz/auth-request": SUBREQUEST.quickly,
    b"GET /api/authz/forward-auth": SUBREQUEST.quickly,
    b"GET " + JWKS_PATH.encode(): jwks_quickly,
    b"POST /auth/login": login_quickly,
}
"""What `gateway.connections` asks about a plain request before the route table; what it does not answer goes there."""

CAPPED = [Middleware(BodyCap)]

ROUTES: list[BaseRoute] = [
    Route("/auth/login", login, methods=["POST"], middleware=CAPPED),
    Route("/auth/refresh", refresh, methods=["POST"], middleware=CAPPED),
    Route("/auth/logout", logout, methods=["POST"], middleware=CAPPED),
    Route("/auth/logout-all", logout_all, methods=["POST"], middleware=CAPPED),
    Route("/auth/me", me, methods=["GET"], middleware=CAPPED),
    Route("/auth/change-password", change_password, methods=["POST"], middleware=CAPPED),
    Route("/auth/sessions", list_sessions, methods=["GET"], middleware=CAPPED),
    Route("/auth/sessions/{id}", end_session, methods=["DELETE"], middleware=CAPPED),
    Route("/api/authz/auth-request", SUBREQUEST, methods=["GET"]),
    Route("/api/authz/forward-auth", SUBREQUEST, methods=["GET"]),
    Route("/api/authz/ext-authz", Authz(reads_query=False)),
    Route("/api/authz/ext-authz/{path:any}", Authz(reads_query=False)),
    Route(JWKS_PATH, jwks, methods=["GET"], middleware=CAPPED),
    *(Route(path, metadata, methods=["GET"], middleware=CAPPED) for path in METADATA_PATHS),
    Route("/livez", livez, methods=["GET"], middleware=CAPPED),
    Route("/readyz", readyz, methods=["GET"], middleware=CAPPED),
]
