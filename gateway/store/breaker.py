"""A circuit breaker: while a server is not heard, calls to it fail at once, and one probe listens for its return."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway.tasks import end_tasks

SUSPICIOUS_FAILURES = 3
PROBE_INTERVAL_SECONDS = 0.05
REPORT_INTERVAL_SECONDS = 10.0

logger = logging.getLogger("gateway.breaker")


class Breaker:
    """
    Lets calls to one server pass, or refuses them.

    After `SUSPICIOUS_FAILURES` unheard calls in a row it begins to probe, one probe at a time. The first probe that
    fails too opens it; the first that is answered, as any other answer, closes it, and all calls pass again.

    Args:
        server: Its name, for the log.
        probe: Asks the server once and tells whether it was heard, whatever it said. Has a deadline of its own.
        monotonic: Seconds that never go back; tells how long the server was away.

    Attributes:
        is_open: Whether calls are to be refused.
        refused: How many were since it opened.
    """

    def __init__(self, server: str, probe: Callable[[], Awaitable[bool]], monotonic: Callable[[], float]) -> None:
        self.is_open = False
        self.refused = 0
        self._server = server
        self._probe = probe
        self._monotonic = monotonic
        self._failures = 0
        self._opened_at = 0.0
        self._report_at = 0.0
        self._listener: asyncio.Task[None] | None = None

    def heard(self) -> None:
        """Note an answer, an error included."""
        self._failures = 0
        if self.is_open:
            self.is_open = False
            logger.info("redis is heard again", extra={"fields": self._outage()})

    def unheard(self) -> None:
        """Note a call that found nobody: no connection, a broken one, a timeout, or the answer that none is served."""
        self._failures += 1
        if self._failures >= SUSPICIOUS_FAILURES and (self._listener is None or self._listener.done()):
            self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """End the probing."""
        if self._listener is not None:
            await end_tasks([self._listener])

    async def _listen(self) -> None:
        while self._failures and not await self._probe():
            self._note_silence()
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        self.heard()

    def _note_silence(self) -> None:
        now = self._monotonic()
        if not self.is_open:
            self.is_open, self.refused, self._opened_at = True, 0, now
            self._report_at = now + REPORT_INTERVAL_SECONDS
            logger.warning("redis is away: calls are refused until it is heard", extra={"fields": self._outage()})
        elif now >= self._report_at:
            self._report_at = now + REPORT_INTERVAL_SECONDS
            logger.warning("redis is still away", extra={"fields": self._outage()})

    def _outage(self) -> dict[str, object]:
        server = {"server": self._server} if self._server else {}
        return server | {"seconds": round(self._monotonic() - self._opened_at, 1), "refused": self.refused}
