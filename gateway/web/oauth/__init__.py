"""OAuth 2.0 for machines: tokens for clients, what a token says, and how it is taken back."""

from gateway.web.oauth.introspect import introspect_token
from gateway.web.oauth.revoke import revoke_token
from gateway.web.oauth.token import IssuedToken, issue_token

__all__ = ["issue_token", "introspect_token", "revoke_token", "IssuedToken"]
