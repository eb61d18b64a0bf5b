"""What everybody may read: the keys, the metadata, and how the gateway is."""

from gateway.web.public.operations import livez, readyz
from gateway.web.public.well_known import (
    JWKS_PATH,
    METADATA_PATHS,
    PUBLIC_PATHS,
    jwks,
    jwks_quickly,
    jwks_uri,
    metadata,
)

__all__ = [
    "JWKS_PATH",
    "METADATA_PATHS",
    "PUBLIC_PATHS",
    "jwks",
    "jwks_quickly",
    "jwks_uri",
    "metadata",
    "livez",
    "readyz",
]
