"""HTTP: the route table and its rooms. `connections` is a door of its own, since it alone knows uvicorn."""

from gateway.web.admission import doubtful_file_limit, raise_file_limit
from gateway.web.html import Html
from gateway.web.http import (
    Cors,
    Envelope,
    allowed_subrequests,
    on_gateway_error,
    on_http_exception,
    safe_return_address,
    session_cookie_name,
)
from gateway.web.openapi import OPENAPI_PATH
from gateway.web.public import DOCUMENT_PATHS, jwks_uri
from gateway.web.routes import DIRECT_ANSWERS, QUICK_ANSWERS, ROUTES, ROUTES_WITHOUT_PORTAL

PUBLIC_PATHS = (*DOCUMENT_PATHS, OPENAPI_PATH)
"""What everybody may read from everywhere; what ends with a slash is all that is below."""

__all__ = [
    "QUICK_ANSWERS",
    "DIRECT_ANSWERS",
    "ROUTES",
    "ROUTES_WITHOUT_PORTAL",
    "allowed_subrequests",
    "Html",
    "Cors",
    "Envelope",
    "on_gateway_error",
    "on_http_exception",
    "safe_return_address",
    "session_cookie_name",
    "PUBLIC_PATHS",
    "jwks_uri",
    "doubtful_file_limit",
    "raise_file_limit",
]
