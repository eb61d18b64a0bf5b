"""Tokens: the signing keys, the access tokens that they sign, and the headers that tell what a token says."""

from gateway.tokens.access_tokens import AccessTokenMinter
from gateway.tokens.application_tokens import ApplicationTokens
from gateway.tokens.identity_headers import HEADER_NAMES, IdentityHeaders, RawHeaders
from gateway.tokens.keyring import Keyring
from gateway.tokens.known_credentials import Known, KnownCredentials
from gateway.tokens.revocation_latencies import Latency, latencies_of
from gateway.tokens.signing_keys import Keys, SigningKey, load_private_key
from gateway.tokens.size_bounds import SizeBounds
from gateway.tokens.status_claims import AGGREGATION_PATH, STATUS_PATH, StatusClaims
from gateway.tokens.status_lists import STALE_IF_ERROR_SECONDS, SignedList, StatusLists

__all__ = [
    "Keyring",
    "Known",
    "KnownCredentials",
    "Keys",
    "SigningKey",
    "load_private_key",
    "AccessTokenMinter",
    "ApplicationTokens",
    "HEADER_NAMES",
    "IdentityHeaders",
    "RawHeaders",
    "SizeBounds",
    "AGGREGATION_PATH",
    "STATUS_PATH",
    "StatusClaims",
    "STALE_IF_ERROR_SECONDS",
    "SignedList",
    "StatusLists",
    "Latency",
    "latencies_of",
]
