"""
Access tokens for applications behind a proxy: `token=AUDIENCE` of a subrequest.

One is made for a session, an audience and a minute, and handed out until that minute is over: so it is good for 60 to
120 seconds, and the next request costs no signature.
"""

import asyncio
from contextvars import Context
from typing import NamedTuple, Protocol

from gateway.tokens.access_tokens import AccessTokenMinter
from gateway.tokens.identity_headers import Identity

MINUTE_SECONDS = 60
MAX_REMEMBERED = 16_384


class Login(Identity, Protocol):
    """Who is asking, and by which login."""

    @property
    def sid(self) -> str:
        """Give the session; empty for a machine client, which has none."""

    @property
    def auth_time(self) -> int:
        """Give when the login was, in seconds since the epoch."""

    @property
    def amr(self) -> tuple[str, ...]:
        """Give how the login was made (RFC 8176)."""


def _key_of(login: Login, audience: str) -> tuple[str, str]:
    """Give what a token is remembered by: its session, or the machine client that has none."""
    return login.sid or login.sub, audience


class _Made(NamedTuple):
    minute: int
    token: str


class ApplicationTokens:
    """
    Makes and remembers them, at about 1 KiB each.

    Args:
        audiences: Those that may be asked for.
    """

    def __init__(self, minter: AccessTokenMinter, audiences: tuple[str, ...]) -> None:
        self._minter = minter
        self.audiences = frozenset(audiences)
        self._made: dict[tuple[str, str], _Made] = {}
        self._makings: dict[tuple[str, str], asyncio.Task[str]] = {}

    def known(self, login: Login, audience: str, now: int) -> str | None:
        """Give the token of this minute, None where it has to be made."""
        made = self._made.get(_key_of(login, audience))
        return made.token if made is not None and made.minute == now // MINUTE_SECONDS else None

    def end_of_minute(self, now: int) -> int:
        """Give the first second in which another token is handed out than now."""
        return (now // MINUTE_SECONDS + 1) * MINUTE_SECONDS

    async def make(self, login: Login, audience: str, now: int, session_seconds_left: int) -> str:
        """
        Give the token of this minute, which all who ask for it meanwhile wait for.

        Args:
            now: Seconds since the epoch.
            session_seconds_left: No token outlives its session.

        Raises:
            StoreUnavailable: This process has never seen the keyring.
        """
        if (token := self.known(login, audience, now)) is not None:
            return token
        key = _key_of(login, audience)
        making = self._makings.get(key)
        if making is None:
            making = asyncio.create_task(self._make(login, audience, now, session_seconds_left), context=Context())
            self._makings[key] = making
            making.add_done_callback(lambda _: self._makings.pop(key, None))
        return await asyncio.shield(making)

    async def _make(self, login: Login, audience: str, now: int, session_seconds_left: int) -> str:
        minute = now // MINUTE_SECONDS
        token = await self._minter.mint(
            subject=login.sub,
            family_id=login.sid,
            auth_time=login.auth_time,
            amr=login.amr,
            roles=login.roles,
            email=login.email or "",
            name=login.name or "",
            now=now,
            session_seconds_left=session_seconds_left,
            audience=audience,
            ttl_seconds=(minute + 2) * MINUTE_SECONDS - now,
        )
        key = _key_of(login, audience)
        self._made.pop(key, None)
        self._made[key] = _Made(minute, token)
        if len(self._made) > MAX_REMEMBERED:
            del self._made[next(iter(self._made))]
        return token
