"""
Personal tokens: what a person makes for a script, so that it gets in where the person would, until it ends.

A hash for each user, a packed record for each token, and one Lua script for each decision, on Redis's clock. Nothing in
Redis is a bearer secret: a token is a MAC'd pair of ids (`token_text`), and a forgery is refused without asking Redis.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.derived_keys import KeyChain
from gateway.errors import MalformedRequest, NotFound, PersonalTokenInvalid
from gateway.machines.token_text import TOKEN_ID_PREFIX, PersonalToken
from gateway.store import Script, Store

MAX_PER_USER = 100
MAX_DAYS = 365
DEFAULT_DAYS = 90
DAY_SECONDS = 86_400
_ROW_WORDS = 7


def new_personal_token_id() -> str:
    """Give `pat_` and 128 random bits as 22 base64url characters."""
    return TOKEN_ID_PREFIX + secrets.token_urlsafe(16)


@dataclass(frozen=True)
class TokenEntry:
    """
    A personal token as its owner sees it in a list. Times in whole seconds since the epoch.

    `roles` are those that it gives now: of its own those that the owner still has, or with `has_all_roles` whatever the
    owner has. `last_used_at` is None for never; it is up to `session_check_seconds` behind.
    """

    token_id: str
    name: str
    roles: tuple[str, ...]
    has_all_roles: bool
    created_at: int
    expires_at: int
    last_used_at: int | None


@dataclass(frozen=True)
class LivingToken:
    """A personal token that was found good: its owner as stored now, and for how long it is good yet."""

    email: str
    name: str
    roles: tuple[str, ...]
    seconds_left: float


class PersonalTokens:
    """
    The personal tokens of all users.

    Args:
        new_id: Gives the id of a new one.
    """

    def __init__(self, store: Store, keychain: KeyChain, new_id: Callable[[], str] = new_personal_token_id) -> None:
        self._store = store
        self._keychain = keychain
        self._new_id = new_id
        self._create = Script.load(__package__, "token_create")
        self._list = Script.load(__package__, "token_list")
        self._look = Script.load(__package__, "token_look")
        self._mark = Script.load(__package__, "token_mark")
        self._revoke = Script.load(__package__, "token_revoke")

    def parse(self, text: str) -> PersonalToken:
        """Read a token; see `PersonalToken.parse`."""
        return PersonalToken.parse(text, self._keychain)

    async def create(
        self, user_id: str, name: str, roles: tuple[str, ...] | None, days: int = DEFAULT_DAYS
    ) -> tuple[str, TokenEntry]:
        """
        Make a token, and give its text, which nobody can tell again, and its entry.

        Args:
            name: Not empty, at most 255 bytes of UTF-8.
            roles: What it may do, of what the owner may do; None for all of that, whatever it will be.
            days: 1 to `MAX_DAYS`.

        Raises:
            MalformedRequest: The owner does not have one of the roles, or has as many tokens as anybody may have; or
                *days* are not what they should be.
            NotFound: There is no such user any more, or he is disabled.
        """
        if not 1 <= days <= MAX_DAYS:
            raise MalformedRequest(f"A personal token is good for 1 to {MAX_DAYS} days")
        token = PersonalToken(user_id, self._new_id())
        outcome, *words = await self._store.run(
            self._create,
            self._keys(user_id),
            token.token_id,
            days * DAY_SECONDS,
            MAX_PER_USER,
            name,
            "" if roles is None else "own",
            ",".join(roles or ()),
            durable=True,
        )
        match outcome:
            case b"role-missing":
                raise MalformedRequest(f"A personal token has at most the roles of its owner, not {words[0].decode()}")
            case b"full":
                raise MalformedRequest(f"There are {MAX_PER_USER} personal tokens already: revoke one first")
            case b"unknown" | b"user_disabled":
                raise NotFound("There is no such user, or he is disabled")
        echo, created_ms, ends_ms, owner_roles = words
        self._store.check_echo(echo, token.token_id)
        entry = TokenEntry(
            token.token_id,
            name,
            _split(owner_roles) if roles is None else roles,
            roles is None,
            created_ms // 1000,
            ends_ms // 1000,
            None,
        )
        return token.format(self._keychain.current), entry

    async def all(self, user_id: str) -> tuple[TokenEntry, ...]:
        """Give the tokens of a user that are not over, newest first."""
        reply: list[Any] = await self._store.run(self._list, self._keys(user_id))
        owner_roles = reply.pop(0)
        rows = [reply[start : start + _ROW_WORDS] for start in range(0, len(reply), _ROW_WORDS)]
        return tuple(
            TokenEntry(
                token_id.decode(),
                name.decode(),
                _roles_now(owner_roles, kind, own_roles),
                not kind,
                created_ms // 1000,
                ends_ms // 1000,
                used_ms // 1000 or None,
            )
            for token_id, created_ms, ends_ms, used_ms, name, kind, own_roles in sorted(
                rows, key=lambda row: (row[1], row[0]), reverse=True
            )
        )

    async def look(self, token: PersonalToken) -> LivingToken:
        """
        Look a token up, which is its last use.

        Raises:
            PersonalTokenInvalid: It is revoked, over or unknown, or its owner is disabled.
            StoreUnavailable: Redis did not answer.
        """
        reply = await self._store.run(self._look, self._keys(token.user_id), token.token_id)
        outcome = reply[0].decode()
        self._store.check_echo(reply[1], token.token_id)
        if outcome != "alive":
            raise PersonalTokenInvalid(outcome, is_unannounced=outcome == "revoked")
        now_ms, ends_ms, email, name, owner_roles, kind, own_roles = reply[2:9]
        roles = _roles_now(owner_roles, kind, own_roles)
        return LivingToken(email.decode(), name.decode(), roles, (ends_ms - now_ms) / 1000)

    async def mark(self, user_id: str, token_id: str) -> bool:
        """
        Mark a token as revoked: from here on it is never good again, whatever becomes of the rest, which is to announce
        its id and then to delete it. Tell whether it is there, marked before or now. Works at `maxmemory`.
        """
        keys = self._keys(user_id)[:1]
        return bool(await self._store.run(self._mark, keys, token_id, durable=True, is_followed=True))

    async def revoke(self, user_id: str, token_id: str) -> None:
        """
        Delete a token whose revocation has been announced. Works at `maxmemory`.

        Nobody waits for a confirmation: where the deletion is lost the mark is not.
        """
        await self._store.run(self._revoke, self._keys(user_id)[:1], token_id)

    def _keys(self, user_id: str) -> tuple[str, str]:
        return self._store.key(f"tokens:{{{user_id}}}"), self._store.key(f"user:{{{user_id}}}")


def _roles_now(owner_roles: bytes, kind: bytes, own_roles: bytes) -> tuple[str, ...]:
    """Give the roles of a token: all of its owner, or of its own those that the owner has still."""
    owners = _split(owner_roles)
    return tuple(role for role in _split(own_roles) if role in owners) if kind else owners


def _split(roles: bytes) -> tuple[str, ...]:
    return tuple(roles.decode().split(",")) if roles else ()
