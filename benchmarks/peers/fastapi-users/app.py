"""A FastAPI application in one file: fastapi-users with tokens in Redis and its one user in memory."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, RedisStrategy
from fastapi_users.db import BaseUserDatabase
from fastapi_users.schemas import BaseUserCreate


@dataclass
class User:
    """What fastapi-users wants to know of a user."""

    email: str
    hashed_password: str
    is_active: bool = True
    is_superuser: bool = False
    is_verified: bool = False
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class UsersInMemory(BaseUserDatabase[User, uuid.UUID]):
    """Finds a user faster than any database could."""

    def __init__(self) -> None:
        self._users: dict[uuid.UUID, User] = {}

    async def get(self, id: uuid.UUID) -> User | None:
        """Give the user with this id."""
        return self._users.get(id)

    async def get_by_email(self, email: str) -> User | None:
        """Give the user with this e-mail."""
        return next((user for user in self._users.values() if user.email == email), None)

    async def create(self, create_dict: dict[str, Any]) -> User:
        """Add a user."""
        user = User(**create_dict)
        self._users[user.id] = user
        return user


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """The users, with the package's own password hashing."""


USERS = UsersInMemory()
# The address comes from the environment: uvicorn gives an application nothing else.
TOKENS = redis.asyncio.from_url(os.environ["REDIS_URL"], decode_responses=True)  # noqa: TID251


async def user_manager() -> AsyncIterator[UserManager]:
    """Give the users to a request."""
    yield UserManager(USERS)


def strategy() -> RedisStrategy[User, uuid.UUID]:
    """Give the place of the tokens to a request."""
    return RedisStrategy(TOKENS, lifetime_seconds=3600)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Add the one user."""
    person = BaseUserCreate(email="ann@example.com", password="correct horse battery staple")
    await UserManager(USERS).create(person)
    yield


backend = AuthenticationBackend("redis", BearerTransport("login"), strategy)
users = FastAPIUsers[User, uuid.UUID](user_manager, [backend])
app = FastAPI(lifespan=lifespan)
app.include_router(users.get_auth_router(backend))


@app.get("/verify", status_code=204)
async def verify(user: User = Depends(users.current_user(active=True))) -> None:  # noqa: B008 - FastAPI's way
    """Answer 204 to whoever has a good token."""
