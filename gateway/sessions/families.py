"""
Refresh-token families: one family is one session, and one Lua script decides everything about it.

A refresh token is a MAC'd (user id, family id, generation). Nothing in Redis is a bearer secret, a forgery is
refused without asking Redis, and a lost write heals, because a good MAC proves that the generation was issued.

One file: token, record and verdicts are one protocol with the scripts beside it.
"""

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import InvalidCredentials, RefreshTokenInvalid, RefreshTokenReused, StoreUnavailable
from gateway.opaque import format_opaque, parse_opaque
from gateway.sessions.browser import SessionCookie
from gateway.sessions.login_methods import BY_PASSWORD, pack_methods, unpack_methods, was_recovery
from gateway.store import Script, Store

KEPT_SECONDS = 30
MAX_DEVICE_BYTES = 22


def new_family_id() -> str:
    """Give 128 random bits as 22 base64url characters: the `sid` of a session that is in no status list."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class RefreshToken:
    """
    What a refresh token says.

    The wire form is that of `gateway.opaque`, with the generation as the number.
    """

    user_id: str
    family_id: str
    generation: int

    def format(self, keys: DerivedKeys) -> str:
        """Give the wire form, MAC'd with the key in *keys*."""
        return format_opaque(self.user_id, self.family_id, self.generation, keys.refresh_token_mac)

    @classmethod
    def parse(cls, text: str, keychain: KeyChain) -> "RefreshToken":
        """
        Read the wire form and check its MAC, under the current secret or a previous one. No I/O.

        Raises:
            RefreshTokenInvalid: Not a token of ours, or spelt in another way than it was issued.
        """
        said = parse_opaque(text, (keys.refresh_token_mac for keys in keychain))
        if said is None:
            raise RefreshTokenInvalid("forged")
        return cls(*said)


@dataclass(frozen=True)
class Opened:
    """
    A new family. Times are Redis's, in whole seconds since the epoch.

    `unannounced` is as in `mark`; the families of it that gave way to this one are in `gave_way`.
    """

    refresh_token: str
    family_id: str
    auth_time: int
    max_age_seconds: int
    unannounced: tuple[str, ...]
    gave_way: tuple[str, ...]


@dataclass(frozen=True)
class Rotation:
    """
    A presented token's successor, and what minting an access token needs: the user as stored now.

    `outcome` is `rotated`, `kept`, `replayed` or `healed`; `max_age_seconds` is how long the session can still live
    unused; `auth_time` is the time of the login, in seconds since the epoch, `amr` how it was made (RFC 8176);
    `unannounced` is as in `mark`.
    """

    outcome: str
    refresh_token: str
    user_id: str
    family_id: str
    auth_time: int
    max_age_seconds: int
    email: str
    name: str
    roles: tuple[str, ...]
    unannounced: tuple[str, ...]
    amr: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """
    A living family as its user sees it in a list. Times in whole seconds since the epoch.

    `amr` tells how the login was made (RFC 8176), `by_recovery_code` whether its code was one of those.
    """

    family_id: str
    created_at: int
    last_used_at: int
    expires_at: int
    address: str
    device: str
    amr: tuple[str, ...]
    by_recovery_code: bool


class RefreshFamilies:
    """
    All families, in Redis, on Redis's clock.

    Args:
        idle_ttl_seconds: A family unused for so long is over.
        absolute_ttl_seconds: A family is over so long after its login, used or not.
        replay_window_seconds: How long a lost answer can be asked for again; 0 for never.
        max_per_user: The least recently used family gives way to one more.
        new_nonce: Gives the random number, 1 to 2^32 - 1, by which a rotation knows its own command again.
    """

    def __init__(
        self,
        store: Store,
        keychain: KeyChain,
        *,
        idle_ttl_seconds: int,
        absolute_ttl_seconds: int,
        replay_window_seconds: int,
        max_per_user: int,
        new_nonce: Callable[[], int] = lambda: 1 + secrets.randbelow(2**32 - 1),
    ) -> None:
        self._store = store
        self._keychain = keychain
        self._idle_ttl_seconds = idle_ttl_seconds
        self._absolute_ttl_seconds = absolute_ttl_seconds
        self._replay_window_seconds = replay_window_seconds
        self._max_per_user = max_per_user
        self._new_nonce = new_nonce
        self._open = Script.load(__package__, "family_open")
        self._rotate = Script.load(__package__, "family_rotate")
        self._list = Script.load(__package__, "family_list")
        self._mark = Script.load(__package__, "family_mark")
        self._revoke = Script.load(__package__, "family_revoke")

    def parse(self, text: str) -> RefreshToken:
        """Read a refresh token; see `RefreshToken.parse`."""
        return RefreshToken.parse(text, self._keychain)

    def cookie_of(self, user_id: str, opened: Opened) -> str:
        """Give the cookie of a browser session that has just been opened."""
        return SessionCookie(user_id, opened.family_id, opened.auth_time).format(self._keychain.current)

    async def open(
        self,
        user_id: str,
        password_version: int,
        family_id: str,
        address: str,
        device: str,
        *,
        most_seconds: int | None = None,
        amr: tuple[str, ...] = BY_PASSWORD,
        by_recovery_code: bool = False,
        factor_id: str = "",
    ) -> Opened:
        """
        Open a family for a user who has just proved who he is, with password, second factor, or both.

        Args:
            password_version: Of the hash that the password was compared with.
            family_id: From `new_family_id`.
            address: Where the login came from, as text; kept for the user's own list.
            device: A short label; cut to 22 bytes.
            most_seconds: How long it may live at most, where that is less than all others.
            amr: How the login was made (RFC 8176); it stays with the family.
            by_recovery_code: Whether its code was a recovery code.
            factor_id: The second factor that was proved. Is it gone by now, no family is opened: so none outlives a
                reset of the factors that came between.

        Returns:
            The first refresh token, and the families that gave way and must be ended.

        Raises:
            InvalidCredentials: The user is disabled, gone, or has another password, or not this factor, by now.
            StoreUnavailable: Redis did not answer, or the family was ended before it did.
        """
        reply = await self._store.run(
            self._open,
            (*self._keys(user_id), self._store.key(f"factors:{{{user_id}}}")),
            family_id,
            password_version,
            self._idle_ttl_seconds,
            min(self._absolute_ttl_seconds, most_seconds or self._absolute_ttl_seconds),
            self._max_per_user,
            _pack_tail(address, device),
            self._new_nonce(),
            pack_methods(amr, by_recovery_code=by_recovery_code),
            factor_id,
        )
        if reply[0] == b"ended":
            raise StoreUnavailable("ended")
        if reply[0] != b"opened":
            raise InvalidCredentials("user-changed")
        self._store.check_echo(reply[1], family_id)
        now_ms, created_ms, end_ms, count = reply[2:6]
        return Opened(
            refresh_token=RefreshToken(user_id, family_id, 0).format(self._keychain.current),
            family_id=family_id,
            auth_time=created_ms // 1000,
            max_age_seconds=(end_ms - now_ms) // 1000,
            unannounced=_texts(reply[6:]),
            gave_way=_texts(reply[6 : 6 + count]),
        )

    async def rotate(self, presented: RefreshToken, *, is_cookie: bool = False) -> Rotation:
        """
        Exchange *presented* for the next generation of its family, atomically.

        The parent of the current generation gets the same successor again for `replay_window_seconds` after its
        rotation; any other superseded generation ends the whole family (RFC 9700 section 4.14.2). A generation
        that Redis does not know yet was lost with a write, and is taken as the current one.

        Args:
            presented: Parsed token; its MAC has been checked, its generation has not.
            is_cookie: Whether it came out of a cookie jar, which several tabs share: then the current generation is
                given again for `KEPT_SECONDS` after the rotation that made it, unless there is no replay window.

        Raises:
            RefreshTokenInvalid: No such family, its time is over, or its user is disabled or gone.
            RefreshTokenReused: A superseded generation; the family is marked as ended by this very call.
            StoreUnavailable: Redis did not answer; the caller may present the same token again.

        Does not announce a revocation to other gateways: the families named in the errors wait for that.
        """
        reply = await self._store.run(
            self._rotate,
            self._keys(presented.user_id),
            presented.family_id,
            presented.generation,
            self._idle_ttl_seconds,
            self._replay_window_seconds,
            self._new_nonce(),
            KEPT_SECONDS if is_cookie and self._replay_window_seconds else 0,
        )
        outcome = reply[0].decode()
        self._store.check_echo(reply[1], presented.family_id)
        if outcome == "reused":
            raise RefreshTokenReused(presented.user_id, presented.family_id)
        if outcome in ("revoked", "user_disabled"):
            raise RefreshTokenInvalid(outcome, unannounced=(presented.family_id,))
        if outcome in ("unknown", "expired"):
            raise RefreshTokenInvalid(outcome)
        generation, now_ms, created_ms, end_ms = reply[2:6]
        email, name, roles, cut_off = _texts(reply[6:10])
        successor = RefreshToken(presented.user_id, presented.family_id, generation)
        return Rotation(
            outcome=outcome,
            refresh_token=successor.format(self._keychain.current),
            user_id=presented.user_id,
            family_id=presented.family_id,
            auth_time=created_ms // 1000,
            max_age_seconds=(end_ms - now_ms) // 1000,
            email=email,
            name=name,
            roles=tuple(roles.split(",")) if roles else (),
            unannounced=(cut_off,) if cut_off else (),
            amr=unpack_methods(reply[10]),
        )

    async def list(self, user_id: str) -> list[Family]:
        """Give the living families of a user, newest first."""
        reply: list[Any] = await self._store.run(self._list, self._keys(user_id)[:1], self._idle_ttl_seconds)
        rows = [reply[start : start + 6] for start in range(0, len(reply), 6)]
        families = [
            Family(
                *(row[0].decode(), row[1] // 1000, row[2] // 1000, row[3] // 1000),
                *_unpack_tail(row[4]),
                amr=unpack_methods(row[5]),
                by_recovery_code=was_recovery(row[5]),
            )
            for row in sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)
        ]
        return families

    async def mark(self, user_id: str, family_ids: tuple[str, ...]) -> tuple[str, ...]:
        """
        Mark families as ended: from here on they never work again, whatever becomes of the rest. Works at `maxmemory`.

        Returns:
            What is to be announced and then revoked, see `gateway.sessions.revocations`: those of the families that are
            there, marked before or now, and the cut-off of the user where that has not been announced yet.
        """
        return (await self._mark_some(user_id, "", family_ids))[1]

    async def mark_all(self, user_id: str) -> tuple[int, tuple[str, ...]]:
        """Mark all families of a user likewise, and cut off those that Redis has lost; give how many lived, too."""
        return await self._mark_some(user_id, "all", ())

    async def _mark_some(self, user_id: str, which: str, family_ids: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        nonce = self._new_nonce()
        living, *revocations = await self._store.run(
            self._mark,
            self._keys(user_id),
            which,
            self._idle_ttl_seconds,
            nonce,
            *family_ids,
            durable=True,
            is_followed=True,  # by the announcement
        )
        return living, _texts(revocations)

    async def exists(self, user_id: str, family_id: str) -> bool:
        """Tell whether Redis has this family, alive or as a mark."""
        return bool(await self._store.execute("HEXISTS", self._keys(user_id)[0], family_id))

    async def revoke(self, user_id: str, announced: tuple[str, ...]) -> int:
        """
        Delete families whose revocation has been announced, and give how many there were. Works at `maxmemory`.

        Nobody waits for a confirmation: where the deletion is lost the mark is not.
        """
        if not announced:
            return 0
        count: int = await self._store.run(self._revoke, self._keys(user_id), self._idle_ttl_seconds, *announced)
        return count

    def _keys(self, user_id: str) -> tuple[str, str]:
        return self._store.key(f"families:{{{user_id}}}"), self._store.key(f"user:{{{user_id}}}")


def _pack_tail(address: str, device: str) -> bytes:
    try:
        octets = ipaddress.ip_address(address).packed
    except ValueError:
        octets = b""
    label = device.encode("ascii", "replace")[:MAX_DEVICE_BYTES]
    return bytes([len(octets)]) + octets + label


def _unpack_tail(tail: bytes) -> tuple[str, str]:
    octets, label = tail[1 : 1 + tail[0]], tail[1 + tail[0] :]
    return (str(ipaddress.ip_address(octets)) if octets else ""), label.decode("ascii")


def _texts(words: list[bytes]) -> tuple[str, ...]:
    return tuple(word.decode() for word in words)
