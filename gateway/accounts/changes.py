"""
What was lately changed of an account that guards it, so that its user is told of what somebody else has done.

A field of the user's hash: a line for each, the latest first, `<time> <what> <session> <address> <device>`. It is there
to be shown; the audit is what an administrator goes by.
"""

from contextlib import suppress
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.store import Script, Store

KEPT = 8
NONE = "-"


@dataclass(frozen=True)
class Change:
    """
    A change of an account; `at` in seconds since the epoch.

    `what` is `password`, a new factor by its kind (`totp`, `passkey`, `recovery`), `removed` for one that was taken
    away, `reset` for all of them, or `token` for a new personal token. `sid` is the session that it was made in, with
    the `address` and the `device` of this; all three are empty when it was made by a command.
    """

    at: int
    what: str
    sid: str = ""
    address: str = ""
    device: str = ""


class Changes:
    """The latest changes of all users."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._note = Script.load(__package__, "user_note")

    async def note(self, user_id: str, what: str, *, sid: str = "", address: str = "", device: str = "") -> None:
        """Keep one. What has been done stays done when this cannot be kept."""
        line = " ".join([str(self._clock()), what, *(word or NONE for word in (sid, address, device))])
        with suppress(StoreUnavailable):
            await self._store.run(self._note, [self._key(user_id)], line, KEPT)

    async def latest(self, user_id: str) -> tuple[Change, ...]:
        """Give them, the latest first."""
        kept: bytes | None = await self._store.execute("HGET", self._key(user_id), "changes")
        return tuple(_read(line) for line in (kept or b"").decode().split("\n") if line)

    def _key(self, user_id: str) -> str:
        return self._store.key(f"user:{{{user_id}}}")


def _read(line: str) -> Change:
    at, what, *words = line.split(" ", 4)
    return Change(int(at), what, *("" if word == NONE else word for word in words))
