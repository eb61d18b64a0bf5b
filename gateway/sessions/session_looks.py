"""How browser sessions are looked up, for `gateway.sessions.presence`: whether one lives, and of whom it is."""

from gateway.derived_keys import KeyChain
from gateway.errors import BrowserSessionEnded, StoreUnavailable
from gateway.sessions.browser import SessionCookie
from gateway.sessions.login_methods import unpack_methods
from gateway.sessions.presence import Looks, Presence, Sighting
from gateway.sessions.revocations import Revocations
from gateway.store import Script, Store


def looks_at_sessions(
    store: Store, keychain: KeyChain, revocations: Revocations, *, idle_ttl_seconds: int
) -> Looks[SessionCookie]:
    """
    Give how browser sessions are looked up.

    Args:
        idle_ttl_seconds: A session unused for so long is over.
    """
    script = Script.load(__package__, "presence_look")

    async def look(cookie: SessionCookie) -> Sighting:
        keys = [store.key(f"{kind}:{{{cookie.user_id}}}") for kind in ("families", "user")]
        reply = await store.run(script, keys, cookie.family_id, idle_ttl_seconds)
        outcome = reply[0].decode()
        if reply[1].decode() != cookie.family_id:
            # An answer that is not to our question would hand one user's session to another.
            raise StoreUnavailable("another-answer")
        if outcome != "alive":
            unannounced = (cookie.family_id,) if outcome in ("revoked", "user_disabled") else ()
            raise BrowserSessionEnded(outcome, unannounced)
        now_ms, created_ms, end_ms = reply[2:5]
        email, name, roles = (word.decode() for word in reply[5:8])
        presence = Presence(
            sub=cookie.user_id,
            sid=cookie.family_id,
            auth_time=created_ms // 1000,
            roles=tuple(roles.split(",")) if roles else (),
            email=email,
            name=name,
            amr=unpack_methods(reply[8]),
        )
        return Sighting(presence, (end_ms - now_ms) / 1000)

    return Looks(
        parse=lambda text: SessionCookie.parse(text, keychain),
        look=look,
        has_ended=lambda cookie: revocations.has_ended(cookie.user_id, cookie.family_id, cookie.auth_time),
        ended=BrowserSessionEnded,
    )
