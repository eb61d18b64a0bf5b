"""Whom the doctor plays: a user of its own, who is gone again at the end, whatever happens."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.accounts import generate_password
from gateway.cli.users import remove_user
from gateway.errors import CommandError, GatewayError
from gateway.state import Gateway
from gateway.telemetry import USER_ADDED

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Person:
    """A user for a few seconds. `mark` is in the e-mail address and nowhere else in the world."""

    user_id: str
    email: str
    mark: str
    password: str
    password_version: int


@asynccontextmanager
async def temporary_person(gateway: Gateway, roles: tuple[str, ...]) -> AsyncIterator[Person]:
    """
    Add a user, and remove him with his sessions at the end, also after an interruption.

    Raises:
        CommandError: A role is none; or the user could not be removed, and is named.
    """
    mark, password = secrets.token_hex(12), generate_password()
    email = f"doctor-{mark}@gateway.invalid"
    password_hash = await gateway.passwords.hash(password)
    try:
        user = await _to_its_end(gateway.users.add(email, "gateway doctor", roles, password_hash))
        gateway.audit.tell(USER_ADDED, "doctor", sub=user.user_id)
        yield Person(user.user_id, email, mark, password, user.password_version)
    finally:
        try:
            await _to_its_end(_remove(gateway, email))
        except GatewayError as error:
            raise CommandError(
                f"{email} could not be removed: when Redis serves, gateway users remove {email}"
            ) from error


async def _remove(gateway: Gateway, email: str) -> None:
    user = await gateway.users.find(email)
    if user is not None:
        await remove_user(gateway, user, reason="doctor")


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do *work* whole: what cancels us meanwhile is heard when it is done."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # told or not, the cancelling goes first
        raise cancelled
    return task.result()
