"""
Presence: which browser sessions and personal tokens were seen good, judged from memory, with one look at Redis for all
who wait for it.

What was seen passes for `check_seconds` without asking, never past its end, and never when it is among the revocations,
which every process hears within a second. While Redis is away what was seen within the last hour goes on passing: that
is how long the revocations are kept.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

from gateway.errors import GatewayError, StoreUnavailable
from gateway.sessions.revocations import LONGEST_ACCESS_TOKEN_LIFE_SECONDS, Revocations
from gateway.store import wait_within_budget

MAX_REMEMBERED = 65_536
LOOK_AGAIN_SECONDS = 0.5
BY_PERSONAL_TOKEN = ("pat",)
"""The `amr` of a personal token: no method of RFC 8176, since nobody has logged in."""


@dataclass(frozen=True)
class Presence:
    """
    A session or a personal token that was seen good, and whose it is: the user as stored then.

    `auth_time` is when the user logged in, in whole seconds since the epoch, and 0 of a personal token, whose id is its
    `sid`; `amr` how (RFC 8176).
    """

    sub: str
    sid: str
    auth_time: int
    roles: tuple[str, ...]
    email: str
    name: str
    amr: tuple[str, ...]

    @property
    def is_of_personal_token(self) -> bool:
        """Whether a script asks in the place of its owner, who has not logged in for that."""
        return self.amr == BY_PERSONAL_TOKEN


class Claim(Protocol):
    """What a cookie or a token of ours says: its MAC has been checked, whether it is good still has to be seen."""

    @property
    def user_id(self) -> str:
        """Give whose it is."""

    @property
    def sid(self) -> str:
        """Give what it is revoked by."""


C = TypeVar("C", bound=Claim)


class Sighting(NamedTuple):
    """What a look at Redis has seen, and for how many seconds from then on it can be good at most."""

    presence: Presence
    seconds_left: float


class Looks(Protocol[C]):
    """How one kind is looked up."""

    @property
    def is_told_of_cut_offs(self) -> bool:
        """
        Tell whether one outlives a cut-off of its user, unless the user was disabled with that: so who was seen before
        one is looked up again.
        """

    def parse(self, text: str) -> C | None:
        """Read a text, which is no I/O; None, or an error, for what is not ours."""

    def refuse_ended(self, claim: C) -> None:
        """Raise an `AccessTokenInvalid` for what has been revoked, from memory."""

    async def look(self, claim: C) -> Sighting:
        """Ask Redis. Raises an `AccessTokenInvalid` for what is not good, and `StoreUnavailable`."""


@dataclass(frozen=True)
class _Seen:
    """
    When a presence was seen, until when it passes without asking, and when it ends; monotonic seconds.

    `cut_off` is what was known of its user when Redis was asked.
    """

    presence: Presence
    seen_at: float
    passes_until: float
    ends_at: float
    cut_off: object | None


class Presences(Generic[C]):
    """
    What this process has seen of one kind.

    Args:
        check_seconds: For how long what was seen good is taken from memory.
        max_remembered: How many at most, at about 1.5 KiB each; the one seen longest ago makes room.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        revocations: Revocations,
        looks: Looks[C],
        *,
        check_seconds: int,
        max_remembered: int = MAX_REMEMBERED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._revocations = revocations
        self._parse = looks.parse
        self._look = looks.look
        self._refuse_ended = looks.refuse_ended
        self._is_told_of_cut_offs = looks.is_told_of_cut_offs
        self._check_seconds = check_seconds
        self._max_remembered = max_remembered
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}
        self._looks: dict[str, asyncio.Task[_Seen]] = {}
        self._claims: dict[str, C] = {}

    def parse(self, text: str) -> C | None:
        """Read a cookie or a token. What was read before is not computed again."""
        claim = self._claims.get(text)
        if claim is None and (claim := self._parse(text)) is not None:
            self._claims[text] = claim
            if len(self._claims) > self._max_remembered:
                del self._claims[next(iter(self._claims))]
        return claim

    def known(self, claim: C) -> Presence | None:
        """
        Give a presence from memory; None where it takes a look at Redis to say.

        Raises:
            AccessTokenInvalid: It has been revoked.
            StoreUnavailable: What has been revoked is not known here.
        """
        if not self._revocations.may_be_asked:
            raise StoreUnavailable("revocations-stale" if self._revocations.was_read else "revocations-unread")
        self._refuse_ended(claim)
        seen = self._seen.get(claim.sid)
        if seen is None or self._monotonic() >= seen.passes_until:
            return None
        if self._is_told_of_cut_offs and self._cut_off(claim) is not seen.cut_off:
            return None
        return seen.presence

    async def find(self, claim: C) -> Presence:
        """
        Give a presence, from memory or by one look at Redis, which all who ask for it meanwhile wait for.

        Raises:
            AccessTokenInvalid: It is revoked, over, or nobody's.
            StoreUnavailable: Redis did not answer, and it was not seen within the last hour.
        """
        while True:
            if (presence := self.known(claim)) is not None:
                return presence
            look = self._looks.get(claim.sid)
            if look is None:
                # Without the context of the request, whose time for Redis is not that of the others.
                look = asyncio.create_task(self._ask(claim), context=Context())
                self._looks[claim.sid] = look
                look.add_done_callback(lambda _: self._looks.pop(claim.sid, None))
            try:
                seen = await wait_within_budget(look)
            except StoreUnavailable:
                seen = self._seen_before(claim)
            self._refuse_ended(claim)
            if self._cut_off(claim) is seen.cut_off:
                return seen.presence

    def seconds_left(self, sid: str) -> int:
        """Give for how long what was seen can still be good unused, in whole seconds; 0 where nothing was seen."""
        seen = self._seen.get(sid)
        return max(0, int(seen.ends_at - self._monotonic())) if seen is not None else 0

    def _cut_off(self, claim: C) -> object | None:
        """Give what has to be the same as when it was seen, for what was seen to count."""
        return self._revocations.last_cut_off(claim.user_id) if self._is_told_of_cut_offs else None

    def _seen_before(self, claim: C) -> _Seen:
        """Give what was seen within the last hour, which passes for a moment without asking; or raise."""
        now = self._monotonic()
        seen = self._seen.get(claim.sid)
        if seen is None or self._cut_off(claim) is not seen.cut_off:
            raise StoreUnavailable("session-unseen")
        latest = min(seen.ends_at, seen.seen_at + LONGEST_ACCESS_TOKEN_LIFE_SECONDS)
        if now >= latest:
            raise StoreUnavailable("session-unseen")
        seen = replace(seen, passes_until=min(now + LOOK_AGAIN_SECONDS, latest))
        self._seen[claim.sid] = seen
        return seen

    async def _ask(self, claim: C) -> _Seen:
        asked_at, cut_off = self._monotonic(), self._cut_off(claim)
        try:
            presence, seconds_left = await self._look(claim)
        except StoreUnavailable:
            raise
        except GatewayError:
            self._seen.pop(claim.sid, None)
            raise
        # From the asking on, not from the answer: what was read may be as old as that.
        ends_at = asked_at + seconds_left
        seen = _Seen(presence, asked_at, min(asked_at + self._check_seconds, ends_at), ends_at, cut_off)
        self._seen.pop(claim.sid, None)
        self._seen[claim.sid] = seen
        if len(self._seen) > self._max_remembered:
            del self._seen[next(iter(self._seen))]
        return seen
