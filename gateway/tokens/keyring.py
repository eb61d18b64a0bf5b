"""
The signing keys: next, current and retiring, sealed in Redis and shared by all gateways.

The keyring is one document with a version, replaced by compare-and-set. Each key in it is sealed with AES-256-GCM
under a key derived from `secret`; the seal also covers everything that the document says of the key, so that
nobody who can write to Redis can add a key, or make one sign early. The newest document stays in memory without
a time limit, and is put back when Redis has lost it or holds an older one.

Beside it lie the names of the keys that were dropped as compromised, sealed too: a keyring from an old backup has these
keys again, and nobody but that list knows better when no gateway is alive to remember. It has the slot of the keyring,
so that both change in one step, and survives when the keyring alone is put back.

One file: every change of the document goes through the same two methods.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.derived_keys import KeyChain
from gateway.errors import CommandError, StartupError, StoreUnavailable
from gateway.store import Script, Store
from gateway.tokens.sealing import Seals
from gateway.tokens.signing_keys import Keys, PrivateKey, SigningKey, can_sign_with, generate_private_key
from gateway.verifier.errors import UnusableKey
from gateway.verifier.keys import thumbprint

PUBLISHED_BEFORE_SIGNING_SECONDS = 24 * 3600
KEPT_AFTER_SIGNING_SECONDS = 3600
KNOWN_EVERYWHERE_SECONDS = 5
POLL_SECONDS = 1.0
POLL_UNTIL_OPEN_SECONDS = 0.5
MAX_DROPPED_KEYS = 256
SECONDS_PER_DAY = 86_400


logger = logging.getLogger("gateway.keyring")


class Keyring:
    """
    The keyring of one process.

    Args:
        algorithm: Of keys made from now on: RS256, PS256, ES256, Ed25519 or EdDSA.
        rsa_key_bits: Size of RSA keys made from now on.
        access_token_ttl_seconds: How long a token signed now can be good.
        rotation_days: Age at which the current key gives way; 0 for never by itself.
        monotonic: Seconds that never go back, to tell Redis's time between two readings.
        tell: Hears that this process made another key sign by itself: why, `first` or `due`, and the key's `kid`.
    """

    def __init__(
        self,
        store: Store,
        keychain: KeyChain,
        *,
        algorithm: str,
        rsa_key_bits: int,
        access_token_ttl_seconds: int,
        rotation_days: int,
        monotonic: Callable[[], float] = time.monotonic,
        tell: Callable[[str, str], None] = lambda reason, kid: None,
    ) -> None:
        self._store = store
        self._tell = tell
        self._keychain, self._seals = keychain, Seals(keychain)
        self._algorithm = algorithm
        self._rsa_key_bits = rsa_key_bits
        self._access_token_ttl_seconds = access_token_ttl_seconds
        self._rotation_days = rotation_days
        self._swap = Script.load(__package__, "keyring_swap")
        self._monotonic = monotonic
        self._redis_time, self._redis_time_read_at = 0, 0.0
        self._seen: tuple[bytes, bytes] = b"", b""
        self._read_dropped = b""
        self._dropped: dict[str, int] = {}
        self._redis_keys = [store.key("keyring"), store.key(f"{{{store.key('keyring')}}}:dropped")]
        self._keys: Keys | None = None

    @property
    def keys(self) -> Keys:
        """
        Give the newest keys known.

        Raises:
            StoreUnavailable: This process has never seen the keyring.
        """
        if self._keys is None:
            raise StoreUnavailable("keyring-unread")
        return self._keys

    @property
    def signing_key(self) -> SigningKey:
        """
        Give the key to sign with: the current one, but the one before it while others may not publish that yet.

        Only a forced rotation comes to that; a key that was dropped as compromised is never given again.

        Raises:
            StoreUnavailable: This process has never seen the keyring.
        """
        now = self._now
        needed_until = now + self._access_token_ttl_seconds
        # The newest come first in the document.
        usable = [
            key
            for key in self.keys.keys
            if key.state == "current" or (key.state == "retiring" and key.leaves_at > needed_until)
        ]
        known_everywhere = [key for key in usable if key.published_at + KNOWN_EVERYWHERE_SECONDS <= now]
        return known_everywhere[0] if known_everywhere else usable[-1]

    @property
    def signing_key_age_seconds(self) -> int | None:
        """Give for how long the current key has been that; None where there is none yet."""
        return self._now - self._keys.current.signs_since if self._keys else None

    @property
    def next_is_ready(self) -> bool | None:
        """Tell whether the next key is public for as long as it has to be before it signs; None without keys."""
        if self._keys is None:
            return None
        following = self._keys.next
        return following is not None and self._now >= following.published_at + PUBLISHED_BEFORE_SIGNING_SECONDS

    @property
    def _now(self) -> int:
        """Redis's time, as far as it was read."""
        return self._redis_time + int(self._monotonic() - self._redis_time_read_at)

    @property
    def is_open(self) -> bool:
        """Tell whether there are keys to sign and verify with."""
        return self._keys is not None

    async def open(self) -> Keys:
        """
        Read the keyring, or make the first one. Of several gateways that start at once one makes it.

        Raises:
            StartupError: It was sealed under another secret, or was tampered with.
            StoreUnavailable: Redis does not serve.
        """
        now = await self._refresh()
        while self._keys is None:
            making = (self._new_key(published_at=now, signs_since=now), self._new_key(published_at=now))
            first = await asyncio.gather(*making)  # a core each, where there are two: it is most of a first start
            if await self._replace(0, tuple(first)):
                self._tell("first", first[0].kid)
            else:
                now = await self._refresh()
        if self._keys.sealed_with != {self._keychain.current.key_id}:
            await self._replace(self._keys.version, self._keys.keys)
        return self._keys

    async def follow(self) -> None:
        """Take over what other gateways change, and rotate when it is time, until cancelled."""
        while True:
            try:
                if self._keys is None:
                    await self.open()
                await self._rotate_when_due(await self._refresh())
            except StoreUnavailable:
                pass
            except StartupError as error:
                logger.error("the keyring in Redis cannot be used", extra={"fields": {"cause": str(error)}})
            await asyncio.sleep(POLL_SECONDS if self.is_open else POLL_UNTIL_OPEN_SECONDS)

    async def rotate(self, *, force: bool = False, compromised: bool = False) -> Keys:
        """
        Make the next key the current one and publish a new next one.

        Args:
            force: Even if the next key is younger than 24 h, so that some clients do not know it yet.
            compromised: Drop current and next at once, and for good; a new key signs without having been published
                before.

        Raises:
            CommandError: The next key is too young, or another gateway changed the keyring at the same time.
        """
        await self.open()
        now = await self._refresh()
        keys, dropping = self.keys, dict[str, int]()
        if compromised:
            dropping = {key.kid: now for key in keys.keys if key.state != "retiring"}
            staying = tuple(key for key in keys.keys if key.state == "retiring")
            fresh = await self._new_key(published_at=now, signs_since=now)
        else:
            if keys.next is None:
                raise CommandError("there is no next key: run `gateway serve` once, or import one")
            age_seconds = now - keys.next.published_at
            if age_seconds < PUBLISHED_BEFORE_SIGNING_SECONDS and not force:
                raise CommandError(
                    f"the next key is public for {age_seconds // 60} minutes only, and clients may not know it until "
                    "it has been for 24 hours: wait, or take --force"
                )
            fresh = replace(keys.next, signs_since=now)
            signs_until = now + KNOWN_EVERYWHERE_SECONDS
            leaves_at = signs_until + self._access_token_ttl_seconds + KEPT_AFTER_SIGNING_SECONDS
            staying = tuple(
                replace(key, leaves_at=leaves_at) if key.state == "current" else key
                for key in keys.keys
                if key.state != "next"
            )
        new_keys = (fresh, await self._new_key(published_at=now), *staying)
        if not await self._replace(keys.version, new_keys, dropping=dropping):
            raise CommandError("another gateway changed the keyring at the same moment: look at `gateway keys list`")
        return self.keys

    async def add(self, private_key: PrivateKey) -> Keys:
        """
        Bring in a key of the operator's: it signs at once on an empty keyring, else it becomes the next key.

        Raises:
            CommandError: It cannot sign with the configured algorithm, the keyring has it already, or it was dropped
                as compromised.
        """
        if not can_sign_with(private_key, self._algorithm):
            raise CommandError(f"this key cannot sign with {self._algorithm} (RSA keys need 2048 bits or more)")
        now = await self._refresh()
        key = self._adopt(private_key, published_at=now, signs_since=0 if self._keys else now)
        try:
            public = key.verification_key
        except UnusableKey as error:
            raise CommandError(f"this key cannot sign here: {error}") from error
        if public.kid in self._dropped:
            raise CommandError(f"this key was dropped as compromised and never signs again: {public.kid}")
        if self._keys is None:
            replaced = await self._replace(0, (key, await self._new_key(published_at=now)))
        else:
            if public.kid in self._keys.verification:
                raise CommandError(f"the keyring has this key already: {public.kid}")
            staying = tuple(other for other in self._keys.keys if other.state != "next")
            replaced = await self._replace(self._keys.version, (key, *staying))
        if not replaced:
            raise CommandError("another gateway changed the keyring at the same moment: try again")
        return self.keys

    async def _rotate_when_due(self, now: int) -> None:
        keys = self.keys
        leaving = [key for key in keys.keys if key.leaves_at and key.leaves_at <= now]
        aged = self._rotation_days and now >= keys.current.signs_since + self._rotation_days * SECONDS_PER_DAY
        if aged and keys.next and now >= keys.next.published_at + PUBLISHED_BEFORE_SIGNING_SECONDS:
            try:
                await self.rotate()
            except CommandError as error:
                logger.info("rotation left to another gateway", extra={"fields": {"cause": str(error)}})
            else:
                self._tell("due", self.keys.current.kid)
        elif leaving:
            await self._replace(keys.version, tuple(key for key in keys.keys if key not in leaving))

    async def _refresh(self) -> int:
        """
        Take over what is in Redis, or put there what this process knows better; give Redis's time.

        Better known are a newer keyring, and names of dropped keys: what is known of these is the sum of what Redis
        says and what this process has ever seen.
        """
        _, document, sealed_dropped, now = await self._store.run(self._swap, self._redis_keys, -1, b"", b"", b"")
        self._read_dropped = sealed_dropped
        self._redis_time, self._redis_time_read_at = int(now), self._monotonic()
        if document and (document, sealed_dropped) == self._seen:
            return int(now)
        are_known_there = self._learn_dropped(sealed_dropped)
        found = self._seals.unseal_keys(document) if document else None
        version = found.version if found else 0
        newest = self._keys if self._keys and version < self._keys.version else found
        if newest is None:
            return int(now)
        keys = await self._without_dropped(newest.keys, int(now))
        if newest is not found:
            logger.error("Redis holds an older keyring; the newer one is put back")
        if keys != newest.keys:
            logger.error("the keyring in Redis had compromised keys again; they stay dropped")
        if newest is found and keys == newest.keys and are_known_there:
            self._keys, self._seen = newest, (document, sealed_dropped)
        else:
            await self._replace(version, keys, at_least=newest.version)
        return int(now)

    async def _replace(
        self,
        version: int,
        keys: tuple[SigningKey, ...],
        at_least: int = 0,
        dropping: Mapping[str, int] = {},
    ) -> bool:
        document = self._seals.seal_keys(max(version, at_least) + 1, keys)
        sealed_dropped = self._seals.seal_names(_newest({**self._dropped, **dropping}))
        _, there, dropped_there, _ = await self._store.run(
            self._swap, self._redis_keys, version, document, sealed_dropped, self._read_dropped, durable=True
        )
        self._read_dropped = dropped_there
        if not there:
            return False
        found = self._seals.unseal_keys(there)
        are_known_there = self._learn_dropped(dropped_there)
        is_clean = not any(key.kid in self._dropped for key in found.keys)
        if is_clean and (self._keys is None or found.version >= self._keys.version):
            # Who was faster may know less than we do: then the next look tells it.
            self._keys, self._seen = found, (there, dropped_there) if are_known_there else (b"", b"")
        # Ours is there too when our own command was sent again after its answer was lost on the way.
        return bool(there == document)

    async def _without_dropped(self, keys: tuple[SigningKey, ...], now: int) -> tuple[SigningKey, ...]:
        """Give *keys* without those that were dropped, and with new ones in the place of current and next."""
        staying = [key for key in keys if key.kid not in self._dropped]
        if len(staying) == len(keys):
            return keys
        current = [key for key in staying if key.state == "current"]
        following = [key for key in staying if key.state == "next"]
        return (
            *(current or [await self._new_key(published_at=now, signs_since=now)]),
            *(following or [await self._new_key(published_at=now)]),
            *(key for key in staying if key.state == "retiring"),
        )

    def _learn_dropped(self, sealed: bytes) -> bool:
        """Add what *sealed* names to the dropped keys; tell whether it names all, and under the current secret."""
        if not sealed:
            return not self._dropped
        names, sealed_with = self._seals.unseal_names(sealed, self._redis_keys[1])
        self._dropped = _newest({**self._dropped, **names})
        return names == self._dropped and sealed_with == self._keychain.current.key_id

    async def _new_key(self, published_at: int, signs_since: int = 0) -> SigningKey:
        private_key = await asyncio.to_thread(generate_private_key, self._algorithm, self._rsa_key_bits)
        return self._adopt(private_key, published_at, signs_since)

    def _adopt(self, private_key: PrivateKey, published_at: int, signs_since: int) -> SigningKey:
        kid = thumbprint(private_key.public_key())
        return SigningKey(kid, self._algorithm, private_key, published_at, signs_since)


def _newest(dropped: Mapping[str, int]) -> dict[str, int]:
    """Give those that were dropped last, in an order that is the same for all who know the same."""
    in_order = sorted(dropped.items(), key=lambda entry: (entry[1], entry[0]))
    return dict(in_order[-MAX_DROPPED_KEYS:])
