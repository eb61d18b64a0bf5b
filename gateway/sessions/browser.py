"""
The cookie of a browser session: one opaque text, which stays the same for as long as the session lives.

So whatever a browser does at once, in twelve tabs, in forms, sockets and scripts, goes on; nothing has to be renewed,
and no answer can overtake another one. It is no refresh token and no access token, and nothing verifies it offline.
"""

from dataclasses import dataclass

from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.opaque import format_opaque, parse_opaque


@dataclass(frozen=True, repr=False)
class SessionCookie:
    """
    What the cookie says.

    `auth_time` is when the user logged in, in whole seconds since the epoch by Redis's clock.
    """

    user_id: str
    sid: str
    auth_time: int

    def format(self, keys: DerivedKeys) -> str:
        """Give its text, MAC'd with the key in *keys*."""
        return format_opaque(self.user_id, self.sid, self.auth_time, keys.browser_session_mac)

    @classmethod
    def parse(cls, text: str, keychain: KeyChain) -> "SessionCookie | None":
        """Read its text; None for one that is not of ours, under the current secret or a previous one. No I/O."""
        said = parse_opaque(text, (keys.browser_session_mac for keys in keychain))
        return cls(*said) if said else None
