"""
Verify the gateway's access tokens in another service; needs PyJWT, cryptography and msgspec alone.

    from gateway.verifier import AccessTokenVerifier  # or gateway_verifier, where it is installed by itself

    verifier = AccessTokenVerifier(issuer="https://auth.example.com", audience="https://api.example.com")
    claims = verifier.verify(token)

With `revocations="status-list"` it refuses the tokens of ended sessions too. `AccessTokenMiddleware` does it for
Starlette and FastAPI. `verify_access_token` and `verify_status_list` are the same judgements without I/O,
for those who have the keys; the gateway itself uses the first.
"""

from .asgi import AccessTokenMiddleware, claims_of, require
from .claims import AccessClaims
from .errors import (
    AccessTokenError,
    AccessTokenMissing,
    ClaimsRejected,
    ExpiredToken,
    InsufficientRole,
    KeysUnavailable,
    MalformedToken,
    StatusUnavailable,
    TokenRevoked,
    UnknownKey,
    UntrustedToken,
    UnusableKey,
)
from .fetch import Document, http_get
from .jwks import RemoteKeys
from .keys import VerificationKey, public_jwk, thumbprint
from .remote_status_lists import RemoteStatusLists
from .status_lists import StatusList, verify_status_list
from .verifier import AccessTokenVerifier
from .verify import VerifiedTokens, verify_access_token

__all__ = [
    "AccessClaims",
    "AccessTokenError",
    "AccessTokenMiddleware",
    "AccessTokenMissing",
    "AccessTokenVerifier",
    "ClaimsRejected",
    "Document",
    "ExpiredToken",
    "InsufficientRole",
    "KeysUnavailable",
    "MalformedToken",
    "RemoteKeys",
    "RemoteStatusLists",
    "StatusList",
    "StatusUnavailable",
    "TokenRevoked",
    "UnknownKey",
    "UntrustedToken",
    "UnusableKey",
    "VerificationKey",
    "VerifiedTokens",
    "claims_of",
    "http_get",
    "public_jwk",
    "require",
    "thumbprint",
    "verify_access_token",
    "verify_status_list",
]
