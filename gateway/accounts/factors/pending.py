"""
Pending logins: what the first step of a login leaves for the second, which has to come within five minutes.

Somebody who logs in holds an unguessable text, which a right factor uses up and a wrong one does not. It is bound to
the user and the version of his password: a new password makes it void.
"""

from typing import Literal

import msgspec

from gateway.accounts.factors.once import Once, new_text
from gateway.accounts.users import User, Users

PENDING_SECONDS = 300
PENDING = "pending-login"


class PendingLogin(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of a login that is not complete.

    `purpose` says what the text is good for: to show a `factor` after the password; to set up the first one
    (`enrolment`), where one is required and there is none; or to show a `passkey` and no password, by a user who is not
    known yet.

    `device_id` is that of a known device (`gateway.limits`), `delivery`, `most_seconds` and `remember` are what the
    first step has asked for; `challenge` is for a passkey.
    """

    purpose: Literal["factor", "enrolment", "passkey"]
    user_id: str = ""
    password_version: int = 0
    device_id: str | None = None
    delivery: str = ""
    most_seconds: int | None = None
    remember: bool = False
    challenge: str = ""


class PendingLogins:
    """All of them."""

    def __init__(self, once: Once, users: Users) -> None:
        self._once = once
        self._users = users

    async def put(self, pending: PendingLogin) -> str:
        """Give the text that stands for a pending login for `PENDING_SECONDS`."""
        text = new_text()
        await self._once.put(PENDING, text, msgspec.msgpack.encode(pending), PENDING_SECONDS)
        return text

    async def look(self, text: str) -> tuple[PendingLogin, User | None] | None:
        """
        Give a pending login and its user, and use nothing up; a login by passkey alone has no user yet.

        None when the text is unknown, used or over, or its user is removed, disabled or has another password by now.
        """
        found = await self._once.look(PENDING, text)
        if found is None:
            return None
        pending = msgspec.msgpack.decode(found, type=PendingLogin)
        if pending.purpose == "passkey":
            return pending, None
        user = await self._users.get(pending.user_id)
        if user is None or not user.is_active or user.password_version != pending.password_version:
            return None
        return pending, user

    async def take(self, text: str) -> bool:
        """Use a pending login up; tell whether it was this call that did."""
        return await self._once.take(PENDING, text) is not None
