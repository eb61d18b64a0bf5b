"""Sessions: families of refresh tokens, and the news of those that have ended."""

from gateway.sessions.browser import SessionCookie
from gateway.sessions.families import Family, Opened, RefreshFamilies, new_family_id
from gateway.sessions.login_methods import (
    BY_PASSKEY_IN_HARDWARE,
    BY_PASSWORD,
    BY_PASSWORD_AND_CODE,
    BY_SYNCED_PASSKEY,
)
from gateway.sessions.presence import BY_PERSONAL_TOKEN, Presence, Presences, Sighting
from gateway.sessions.revocations import Revocations
from gateway.sessions.session_looks import SessionLooks
from gateway.sessions.status_bits import StatusBits
from gateway.sessions.status_indexes import StatusIndex, StatusIndexes

__all__ = [
    "Family",
    "Opened",
    "RefreshFamilies",
    "new_family_id",
    "BY_PASSWORD",
    "BY_PASSWORD_AND_CODE",
    "BY_PASSKEY_IN_HARDWARE",
    "BY_SYNCED_PASSKEY",
    "SessionCookie",
    "Presence",
    "Presences",
    "Sighting",
    "SessionLooks",
    "BY_PERSONAL_TOKEN",
    "Revocations",
    "StatusBits",
    "StatusIndex",
    "StatusIndexes",
]
