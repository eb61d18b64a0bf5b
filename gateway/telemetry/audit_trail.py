"""
The audit trail: of each security event a line in the log, and an entry in the stream `audit` of Redis, which keeps the
last 100,000.

A line says who (`sub`, or for an address that no user has `account`, a keyed hash of it), from where, and with what
outcome; never a token, a password or an e-mail address. The entry has the same members.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context

import msgspec

from gateway.clock import rfc3339
from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.store import Script, Store
from gateway.tasks import end_tasks
from gateway.telemetry.accounts import account_of
from gateway.telemetry.events import MEMBERS_OF_REQUESTS, RATE_LIMITED, Event
from gateway.telemetry.logs import AUDIT_LOGGER

MAX_ENTRIES = 100_000
MAX_UNWRITTEN = 10_000
MAX_TOGETHER = 200
LOOKED_THROUGH, LOOKED_THROUGH_AGAIN = 64, 2_000
RETRY_SECONDS = 0.25
LAST_WORDS_SECONDS = 1.0
LOSSES_TOLD_SECONDS = 60
LIMITED_SECONDS = 1.0

logger = logging.getLogger(AUDIT_LOGGER)
_encode = msgspec.msgpack.Encoder().encode


class AuditTrail:
    """
    Tells security events.

    The log has each at once. The stream gets them by and by, in batches, from a memory of `MAX_UNWRITTEN`: while Redis
    is away the oldest are forgotten, and no request waits for it. Of `rate_limited` it gets one a second, so that a
    flood does not wash away the rest. An entry whose writing had no answer is not written twice.

    Args:
        monotonic: Seconds that never go back.

    Attributes:
        told: How often each event was told, by its name.
        lost: How many events the stream never got, as far as is known: forgotten while Redis was away, or unwritten at
            the end.
    """

    def __init__(self, store: Store, keychain: KeyChain, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.told: Counter[str] = Counter()
        self.lost = 0
        self._store = store
        self._keys = keychain.current
        self._monotonic = monotonic
        self._append = Script.load(__package__, "audit_append")
        self._unwritten: deque[bytes] = deque()
        self._batch: list[bytes] = []
        self._last_id = ""
        self._writer: asyncio.Task[None] | None = None
        self._limited_until = 0.0
        self._losses_told = 0
        self._teller: asyncio.TimerHandle | None = None

    def tell(self, event: Event, reason: str = "", *, sub: str = "", email: str = "", **facts: str) -> None:
        """
        Tell an event, with one of its reasons.

        Args:
            sub: The user. Without one, `account` stands for *email* (normalised), if there is any.
            facts: Of the event's `members` and `MEMBERS_OF_REQUESTS`; empty ones are left out.

        Raises:
            ValueError: The catalogue has no such reason of this event, or no such fact.
        """
        outcome, level = event.outcome(reason), event.level(reason)
        facts = {name: value for name, value in facts.items() if value}
        if unknown := facts.keys() - {*event.members, *MEMBERS_OF_REQUESTS}:
            raise ValueError(f"{event.name} does not tell {', '.join(unknown)}")
        who = {"sub": sub} if sub else {"account": account_of(email, self._keys)} if email else {}
        fields = {"event": event.name, **who, **facts, "outcome": outcome} | ({"reason": reason} if reason else {})
        record = logger.makeRecord(logger.name, level, "", 0, "audit", (), None, extra={"fields": fields})
        if logger.isEnabledFor(level):
            logger.handle(record)
        self.told[event.name] += 1
        if event is RATE_LIMITED:
            if self._monotonic() < self._limited_until:
                return
            self._limited_until = self._monotonic() + LIMITED_SECONDS
        self._keep({"time": rfc3339(record.created, "milliseconds")} | fields)

    async def close(self) -> None:
        """Write what is unwritten, if Redis takes it within `LAST_WORDS_SECONDS`, and tell what is lost."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=LAST_WORDS_SECONDS)
            await end_tasks([self._writer])
        if self._teller is not None:
            self._teller.cancel()
        self.lost += len(self._batch) + len(self._unwritten)
        self._batch.clear()
        self._unwritten.clear()
        self._tell_losses()

    def _keep(self, entry: dict[str, str]) -> None:
        if len(self._unwritten) == MAX_UNWRITTEN:
            self._unwritten.popleft()
            self.lost += 1
            if self._teller is None:
                self._tell_losses_by_the_minute()
        self._unwritten.append(_encode([word for pair in entry.items() for word in pair]))
        if self._writer is None or self._writer.done():
            # Without the context of the request, whose time for Redis is not spent on this.
            self._writer = asyncio.create_task(self._write(), context=Context())

    async def _write(self) -> None:
        """Write until nothing is unwritten. A batch stays the same until Redis has answered that it is there."""
        key, looked_through = self._store.key("audit"), LOOKED_THROUGH
        while self._batch or self._unwritten:
            if not self._batch:
                self._batch = [self._unwritten.popleft() for _ in range(min(MAX_TOGETHER, len(self._unwritten)))]
            try:
                last_id = await self._store.run(
                    self._append, [key], MAX_ENTRIES, self._last_id, looked_through, *self._batch
                )
            except StoreUnavailable:
                looked_through = LOOKED_THROUGH_AGAIN
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._last_id, self._batch, looked_through = last_id.decode(), [], LOOKED_THROUGH

    def _tell_losses_by_the_minute(self) -> None:
        self._teller = None
        if self._tell_losses():
            again = asyncio.get_running_loop().call_later
            self._teller = again(LOSSES_TOLD_SECONDS, self._tell_losses_by_the_minute, context=Context())

    def _tell_losses(self) -> bool:
        """Tell how many events the stream has lost until now, and whether these are more than were told last."""
        if self.lost == self._losses_told:
            return False
        self._losses_told = self.lost
        fields = {"lost": self.lost, "mend": "the log has them; see why Redis does not take them"}
        logger.error("security events are missing in the stream", extra={"fields": fields})
        return True
