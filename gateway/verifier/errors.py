"""
Why an access token was not accepted, one type for each thing that a service treats differently.

Each type has a stable `code` for logs and metrics. No message holds a token or a part of one.
"""

from typing import ClassVar


class AccessTokenError(Exception):
    """An access token was not accepted; the leaves say why."""

    code: ClassVar[str]


class AccessTokenMissing(AccessTokenError):
    """No access token was sent: 401."""

    code = "access_token_missing"


class MalformedToken(AccessTokenError):
    """Not a compact JWS of an access token at all: length, alphabet, encoding, JSON or header members: 401."""

    code = "malformed_token"


class UntrustedToken(AccessTokenError):
    """Well formed, but not an access token of a known key: wrong `typ`, wrong `alg` or bad signature: 401."""

    code = "untrusted_token"


class UnknownKey(UntrustedToken):
    """No key has the token's `kid`; the issuer may have made a new one since the keys were read: 401."""

    code = "unknown_key"


class ExpiredToken(AccessTokenError):
    """
    Signed by the issuer for this audience, but its time is over (`exp` is now or earlier): 401.

    Attributes:
        sub: Whose it was.
    """

    code = "expired_token"

    def __init__(self, reason: str, sub: str = "") -> None:
        super().__init__(reason)
        self.sub = sub


class ClaimsRejected(AccessTokenError):
    """
    Signed by a known key, but a claim is missing, of a wrong type, of another issuer or audience, or not yet valid.

    Attributes:
        claim: The name of the claim.
        value: What it says, where it is a single word or number of a token that a known key has signed.
    """

    code = "claims_rejected"

    def __init__(self, claim: str, reason: str, value: str | int = "") -> None:
        super().__init__(f"claim {claim}: {reason}")
        self.claim = claim
        self.value = value


class InsufficientRole(AccessTokenError):
    """The token is good, but its bearer lacks a role that is required here: 403."""

    code = "insufficient_role"


class KeysUnavailable(AccessTokenError):
    """
    The issuer's keys could not be read and there are none from before: 503, the token may be good.

    Attributes:
        retry_after_seconds: When the keys will be asked for again.
    """

    code = "keys_unavailable"

    def __init__(self, reason: str, retry_after_seconds: int) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class TokenRevoked(AccessTokenError):
    """
    Good but for the issuer's status list, which calls it anything but valid: its session was ended, above all: 401.

    Attributes:
        sub: Whose it was.
    """

    code = "token_revoked"

    def __init__(self, reason: str, sub: str = "") -> None:
        super().__init__(reason)
        self.sub = sub


class StatusUnavailable(AccessTokenError):
    """
    The status list that tells of this token could not be read, and there is none that still counts: 503.

    Attributes:
        retry_after_seconds: When the list will be asked for again.
    """

    code = "status_unavailable"

    def __init__(self, reason: str, retry_after_seconds: int) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class UnusableKey(ValueError):
    """A key or JWK that must not verify access tokens: its kind, size, use or spelling is wrong."""
