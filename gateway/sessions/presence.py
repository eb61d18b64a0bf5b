"""
Presence: which browser sessions were seen alive, judged from memory, with one look at Redis for all who wait for it.

What was seen passes for `check_seconds` without asking, never past the end of the session, and never when it is among
the revocations, which every process hears within a second. While Redis is away what was seen within the last hour goes
on passing: that is how long the revocations are kept.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace

from gateway.derived_keys import KeyChain
from gateway.errors import BrowserSessionEnded, StoreUnavailable
from gateway.sessions.browser import SessionCookie
from gateway.sessions.families import Opened
from gateway.sessions.login_methods import unpack_methods
from gateway.sessions.revocations import LONGEST_ACCESS_TOKEN_LIFE_SECONDS, Revocations
from gateway.store import Script, Store

MAX_REMEMBERED = 65_536
LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Presence:
    """
    A session that was seen alive, and whose it is: the user as stored then.

    `auth_time` is when the user logged in, in whole seconds since the epoch; `amr` how (RFC 8176).
    """

    sub: str
    sid: str
    auth_time: int
    roles: tuple[str, ...]
    email: str
    name: str
    amr: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """When a presence was seen, until when it passes without asking, and when its session ends; monotonic seconds."""

    presence: Presence
    seen_at: float
    passes_until: float
    ends_at: float


class Presences:
    """
    The sessions that this process has seen.

    Args:
        idle_ttl_seconds: A session unused for so long is over.
        check_seconds: For how long a session that was seen alive is taken from memory.
        max_remembered: How many sessions at most, at about 1 KiB each; the one seen longest ago makes room.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        store: Store,
        keychain: KeyChain,
        revocations: Revocations,
        *,
        idle_ttl_seconds: int,
        check_seconds: int,
        max_remembered: int = MAX_REMEMBERED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._keychain = keychain
        self._revocations = revocations
        self._idle_ttl_seconds = idle_ttl_seconds
        self._check_seconds = check_seconds
        self._max_remembered = max_remembered
        self._monotonic = monotonic
        self._look = Script.load(__package__, "presence_look")
        self._seen: dict[str, _Seen] = {}
        self._looks: dict[str, asyncio.Task[_Seen]] = {}
        self._cookies: dict[str, SessionCookie] = {}

    def parse(self, text: str) -> SessionCookie | None:
        """Read a session cookie; see `SessionCookie.parse`. What was read before is not computed again."""
        cookie = self._cookies.get(text)
        if cookie is None and (cookie := SessionCookie.parse(text, self._keychain)) is not None:
            self._cookies[text] = cookie
            if len(self._cookies) > self._max_remembered:
                del self._cookies[next(iter(self._cookies))]
        return cookie

    def cookie_of(self, user_id: str, opened: Opened) -> str:
        """Give the cookie of a session that has just been opened."""
        return SessionCookie(user_id, opened.family_id, opened.auth_time).format(self._keychain.current)

    def known(self, cookie: SessionCookie) -> Presence | None:
        """
        Give a session from memory; None where it takes a look at Redis to say.

        Raises:
            BrowserSessionEnded: It has been revoked.
            StoreUnavailable: What has been revoked is not known here.
        """
        self._refuse_ended(cookie)
        seen = self._seen.get(cookie.family_id)
        return seen.presence if seen is not None and self._monotonic() < seen.passes_until else None

    async def find(self, cookie: SessionCookie) -> Presence:
        """
        Give a session, from memory or by one look at Redis, which all who ask for it meanwhile wait for.

        Raises:
            BrowserSessionEnded: It is revoked, over, or nobody's.
            StoreUnavailable: Redis did not answer, and the session was not seen within the last hour.
        """
        if (presence := self.known(cookie)) is not None:
            return presence
        look = self._looks.get(cookie.family_id)
        if look is None:
            # Without the context of the request, whose time for Redis is not that of the others.
            look = asyncio.create_task(self._ask(cookie), context=Context())
            self._looks[cookie.family_id] = look
            look.add_done_callback(lambda _: self._looks.pop(cookie.family_id, None))
        try:
            seen = await asyncio.shield(look)
        except StoreUnavailable:
            seen = self._seen_before(cookie)
        self._refuse_ended(cookie)
        return seen.presence

    def seconds_left(self, sid: str) -> int:
        """Give how long a session that was seen can still live unused, in whole seconds; 0 where none was seen."""
        seen = self._seen.get(sid)
        return max(0, int(seen.ends_at - self._monotonic())) if seen is not None else 0

    def _refuse_ended(self, cookie: SessionCookie) -> None:
        revocations = self._revocations
        if not revocations.may_be_asked:
            raise StoreUnavailable("revocations-stale" if revocations.was_read else "revocations-unread")
        if revocations.has_ended(cookie.user_id, cookie.family_id, cookie.auth_time):
            raise BrowserSessionEnded("revoked")

    def _seen_before(self, cookie: SessionCookie) -> _Seen:
        """Give what was seen within the last hour, which passes for a moment without asking; or raise."""
        now = self._monotonic()
        seen = self._seen.get(cookie.family_id)
        if seen is None or now >= min(seen.ends_at, seen.seen_at + LONGEST_ACCESS_TOKEN_LIFE_SECONDS):
            raise StoreUnavailable("session-unseen")
        latest = min(seen.ends_at, seen.seen_at + LONGEST_ACCESS_TOKEN_LIFE_SECONDS)
        seen = replace(seen, passes_until=min(now + LOOK_AGAIN_SECONDS, latest))
        self._seen[cookie.family_id] = seen
        return seen

    async def _ask(self, cookie: SessionCookie) -> _Seen:
        asked_at = self._monotonic()
        keys = [self._store.key(f"{kind}:{{{cookie.user_id}}}") for kind in ("families", "user")]
        reply = await self._store.run(self._look, keys, cookie.family_id, self._idle_ttl_seconds)
        outcome = reply[0].decode()
        if reply[1].decode() != cookie.family_id:
            # An answer that is not to our question would hand one user's session to another.
            raise StoreUnavailable("another-answer")
        if outcome != "alive":
            self._seen.pop(cookie.family_id, None)
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
        # From the asking on, not from the answer: what was read may be as old as that.
        ends_at = asked_at + (end_ms - now_ms) / 1000
        seen = _Seen(presence, asked_at, min(asked_at + self._check_seconds, ends_at), ends_at)
        self._seen.pop(cookie.family_id, None)
        self._seen[cookie.family_id] = seen
        if len(self._seen) > self._max_remembered:
            del self._seen[next(iter(self._seen))]
        return seen
