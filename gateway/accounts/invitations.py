"""
Invitations and resets: codes in links, each good once, with which a person sets a password without having one.

Redis knows the SHA-256 of a code alone, so that a dump of it lets nobody set a password. What a code is good for is the
password version that it was made at: whatever sets a password makes all codes from before void, and of several
requests that bring one code, or two codes of one user, exactly one sets its password.
"""

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gateway.accounts.passwords import LETTERS_AND_DIGITS
from gateway.accounts.users import UnknownUser, User, UserChanged, Users
from gateway.errors import InvitationSpent, StoreUnavailable
from gateway.store import Store

INVITATION_TTL_SECONDS = 24 * 3600
CODE_CHARACTERS = 24
KIND = "invitation"


def new_code() -> str:
    """Give 142 random bits as letters and digits alone: no program takes the last of them for the end of a sentence."""
    return "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(CODE_CHARACTERS))


class Invitations:
    """
    The codes that are out.

    Args:
        ttl_seconds: How long a code is good, on Redis's clock.
    """

    def __init__(
        self,
        store: Store,
        users: Users,
        *,
        ttl_seconds: int = INVITATION_TTL_SECONDS,
        new_code: Callable[[], str] = new_code,
    ) -> None:
        self._store = store
        self._users = users
        self.ttl_seconds = ttl_seconds
        self._new_code = new_code

    async def make(self, user: User) -> str:
        """
        Give a code that is good once, for `ttl_seconds`, and until the user has another password than *user* has.

        Earlier codes stay good until one of them all is used.
        """
        code = self._new_code()
        meant_for = f"{KIND} {user.user_id} {user.password_version}"
        await self._store.execute("SET", self._key(code), meant_for, "EX", self.ttl_seconds, durable=True)
        return code

    async def look(self, code: str) -> User | None:
        """
        Give the user whose password this code sets, and use nothing up.

        None when the code is unknown, used or over, or its user is removed, disabled, or has another password by now.
        """
        found: bytes | None = await self._store.execute("GET", self._key(code))
        kind, _, meant_for = (found or b"").decode().partition(" ")
        if kind != KIND:
            return None
        user_id, _, version = meant_for.partition(" ")
        user = await self._users.get(user_id)
        return user if user and user.is_active and user.password_version == int(version) else None

    async def accept(self, code: str, password_hash: str) -> tuple[User, tuple[str, ...]]:
        """
        Set the password of the user whom the code is for, if it is still the one that the code was made at.

        Args:
            password_hash: With a salt of its own, as `Passwords.hash` gives it: two requests never bring the same.

        Returns:
            The user with the new password, and the revocations that it makes, of all sessions: the caller is to
            announce and then to revoke them.

        Raises:
            InvitationSpent: The code is not good any more; nothing was changed.
            StoreUnavailable: Nobody knows whether the password was set: the code may be good still, or the password.
        """
        user = await self.look(code)
        if user is None:
            raise InvitationSpent
        try:
            revocations = await self._users.set_password(
                user.user_id, password_hash, expected_version=user.password_version
            )
        except (UserChanged, UnknownUser) as error:
            raise InvitationSpent from error
        with suppress(StoreUnavailable):  # it is void already, and ends by itself
            await self._store.execute("DEL", self._key(code))
        return replace(user, password_hash=password_hash, password_version=user.password_version + 1), revocations

    def _key(self, code: str) -> str:
        return self._store.key("once:" + hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest())
