"""What everybody may read: the keys, the metadata, and how the gateway is."""

from gateway.web.public.operations import StatusBody, livez, readyz
from gateway.web.public.status import STATUS_PREFIX, status_list, status_list_quickly, status_lists
from gateway.web.public.validators import is_known
from gateway.web.public.well_known import (
    JWKS_PATH,
    METADATA_PATHS,
    PUBLIC_HEADERS,
    jwks,
    jwks_quickly,
    jwks_uri,
    metadata,
)

DOCUMENT_PATHS = (JWKS_PATH, *METADATA_PATHS, STATUS_PREFIX)
"""What everybody may read from everywhere; what ends with a slash is all that is below."""

__all__ = [
    "JWKS_PATH",
    "METADATA_PATHS",
    "DOCUMENT_PATHS",
    "jwks",
    "jwks_quickly",
    "jwks_uri",
    "metadata",
    "STATUS_PREFIX",
    "status_list",
    "status_list_quickly",
    "status_lists",
    "livez",
    "readyz",
    "StatusBody",
    "PUBLIC_HEADERS",
    "is_known",
]
