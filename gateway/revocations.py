"""
Revoked sessions whose access tokens are still out: announced through a Redis stream, asked from memory.

Every gateway process follows the stream and keeps a view of it, so that verifying a token never asks Redis. The
process that announces a revocation applies it to its own view first.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.store import Script, Store

LONGEST_ACCESS_TOKEN_LIFE_SECONDS = 3600
MARGIN_SECONDS = 60
RECONNECT_DELAY_SECONDS = 0.2
STALE_AFTER_SECONDS = 3.0
PAGE_ENTRIES = 1000

logger = logging.getLogger("gateway.revocations")


class Revocations:
    """
    The view of one process, and the way to tell all the others.

    Args:
        clock: Seconds since the epoch; tells when an entry may be forgotten.
        monotonic: Seconds that never go back; tells how long the stream has not been heard.
    """

    def __init__(self, store: Store, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._announce = Script.load("revocation_announce")
        self._stream = store.key("revocations")
        self._forget_at: dict[str, int] = {}
        self._next_pruning = 0
        self._heard_at = 0.0
        self._was_read = asyncio.Event()
        self._told_stale = False

    def __contains__(self, session_or_token_id: str) -> bool:
        """Tell whether this `sid` or `jti` was revoked."""
        return session_or_token_id in self._forget_at

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
        return self.lag_seconds < STALE_AFTER_SECONDS

    async def announce(self, family_ids: tuple[str, ...]) -> None:
        """
        Refuse these sessions here at once, and tell every other gateway.

        Raises:
            StoreUnavailable: The others do not know yet; the caller should try again. Here they stay refused.
        """
        if not family_ids:
            return
        for family_id in family_ids:
            self._remember(family_id)
        retention_ms = (LONGEST_ACCESS_TOKEN_LIFE_SECONDS + MARGIN_SECONDS) * 1000
        await self._store.run(self._announce, [self._stream], retention_ms, *family_ids, durable=True)

    async def follow(self) -> None:
        """
        Keep the view up to date until cancelled.

        After every break the stream is read from its beginning, since a server that took over may number its
        entries differently. What is in the view stays there: that server may have lost it.
        """
        while True:
            position, caught_up = "0-0", False
            try:
                while True:
                    entries = await self._store.read_stream(self._stream, position, PAGE_ENTRIES, wait=caught_up)
                    for entry_id, fields in entries:
                        position = entry_id
                        for value in fields.values():
                            self._remember(value.decode(errors="replace"))
                    caught_up = len(entries) < PAGE_ENTRIES
                    if caught_up:
                        self._hear()
                    self._prune()
            except StoreUnavailable:
                if self.was_read and not self.is_current and not self._told_stale:
                    self._told_stale = True
                    logger.warning("revocations are not heard: verdicts go by what is known here")
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)

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

    def _remember(self, family_id: str) -> None:
        self._forget_at[family_id] = self._clock() + LONGEST_ACCESS_TOKEN_LIFE_SECONDS + MARGIN_SECONDS

    def _prune(self) -> None:
        now = self._clock()
        if now < self._next_pruning:
            return
        self._next_pruning = now + MARGIN_SECONDS
        self._forget_at = {entry: at for entry, at in self._forget_at.items() if at > now}
