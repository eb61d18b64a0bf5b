"""Sessions: families of refresh tokens, and the news of those that have ended."""

from gateway.sessions.browser import SessionCookie
from gateway.sessions.families import Family, Opened, RefreshFamilies, new_family_id
from gateway.sessions.presence import Presence, Presences
from gateway.sessions.revocations import Revocations

__all__ = [
    "Family",
    "Opened",
    "RefreshFamilies",
    "new_family_id",
    "SessionCookie",
    "Presence",
    "Presences",
    "Revocations",
]
