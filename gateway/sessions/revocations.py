"""
Revoked sessions whose access tokens are still out: announced through a Redis stream, asked from memory.

Every gateway process follows the stream and keeps a view of it, so that verifying a token never asks Redis. The
process that announces a revocation applies it to its own view first.

A revocation is a text: the `sid` of a session, the `jti` of a token, or a cut-off, "<user id> <second> <sid or
nothing>". A cut-off ends all sessions of a user whose `auth_time` is that second or an earlier one, those too that
Redis has lost, but for the one session that is kept. The second is of Redis's clock, as `auth_time` is, and no session
that is opened later has such an `auth_time` (docs/decisions/0010-cut-offs.md).

One file: what is announced, and how it is read, have one format.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.store import Script, Store, StreamEntry

LONGEST_ACCESS_TOKEN_LIFE_SECONDS = 3600
MARGIN_SECONDS = 60
RECONNECT_DELAY_SECONDS = 0.2
STALE_AFTER_SECONDS = 3.0
PAGE_ENTRIES = 1000
# An entry takes 20 to 40 us to read, and no subrequest is answered while a page is.
PAGE_ENTRIES_WHILE_SERVING = 50
FORGOTTEN_AT_ONCE = 200
ANNOUNCED_AGAIN_WITHIN_SECONDS = 1.0
MAX_ANNOUNCED_AGAIN = 1000
BEGINNING: StreamEntry = ("0-0", {})
_CUT_OFF = re.compile(r"(\S+) ([0-9]{1,16}) (\S*)")

logger = logging.getLogger("gateway.revocations")


class Listener(Protocol):
    """Hears which revocations are in the view."""

    def learned(self, revocation: str) -> None:
        """Heed one that was not there."""

    def forgotten(self, revocation: str) -> None:
        """Heed that one has left."""


class _Entry(NamedTuple):
    """One of the view: when to forget it by our clock, and when it was added by Redis's clock, if that is known."""

    forget_at: int
    added_ms: int | None


class _CutOff(NamedTuple):
    """The last second of logins that are ended, the session that is not, and when to forget it by our clock."""

    second: int
    kept: str
    forget_at: int


class Revocations:
    """
    The view of one process, and the way to tell all the others.

    Args:
        clock: Seconds since the epoch; tells when an entry may be forgotten.
        monotonic: Seconds that never go back; tells how long the stream has not been heard.
        max_lag_seconds: For how long at most the view may be asked while the stream is not heard; 0: for ever.
        listener: Is told what comes into the view and what leaves it.

    Attributes:
        counters: How often the stream fell silent (`unheard`), and how many entries were announced again
            (`announced_again`) since the start.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        max_lag_seconds: int = 0,
        listener: Listener | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._max_lag_seconds = max_lag_seconds
        self._listener = listener
        self._announce = Script.load(__package__, "revocation_announce")
        self._stream = store.key("revocations")
        self._entries: dict[str, _Entry] = {}
        self._cut_offs: dict[str, _CutOff] = {}
        self._heard_at = 0.0
        self._last_read = BEGINNING
        self._heard_up_to = _order(BEGINNING)
        self._was_read = asyncio.Event()
        self._told_stale = False
        self._lost: set[str] = set()
        self._announce_lost_at = 0.0

    def __contains__(self, session_or_token_id: str) -> bool:
        """Tell whether this `sid` or `jti` was revoked."""
        return session_or_token_id in self._entries

    def was_heard(self, revocation: str) -> bool:
        """Tell whether this was read in the stream, so that it need not be announced to the others."""
        entry = self._entries.get(revocation)
        return entry is not None and entry.added_ms is not None

    def has_ended(self, subject: str, family_id: str, auth_time: int, token_id: str | None = None) -> bool:
        """Tell whether a session was revoked, alone or with all those of its user, or one token of it."""
        entries = self._entries
        if family_id in entries or token_id in entries:
            return True
        return subject in self._cut_offs and self.is_cut_off(subject, family_id, auth_time)

    def is_cut_off(self, subject: str, family_id: str, auth_time: int) -> bool:
        """Tell whether a session was revoked with all those of its user."""
        cut_off = self._cut_offs.get(subject)
        if cut_off is None or auth_time > cut_off.second:
            return False
        # A machine client has no session, and so none that is kept.
        return family_id != cut_off.kept or not family_id

    def last_cut_off(self, subject: str) -> object | None:
        """
        Give the last cut-off of a user that was heard, to be compared by `is`; None without one.

        It is another one whenever one is heard, and now and then without that: as long as it is the same, none was.
        """
        return self._cut_offs.get(subject)

    @property
    def known(self) -> int:
        """Give how many are in the view."""
        return len(self._entries) + len(self._cut_offs)

    @property
    def was_read(self) -> bool:
        """Tell whether the whole stream has been read at least once."""
        return self._was_read.is_set()

    @property
    def lag_seconds(self) -> float:
        """Tell for how long the stream has not been heard; a revocation elsewhere may be unknown here for so long."""
        return self._monotonic() - self._heard_at if self.was_read else float("inf")

    @property
    def is_current(self) -> bool:
        """Tell whether the stream has been heard in the last seconds."""
        return self.lag_seconds < STALE_AFTER_SECONDS and self.may_be_asked

    @property
    def may_be_asked(self) -> bool:
        """Tell whether verdicts may go by this view: it was read, and it is not older than it may be."""
        return self._was_read.is_set() and (not self._max_lag_seconds or self.lag_seconds <= self._max_lag_seconds)

    async def announce(self, revocations: tuple[str, ...]) -> None:
        """
        Refuse these sessions here at once, and tell every other gateway.

        Args:
            revocations: Each as described above.

        Raises:
            StoreUnavailable: The others do not know yet; the caller should try again. Here they stay refused.
        """
        if not revocations:
            return
        for revocation in revocations:
            self._remember(revocation)
        await self._add(revocations, durable=True)

    async def follow(self) -> None:
        """
        Keep the view up to date until cancelled.

        After a break it is read on from the entry that was read last, if that is in the stream still; else, and
        whenever the stream is not what it was, from its beginning: a server that took over may have lost entries, and
        may number new ones below those that were read. What is in the view stays there, and what that server has
        lost of it is announced again.
        """
        while True:
            try:
                await self._follow_from(self._last_read)
                self._last_read = BEGINNING
            except StoreUnavailable:
                if self.was_read and not self.is_current and not self._told_stale:
                    self._told_stale = True
                    self.counters["unheard"] += 1
                    logger.warning("revocations are not heard: verdicts go by what is known here")
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)

    async def _follow_from(self, start: StreamEntry) -> None:
        """Read what follows *start*, then what is added; return when that is not the stream that *start* is of."""
        last, shown, caught_up = start, set[str](), False
        while True:
            page = PAGE_ENTRIES_WHILE_SERVING if self.was_read else PAGE_ENTRIES
            entries = await self._store.read_stream(self._stream, last[0], page, wait=caught_up)
            for entry in entries:
                revocations = self._learn(entry)
                if not caught_up:
                    shown.update(revocations)
            if not await self._goes_on(last, entries[0][0] if entries else None):
                return
            last = entries[-1] if entries else last
            if len(entries) < page:
                self._hear()
                if not caught_up:
                    caught_up = True
                    self._note_lost(shown, is_whole=start == BEGINNING)
                await self._announce_lost()
            if caught_up:
                self._last_read = last
            self._prune()

    async def _goes_on(self, last: StreamEntry, next_id: str | None) -> bool:
        """Tell whether the stream is the one that was read up to *last*, and *next_id* is what follows there."""
        before = await self._store.entry_before(self._stream, next_id) or BEGINNING
        return before == last or (next_id is None and _order(before) > _order(last))

    async def wait_until_read(self, timeout_seconds: float) -> bool:
        """Wait for the first whole reading of the stream, at most so long; tell whether it has happened."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._was_read.wait()
        return self.was_read

    def _hear(self) -> None:
        if self._told_stale:
            self._told_stale = False
            logger.info("revocations are heard again", extra={"fields": {"lag_seconds": round(self.lag_seconds, 1)}})
        self._heard_at = self._monotonic()
        self._was_read.set()

    async def _add(self, revocations: tuple[str, ...], *, durable: bool) -> None:
        retention_ms = (LONGEST_ACCESS_TOKEN_LIFE_SECONDS + MARGIN_SECONDS) * 1000
        await self._store.run(self._announce, [self._stream], retention_ms, *revocations, durable=durable)

    def _learn(self, entry: StreamEntry) -> list[str]:
        """Remember what an entry says, and give it; one that was read before is no news and lives no longer for it."""
        revocations = [value.decode(errors="replace") for value in entry[1].values()]
        is_new = _order(entry) > self._heard_up_to
        self._heard_up_to = max(self._heard_up_to, _order(entry))
        for revocation in revocations:
            self._lost.discard(revocation)
            known = self._entries.get(revocation)
            if is_new or known is None or known.added_ms is None:
                self._remember(revocation, _order(entry)[0])
        return revocations

    def _remember(self, revocation: str, added_ms: int | None = None) -> None:
        forget_at = self._clock() + LONGEST_ACCESS_TOKEN_LIFE_SECONDS + MARGIN_SECONDS
        if self._entries.pop(revocation, None) is None and self._listener is not None:
            self._listener.learned(revocation)
        self._entries[revocation] = _Entry(forget_at, added_ms)  # at the end: those to forget first come first
        self._cut_off(revocation, forget_at)

    def _cut_off(self, revocation: str, forget_at: int) -> None:
        """Heed a revocation if it is a cut-off. The latest says all that those before it said."""
        match = _CUT_OFF.fullmatch(revocation)
        if match is None:
            return
        subject, second, kept = match[1], int(match[2]), match[3]
        known = self._cut_offs.get(subject)
        if known is None or second > known.second:
            self._cut_offs[subject] = _CutOff(second, kept, forget_at)
        else:  # one that says nothing new is one more all the same (`last_cut_off`)
            is_other = second == known.second and kept != known.kept  # then each has ended what the other one kept
            self._cut_offs[subject] = _CutOff(known.second, "" if is_other else known.kept, forget_at)

    def _note_lost(self, shown: set[str], *, is_whole: bool) -> None:
        """
        Find what a reading did not show, though it should have.

        Of a whole one that is all but what the stream may have dropped as too old. One that went on from an entry
        tells by it that those before are there, so that only what was never read is missing.
        """
        oldest_ms = self._heard_up_to[0] - LONGEST_ACCESS_TOKEN_LIFE_SECONDS * 1000 if is_whole else float("inf")
        lost = [
            revocation
            for revocation, entry in self._entries.items()
            if revocation not in shown and (entry.added_ms is None or entry.added_ms > oldest_ms)
        ]
        self._lost = set(lost[-MAX_ANNOUNCED_AGAIN:]) | (set() if is_whole else self._lost)
        self._announce_lost_soon()

    def _announce_lost_soon(self) -> None:
        # Others have noticed too: the first who announces them spares the others the work.
        delay_seconds = random.uniform(0, ANNOUNCED_AGAIN_WITHIN_SECONDS)  # noqa: S311 - no secret
        self._announce_lost_at = self._monotonic() + delay_seconds

    async def _announce_lost(self) -> None:
        """Announce once more what Redis has lost, until it is read: a gateway that starts would not know it."""
        if not self._lost or self._monotonic() < self._announce_lost_at:
            return
        self._announce_lost_soon()
        with contextlib.suppress(StoreUnavailable):
            await self._add(tuple(self._lost), durable=False)
            self.counters["announced_again"] += len(self._lost)
            logger.warning("redis had lost revocations: announced again", extra={"fields": {"count": len(self._lost)}})

    def _prune(self) -> None:
        """Forget those whose time is over, some at a time: no subrequest is answered meanwhile."""
        now = self._clock()
        first = itertools.islice(self._entries.items(), FORGOTTEN_AT_ONCE)
        over = [revocation for revocation, entry in itertools.takewhile(lambda item: item[1].forget_at <= now, first)]
        for revocation in over:
            del self._entries[revocation]
            if self._listener is not None:
                self._listener.forgotten(revocation)
            subject = revocation.partition(" ")[0]
            if subject in self._cut_offs and self._cut_offs[subject].forget_at <= now:
                del self._cut_offs[subject]


def _order(entry: StreamEntry) -> tuple[int, ...]:
    return tuple(int(part) for part in entry[0].split("-"))
