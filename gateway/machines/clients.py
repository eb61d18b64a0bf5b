"""
Machine clients: services that get access tokens for themselves, each a hash in Redis.

What a client shows is a secret, of which Redis has a MAC, or an assertion signed by a key, of which Redis has the
public half. A secret is changed while the one before still works. A client that is removed is marked first, so that
what was issued to it can be announced as revoked before its record is gone.

One file, since all of it is about the one hash; a method is a few lines each.
"""

import hashlib
import math
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from gateway.clock import Clock
from gateway.derived_keys import KeyChain
from gateway.errors import CommandError, InvalidClient, StoreUnavailable
from gateway.machines.assertions import judge_assertion, read_assertion
from gateway.machines.client_record import Client, client_of, cut_off_of
from gateway.machines.client_secrets import match_secret, new_client_secret, stored_secret
from gateway.store import Script, Store

ID_PREFIX = "cli_"
NO_CLIENT = ID_PREFIX + "0" * 22
CLOCK_MARGIN_SECONDS = 60
_CLIENT_ID = re.compile(r"\Acli_[A-Za-z0-9_-]{22}\Z")
_SECRETS = ("secret", "previous_secret")


class UnknownClient(CommandError):
    """There is no such client."""


class ClientChanged(CommandError):
    """The client was changed by somebody else in the meantime."""


def new_client_id() -> str:
    """Give `cli_` and 128 random bits as 22 base64url characters."""
    return ID_PREFIX + secrets.token_urlsafe(16)


def _new_version() -> str:
    return secrets.token_hex(8)


class Clients:
    """
    All clients.

    Args:
        clock: Seconds since the epoch, for what is told of a client alone.
        new_nonce: Gives the random text by which a request knows its own taking of a `jti` again.
    """

    def __init__(
        self,
        store: Store,
        keychain: KeyChain,
        clock: Clock,
        *,
        new_id: Callable[[], str] = new_client_id,
        new_nonce: Callable[[], str] = _new_version,
    ) -> None:
        self._store = store
        self._keychain = keychain
        self._clock = clock
        self._new_id = new_id
        self._new_nonce = new_nonce
        self._change = Script.load(__package__, "client_change")
        self._mark = Script.load(__package__, "client_mark")
        self._take_jti = Script.load(__package__, "jti_take")

    async def add(
        self, name: str, roles: tuple[str, ...], audiences: tuple[str, ...], jwks: str = ""
    ) -> tuple[Client, str]:
        """
        Add a client, and give it with its secret, which is told nowhere else; an empty one where it has keys.

        Args:
            name, roles: As `gateway.accounts.check_name` and `check_roles` let them through.
            audiences: One or more; the first is the one of tokens for which none is asked for.
            jwks: Of `read_client_keys`.
        """
        client_id, secret = self._new_id(), "" if jwks else new_client_secret()
        fields = {
            "name": name,
            "roles": ",".join(roles),
            "audiences": "\n".join(audiences),
            "created_at": str(self._clock()),
            "secret": stored_secret(secret, client_id, self._keychain.current) if secret else "",
            "keys": jwks,
            "version": _new_version(),
        }
        words = (word for pair in fields.items() for word in pair)
        await self._store.execute("HSET", self._key(client_id), *words, durable=True)
        return client_of(client_id, fields), secret

    async def get(self, client_id: str) -> Client | None:
        """Give the client with this id, or None; one whose removal was begun, too."""
        is_one = _CLIENT_ID.match(client_id)
        found = await self._store.fields(self._key(client_id if is_one else NO_CLIENT))
        fields = {name.decode(): value.decode() for name, value in found.items()}
        return client_of(client_id, fields) if is_one and "name" in fields else None

    async def all(self) -> AsyncIterator[Client]:
        """Give every client, in no order."""
        seen = set()
        async for key in self._store.scan("client:*"):
            client_id = key.rpartition("{")[2].removesuffix("}")
            if client_id not in seen and (client := await self.get(client_id)):
                seen.add(client_id)
                yield client

    async def by_secret(self, client_id: str, secret: str) -> Client:
        """
        Give the client that has this secret. An unknown client takes as long as a wrong secret.

        A secret that is stored under an earlier `secret` of the settings is stored anew.

        Raises:
            InvalidClient: It has not, or there is no such client.
        """
        client = await self.get(client_id)
        match = match_secret(secret, client_id, client.stored_secrets if client else ("", ""), self._keychain)
        _refuse_removed(client)
        if client is None or match is None:
            raise InvalidClient("unknown-client" if client is None else "wrong-secret")
        if match.renewed != client.stored_secrets[match.place]:
            with suppress(StoreUnavailable, CommandError):  # another time
                await self._apply(client, {_SECRETS[match.place]: match.renewed}, durable=False)
        return client

    async def by_assertion(self, text: str, *, issuer: str, now: int) -> Client:
        """
        Give the client that has signed this assertion, and use it up: of several requests with one `jti` one succeeds.

        Args:
            issuer: The only `aud`.
            now: Seconds since the epoch.

        Raises:
            InvalidClient: It is not good (`gateway.machines.assertions`), was used before, or there is no such client.
            StoreUnavailable: It may be used up.
        """
        assertion = read_assertion(text)
        client = await self.get(assertion.client_id)
        _refuse_removed(client)
        if client is None:
            raise InvalidClient("unknown-client")
        judge_assertion(assertion, client.keys, issuer=issuer, now=now)
        # Another gateway's clock may be behind ours, and take it for good after that.
        ttl_seconds = math.ceil(assertion.exp) - now + CLOCK_MARGIN_SECONDS
        used = hashlib.sha256(f"{client.client_id}\n{assertion.jti}".encode("utf-8", "surrogatepass")).hexdigest()
        if not await self._store.run(
            self._take_jti, [self._store.key(f"jti:{used}")], self._new_nonce(), ttl_seconds, durable=True
        ):
            raise InvalidClient("assertion-used", "client_assertion was used before: sign a new one with another jti")
        return client

    async def renew_secret(self, client_id: str) -> str:
        """
        Give the client a second secret; the one before stays good, and one before that does not.

        Raises:
            UnknownClient: There is no such client.
            ClientChanged: Somebody else was quicker.
            CommandError: It shows that it has a key, and needs no secret.
        """
        client = await self._found(client_id)
        if client.jwks:
            raise CommandError(f"{client_id} has public keys and no secret: see `gateway clients set-key`")
        secret = new_client_secret()
        stored = stored_secret(secret, client_id, self._keychain.current)
        await self._apply(client, dict(zip(_SECRETS, (stored, client.stored_secrets[0]), strict=True)))
        return secret

    async def end_old_secret(self, client_id: str) -> bool:
        """Let the secret before the newest be good no longer, and tell whether there was one. Raises as above."""
        client = await self._found(client_id)
        if not client.stored_secrets[1]:
            return False
        await self._apply(client, {"previous_secret": ""})
        return True

    async def set_keys(self, client_id: str, jwks: str) -> None:
        """
        Let these public keys take the place of all that were there.

        Raises:
            UnknownClient, ClientChanged: As above.
            CommandError: It has a secret.
        """
        client = await self._found(client_id)
        if not client.jwks:
            raise CommandError(f"{client_id} has a secret and no keys: add another client with --public-key")
        await self._apply(client, {"keys": jwks})

    async def mark(self, client_id: str) -> str:
        """
        Begin to remove a client: it authenticates no longer. Works when Redis is at maxmemory.

        Returns:
            The revocation of all that was issued to it, for `Revocations.announce`; the caller is to announce it, and
            then to `delete`. Again, as long as it was not deleted.

        Raises:
            UnknownClient: There is none, or none any more.
        """
        known = _CLIENT_ID.match(client_id)
        second = await self._store.run(self._mark, [self._key(client_id)], durable=True) if known else None
        if second is None:
            raise _unknown(client_id)
        return cut_off_of(client_id, second.decode())

    async def delete(self, client_id: str) -> None:
        """Delete a client that was marked, and whose revocation was announced."""
        await self._store.execute("DEL", self._key(client_id), durable=True)

    async def _found(self, client_id: str) -> Client:
        client = await self.get(client_id)
        if client is None or client.cut_off:
            raise _unknown(client_id)
        return client

    async def _apply(self, client: Client, fields: dict[str, str], *, durable: bool = True) -> None:
        words = (word for pair in fields.items() for word in pair)
        outcome: bytes = await self._store.run(
            self._change, [self._key(client.client_id)], client.version, _new_version(), *words, durable=durable
        )
        if outcome == b"unknown":
            raise _unknown(client.client_id)
        if outcome == b"conflict":
            raise ClientChanged(f"{client.client_id} was changed in the meantime: try again")

    def _key(self, client_id: str) -> str:
        return self._store.key(f"client:{{{client_id}}}")


def _unknown(client_id: str) -> UnknownClient:
    return UnknownClient(f"there is no client {client_id}: see `gateway clients list`")


def _refuse_removed(client: Client | None) -> None:
    if client is not None and client.cut_off:
        raise InvalidClient("client-removed", unfinished=(client.client_id, client.cut_off))
