"""
Security events: one line each in the log and one entry in the stream `audit` of Redis, which keeps the last 100,000.

A line says who (`sub`, or for an address that no user has `account`, a keyed hash of it), from where, and with what
outcome; never a token, a password or an e-mail address.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
from collections import deque
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol

from gateway.clock import Clock, rfc3339
from gateway.derived_keys import KeyChain
from gateway.errors import StoreUnavailable
from gateway.telemetry.logs import AUDIT_LOGGER

MAX_ENTRIES = 100_000
MAX_UNWRITTEN = 1_000
LAST_WORDS_SECONDS = 1.0

logger = logging.getLogger(AUDIT_LOGGER)


class Stream(Protocol):
    """What keeps the entries: `gateway.store.Store`."""

    def key(self, name: str) -> str:
        """Give the full name of a key."""

    async def execute(self, *command: str | int | bytes) -> Any:
        """Run a command, or raise `StoreUnavailable`."""


class AuditTrail:
    """
    Tells security events.

    The log has each at once. The stream gets them by and by, from a memory of `MAX_UNWRITTEN`: while Redis is away
    the oldest are forgotten, and no request waits for it. Of `rate_limited` it gets one a second, so that a flood
    does not wash away the rest.
    """

    def __init__(self, store: Stream, keychain: KeyChain, clock: Clock) -> None:
        self._store = store
        self._account_mac = keychain.current.account_mac
        self._clock = clock
        self._unwritten: deque[dict[str, str]] = deque(maxlen=MAX_UNWRITTEN)
        self._writer: asyncio.Task[None] | None = None
        self._limited_at = 0

    def tell(
        self, event: str, *, failed: bool = False, reason: str = "", sub: str = "", email: str = "", **facts: str
    ) -> None:
        """
        Tell an event, such as `refresh_token_reused`, at level warning when it is a failure.

        Args:
            reason: Why, in a word or two; empty where the event says it all.
            sub: The user. Without one, `account` stands for *email* (normalised), if there is any.
            facts: `sid`, `address`, `request_id`, `kid`; empty ones are left out.
        """
        who = {"sub": sub} if sub else {"account": self.account(email)} if email else {}
        told = who | facts | {"outcome": "failure" if failed else "success", "reason": reason}
        fields = {"event": event} | {name: value for name, value in told.items() if value}
        logger.log(logging.WARNING if failed else logging.INFO, "audit", extra={"fields": fields})
        now = self._clock()
        if event == "rate_limited":
            if now == self._limited_at:
                return
            self._limited_at = now
        self._unwritten.append(fields | {"time": rfc3339(now, "milliseconds")})
        if self._writer is None or self._writer.done():
            # Without the context of the request, whose time for Redis is not spent on this.
            self._writer = asyncio.create_task(self._write(), context=Context())

    def account(self, email: str) -> str:
        """Give what stands for an address that no user has: nobody without `secret` can tell which it is."""
        digest = hmac.digest(self._account_mac, email.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return "acc_" + base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")

    async def close(self) -> None:
        """Write what is unwritten, if Redis takes it within `LAST_WORDS_SECONDS`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                if self._writer is not None:
                    await self._writer
                await self._write()

    async def _write(self) -> None:
        while self._unwritten:
            entry = self._unwritten.popleft()
            words = [word for pair in entry.items() for word in pair]
            try:
                await self._store.execute("XADD", self._store.key("audit"), "MAXLEN", "~", MAX_ENTRIES, "*", *words)
            except StoreUnavailable:
                if len(self._unwritten) < MAX_UNWRITTEN:
                    self._unwritten.appendleft(entry)
                return
