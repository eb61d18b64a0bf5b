"""
Users in Redis: one hash each, found by id or by the SHA-256 of their normalised e-mail address.

One file, since a user and his address, two keys in two slots, change together.
"""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.errors import CommandError
from gateway.store import Script, Store

CheckSize = Callable[[str, str, tuple[str, ...]], None]

MAX_EMAIL_CHARACTERS = 254
MAX_NAME_CHARACTERS = 200
MAX_ROLES = 50
MAX_ROLES_CHARACTERS = 1000
REFUSAL_KEPT_SECONDS = 3600
NOBODY = "usr_" + "0" * 22
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
JOINERS = "\u200c\u200d"
_EMAIL = re.compile(r"\A[^\s@]+@[^\s@]+\Z")
ROLE = re.compile(r"\A[a-z0-9][a-z0-9_.:-]{0,63}\Z")


class EmailTaken(CommandError):
    """Another user has this e-mail address."""


class UnknownUser(CommandError):
    """There is no such user."""


class UserChanged(CommandError):
    """The user's password was changed by somebody else in the meantime."""


@dataclass(frozen=True)
class User:
    """
    A user as stored. `created_at` is in whole seconds since the epoch.

    `password_version` steps with every new password (not when a hash is merely renewed), so that a login knows
    whether the password it has just compared is still the user's. `password_hash` is empty of who was invited and has
    set no password yet.
    """

    user_id: str
    email: str
    name: str
    roles: tuple[str, ...]
    is_active: bool
    created_at: int
    password_hash: str
    password_version: int

    @property
    def has_password(self) -> bool:
        """Whether there is a password to log in with."""
        return bool(self.password_hash)

    def __repr__(self) -> str:
        """Show the id alone: a hash does not belong in a log."""
        return f"User({self.user_id})"


def new_user_id() -> str:
    """Give `usr_` and 128 random bits as 22 base64url characters."""
    return "usr_" + secrets.token_urlsafe(16)


def normalise_email(text: str) -> str:
    """Give the one spelling under which an e-mail address is known: NFKC, no surrounding white space, lower case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).strip().lower())


def check_email(text: str) -> str:
    """
    Give the normalised spelling of an address that a user may have.

    Raises:
        CommandError: Not one `@` with something on both sides, white space or a control character within, or
            more than 254 characters.
    """
    email = normalise_email(text)
    if not _EMAIL.match(email) or not email.isprintable() or len(email) > MAX_EMAIL_CHARACTERS:
        raise CommandError(f"{text!r} is not an e-mail address: write it as name@example.com")
    return email


def check_name(text: str) -> str:
    """
    Give a display name without surrounding blanks. A blank of another script or width becomes the ordinary one.

    Raises:
        CommandError: More than 200 characters, or one that shows nothing and changes what others show: a control
            character, a line separator, a mark of direction, half a surrogate pair. Joiners are let through: Persian
            and emoji are written with them.
    """
    for character in text:
        if unicodedata.category(character) in INVISIBLE and character not in JOINERS:
            known_as = unicodedata.name(character, "a control character")
            raise CommandError(
                f"a name has at most {MAX_NAME_CHARACTERS} printable characters, and U+{ord(character):04X} "
                f"({known_as}) is none: take it out"
            )
    name = unicodedata.normalize("NFC", text)
    name = "".join(" " if unicodedata.category(character) == "Zs" else character for character in name).strip(" ")
    if len(name) > MAX_NAME_CHARACTERS:
        raise CommandError(f"a name has at most {MAX_NAME_CHARACTERS} printable characters, and this has {len(name)}")
    return name


def check_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    """
    Give the roles without repetitions, in their order.

    Raises:
        CommandError: A role is not `[a-z0-9][a-z0-9_.:-]{0,63}`, or there are more than 50, or they are longer
            than 1000 characters together: an access token holds them, and verifiers refuse one over 4096 characters.
    """
    for role in roles:
        if not ROLE.match(role):
            raise CommandError(
                f"{role!r} is not a role: 1 to 64 of a-z, 0-9, '_', '.', ':' and '-', the first a letter or digit"
            )
    unique = tuple(dict.fromkeys(roles))
    if len(unique) > MAX_ROLES:
        raise CommandError(f"a user has at most {MAX_ROLES} roles")
    if len(",".join(unique)) > MAX_ROLES_CHARACTERS:
        raise CommandError(f"the roles of a user have at most {MAX_ROLES_CHARACTERS} characters together")
    return unique


class Users:
    """
    All users.

    Args:
        check_size: Raises `CommandError` for a user who is too large to be served (`gateway.tokens.size_bounds`).

    Methods that change what a session stands on mark the user's families as ended in the same script, cut off those
    that Redis has lost, and give what the caller is to announce and then to revoke (`gateway.sessions`).
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str] = new_user_id,
        check_size: CheckSize = lambda email, name, roles: None,
    ) -> None:
        self._check_size = check_size
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._create = Script.load(__package__, "user_create")
        self._change = Script.load(__package__, "user_change")
        self._remove = Script.load(__package__, "user_remove")
        self._claim = Script.load(__package__, "email_claim")
        self._release = Script.load(__package__, "email_release")

    async def add(
        self,
        email: str,
        name: str,
        roles: tuple[str, ...],
        password_hash: str,
        *,
        is_active: bool = True,
        durable: bool = True,
    ) -> User:
        """
        Add a user. The address is claimed first and the user written second, since the two lie in different slots.
        An address whose user was never written, or is gone, is taken over, after it has been settled that this user
        never will be: so of several who add one address at once exactly one succeeds.

        Args:
            password_hash: Empty for a user who cannot log in until a password is set.
            durable: Wait for the confirmation of `Store.run`; it confirms what was added before without it, too.

        Raises:
            EmailTaken: Somebody has this address; nothing was changed.
            CommandError: The address, name or a role is not acceptable.
        """
        user = User(
            self._new_id(), check_email(email), check_name(name), check_roles(roles), is_active, self._clock(),
            password_hash, 1,
        )  # fmt: skip
        self._check_size(user.email, user.name, user.roles)
        email_key = self._email_key(user.email)
        holder = await self._claim_email(email_key, user.user_id, stale_id="", durable=durable)
        if holder != user.user_id and not await self._is_there(holder, {}, durable=durable):
            holder = await self._claim_email(email_key, user.user_id, stale_id=holder, durable=durable)
        fields = {
            "email": user.email,
            "name": user.name,
            "roles": ",".join(user.roles),
            "is_active": "1" if is_active else "0",
            "created_at": str(user.created_at),
            "password_hash": password_hash,
            "password_version": "1",
        }
        if holder != user.user_id or not await self._is_there(user.user_id, fields, durable=durable):
            raise EmailTaken(f"{user.email} is there already: see `gateway users show {user.email}`")
        return user

    async def get(self, user_id: str) -> User | None:
        """Give the user with this id, or None."""
        found = await self._store.fields(self._key(user_id))
        fields = {name.decode(): value.decode() for name, value in found.items()}
        if "email" not in fields:
            return None
        return User(
            user_id=user_id,
            email=fields["email"],
            name=fields["name"],
            roles=tuple(fields["roles"].split(",")) if fields["roles"] else (),
            is_active=fields["is_active"] == "1",
            created_at=int(fields["created_at"]),
            password_hash=fields["password_hash"],
            password_version=int(fields["password_version"]),
        )

    async def find(self, email: str) -> User | None:
        """Give the user with this e-mail address, however it is spelt, or None; both take two look-ups."""
        known_as = normalise_email(email)
        user_id: bytes | None = await self._store.execute("GET", self._email_key(known_as))
        user = await self.get(user_id.decode() if user_id else NOBODY)
        if user is not None:
            self._store.check_echo(user.email.encode(), known_as)
        return user

    async def all(self) -> AsyncIterator[User]:
        """Give every user, in no order."""
        seen = set()
        async for key in self._store.scan("user:*"):
            user_id = key.rpartition("{")[2].removesuffix("}")
            if user_id not in seen and (user := await self.get(user_id)):
                seen.add(user_id)
                yield user

    async def set_active(self, user_id: str, is_active: bool) -> tuple[str, ...]:
        """Enable or disable a user; disabling gives the revocations that it makes. Raises `UnknownUser`."""
        return await self._apply(user_id, {"is_active": "1" if is_active else "0"}, end_sessions=not is_active)

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """Replace the roles; sessions take them over at their next refresh. Raises `UnknownUser`, `CommandError`."""
        unique = check_roles(roles)
        user = await self.get(user_id)
        if user is not None:
            self._check_size(user.email, user.name, unique)
        await self._apply(user_id, {"roles": ",".join(unique)})

    async def set_password(
        self, user_id: str, password_hash: str, *, expected_version: int | None = None, keep_family: str = ""
    ) -> tuple[str, ...]:
        """
        Store the hash of a new password and give the revocations that it makes: of all families, or of all but
        *keep_family*, if that lives.

        Raises:
            UnknownUser: There is no such user.
            UserChanged: The password version is not *expected_version* any more.
        """
        return await self._apply(
            user_id, {"password_hash": password_hash}, expected_version, new_password=True, end_sessions=True,
            keep_family=keep_family,
        )  # fmt: skip

    async def renew_hash(self, user_id: str, password_hash: str, expected_version: int) -> None:
        """Store another hash of the very same password. Raises `UnknownUser` and `UserChanged`."""
        await self._apply(user_id, {"password_hash": password_hash}, expected_version, durable=False)

    async def remove(self, user_id: str, email: str) -> tuple[str, ...]:
        """
        Delete a user, second factors, personal tokens and all, whose sessions have been ended and announced (by
        `set_active`), and give the revocations that are left to make: of who has logged in since, if somebody has
        enabled the user meanwhile.
        """
        kinds = ("user", "families", "factors", "tokens")
        reply = await self._store.run(
            self._remove,
            [self._store.key(f"{kind}:{{{user_id}}}") for kind in kinds],
            durable=True,
            is_followed=True,  # by the release of the address
        )
        await self._store.run(self._release, [self._email_key(email)], user_id, durable=True)
        return tuple(revocation.decode() for revocation in reply)

    async def _apply(
        self,
        user_id: str,
        fields: dict[str, str],
        expected_version: int | None = None,
        *,
        new_password: bool = False,
        end_sessions: bool = False,
        keep_family: str = "",
        durable: bool = True,
    ) -> tuple[str, ...]:
        reply = await self._store.run(
            self._change,
            [self._key(user_id), self._store.key(f"families:{{{user_id}}}")],
            "" if expected_version is None else expected_version,
            "new-password" if new_password else "",
            "end-sessions" if end_sessions else "",
            keep_family,
            *(word for pair in fields.items() for word in pair),
            durable=durable,
            is_followed=end_sessions,  # by the announcement
        )
        if reply[0] == b"unknown":
            raise UnknownUser(f"there is no user {user_id}")
        if reply[0] == b"conflict":
            raise UserChanged(f"the password of {user_id} was changed in the meantime: try again")
        return tuple(revocation.decode() for revocation in reply[1:])

    async def _is_there(self, user_id: str, fields: dict[str, str], *, durable: bool) -> bool:
        """Write a user, or without *fields* settle that one who is not there never will be."""
        words = (word for pair in fields.items() for word in pair)
        outcome: bytes = await self._store.run(
            self._create, [self._key(user_id)], REFUSAL_KEPT_SECONDS, *words, durable=durable
        )
        return outcome == b"there"

    async def _claim_email(self, email_key: str, user_id: str, stale_id: str, *, durable: bool) -> str:
        holder: bytes = await self._store.run(self._claim, [email_key], user_id, stale_id, durable=durable)
        return holder.decode()

    def _key(self, user_id: str) -> str:
        return self._store.key(f"user:{{{user_id}}}")

    def _email_key(self, email: str) -> str:
        return self._store.key("email:" + hashlib.sha256(email.encode("utf-8", "surrogatepass")).hexdigest())
