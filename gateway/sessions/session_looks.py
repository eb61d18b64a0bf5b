"""How browser sessions are looked up, for `gateway.sessions.presence`: whether one lives, and of whom it is."""

from gateway.derived_keys import KeyChain
from gateway.errors import BrowserSessionEnded
from gateway.sessions.browser import SessionCookie
from gateway.sessions.login_methods import unpack_methods
from gateway.sessions.presence import Presence, Sighting
from gateway.sessions.revocations import Revocations
from gateway.store import Script, Store


class SessionLooks:
    """
    Looks at browser sessions (`gateway.sessions.presence.Looks`).

    Args:
        idle_ttl_seconds: A session unused for so long is over.
    """

    is_told_of_cut_offs = False

    def __init__(self, store: Store, keychain: KeyChain, revocations: Revocations, *, idle_ttl_seconds: int) -> None:
        self._store = store
        self._keychain = keychain
        self._revocations = revocations
        self._idle_ttl_seconds = idle_ttl_seconds
        self._look = Script.load(__package__, "presence_look")

    def parse(self, text: str) -> SessionCookie | None:
        """Read a session cookie; see `SessionCookie.parse`."""
        return SessionCookie.parse(text, self._keychain)

    def refuse_ended(self, claim: SessionCookie) -> None:
        """Raise `BrowserSessionEnded` when the session was revoked, alone or with all those of its user."""
        if self._revocations.has_ended(claim.user_id, claim.sid, claim.auth_time):
            raise BrowserSessionEnded("revoked")

    async def look(self, claim: SessionCookie) -> Sighting:
        """
        Look a session up, which is its last use.

        Raises:
            BrowserSessionEnded: It is revoked, over, or nobody's.
            StoreUnavailable: Redis did not answer.
        """
        keys = [self._store.key(f"{kind}:{{{claim.user_id}}}") for kind in ("families", "user")]
        reply = await self._store.run(self._look, keys, claim.sid, self._idle_ttl_seconds)
        outcome = reply[0].decode()
        self._store.check_echo(reply[1], claim.sid)
        if outcome != "alive":
            unannounced = (claim.sid,) if outcome in ("revoked", "user_disabled") else ()
            raise BrowserSessionEnded(outcome, unannounced)
        now_ms, created_ms, end_ms = reply[2:5]
        email, name, roles = (word.decode() for word in reply[5:8])
        presence = Presence(
            sub=claim.user_id,
            sid=claim.sid,
            auth_time=created_ms // 1000,
            roles=tuple(roles.split(",")) if roles else (),
            email=email,
            name=name,
            amr=unpack_methods(reply[8]),
        )
        return Sighting(presence, (end_ms - now_ms) / 1000)
