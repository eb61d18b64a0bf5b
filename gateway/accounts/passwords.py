"""
Passwords: hashed and compared off the event loop, on threads of their own, at the same cost for everybody.

Ours are `p1$<pepper id>$<bcrypt>` with bcrypt(base64(HMAC-SHA-384(pepper, NFC(password)))): the whole password
counts, and a dump of Redis does not confirm one without `secret` (OWASP Password Storage Cheat Sheet). Those of other
programs (`gateway.accounts.foreign_hashes`) are understood and renewed at the next login.

One file: what is hashed, at what cost, and who waits for whom decide each other.
"""

import asyncio
import base64
import hmac
import logging
import math
import random
import re
import secrets
import string
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import bcrypt

from gateway.accounts.foreign_hashes import BcryptHash, ForeignHash, UnusableHash, read_foreign_hash
from gateway.accounts.password_rules import MAX_PASSWORD_BYTES
from gateway.accounts.polite_threads import PoliteThreads
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import InvalidCredentials, Overloaded

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
GENERATED_PASSWORD_CHARACTERS = 24
LONGEST_WAIT_SECONDS = 2.0
RETRY_AFTER_SECONDS = (2, 8)
SPREAD_SECONDS = 2
CHEAPEST_COST = 4
R = TypeVar("R")
_PEPPERED = re.compile(
    r"\Ap1\$([A-Za-z0-9_-]{8})\$(\$2b\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31})\Z"
)

logger = logging.getLogger("gateway.passwords")


def generate_password() -> str:
    """Give a random password of 142 bits: 24 letters and digits, so that a double click takes all of it."""
    return "".join(secrets.choice(LETTERS_AND_DIGITS) for _ in range(GENERATED_PASSWORD_CHARACTERS))


class Passwords:
    """
    Hashes and compares passwords.

    Args:
        cost: bcrypt's cost, the base-2 logarithm of its rounds.
        threads: How many hashes may run at once.
        monotonic: Seconds that never go back, to learn how long a hash takes.
        note_hash: Is told how many seconds each hash took.
    """

    def __init__(
        self,
        keychain: KeyChain,
        cost: int,
        threads: int,
        monotonic: Callable[[], float],
        note_hash: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._keychain = keychain
        self._cost = cost
        self._monotonic = monotonic
        self._note_hash = note_hash
        self._threads = PoliteThreads(threads, "password")
        self._turns = Turns(threads, self._overloaded)
        self._comebacks = Comebacks(monotonic)
        self._seconds_per_hash = 0.2 * 2.0 ** (cost - 12)

    async def hash(self, password: str, address_key: str = "") -> str:
        """
        Give the hash to store.

        Args:
            address_key: Whom the work is for, as limits count addresses; empty in a command.

        Raises:
            Overloaded: Too many are waiting already.
        """
        keys = self._keychain.current
        work = partial(bcrypt.hashpw, _peppered(keys, _normalised(password)), bcrypt.gensalt(self._cost))
        return f"p1${keys.key_id}${(await self._in_pool(work, address_key)).decode()}"

    async def verify(self, password: str, stored: str | None, address_key: str = "") -> None:
        """
        Compare a password with a stored hash; with None, do the same work for nobody.

        Args:
            address_key: Whom the work is for, as limits count addresses; empty in a command.

        Raises:
            InvalidCredentials: It is another password, or the hash is of no kind that we know, or its pepper is
                of a secret that we were not given.
            Overloaded: Too many are waiting already.
        """
        if not await self._in_pool(self._comparison(password, stored or ""), address_key):
            raise InvalidCredentials

    def refuse_when_full(self, address_key: str) -> None:
        """Raise `Overloaded` when one more from this address would wait for too long; before Redis is asked."""
        if self._turns.ahead_of(address_key) * self._seconds_per_hash / self._turns.slots > LONGEST_WAIT_SECONDS:
            raise self._overloaded()

    @property
    def waiting(self) -> int:
        """Give how many wait for their turn."""
        return self._turns.waiting

    def needs_renewal(self, stored: str) -> bool:
        """Tell whether scheme, pepper or cost of a stored hash are behind what `hash` makes now."""
        current = re.compile(rf"\Ap1\${re.escape(self._keychain.current.key_id)}\$\$2b\${self._cost:02d}\$")
        return not current.match(stored)

    def close(self) -> None:
        """Let the threads end; hashes that have not begun are dropped."""
        self._threads.close()

    def _overloaded(self) -> Overloaded:
        return Overloaded(self._comebacks.seconds_for_one(self._seconds_per_hash / self._turns.slots))

    def _comparison(self, password: str, stored: str) -> Callable[[], bool]:
        normalised = _normalised(password)
        nobody = partial(self._compare, _peppered(self._keychain.current, normalised), _hash_of_nobody(self._cost))
        if len(normalised) > MAX_PASSWORD_BYTES or not stored:
            return nobody
        if match := _PEPPERED.match(stored):
            keys = self._keychain.find(match[1])
            return partial(self._compare, _peppered(keys, normalised), match[2].encode()) if keys else nobody
        try:
            foreign = read_foreign_hash(stored)
        except UnusableHash as error:
            logger.warning("a stored password cannot be compared with", extra={"fields": {"cause": str(error)}})
            return nobody
        if isinstance(foreign, BcryptHash):
            return partial(self._compare, foreign.material(normalised), foreign.digest)
        return partial(self._compare_foreign, foreign, normalised)

    def _compare(self, material: bytes, digest: bytes) -> bool:
        matches = bcrypt.checkpw(material, digest)
        # A hash of an older, lower cost c is filled up to the work of a new one: 2^c + 2^c + 2^(c+1) + ... = 2^cost.
        for cost in range(int(digest[4:6]), self._cost):
            bcrypt.checkpw(material, _hash_of_nobody(cost))
        return matches

    def _compare_foreign(self, foreign: ForeignHash, normalised: bytes) -> bool:
        """Compare with what is not bcrypt's and fill it up to the time of a new hash, unless it takes longer."""
        begun = self._monotonic()
        matches = foreign.matches(normalised)
        left_seconds = self._seconds_per_hash - (self._monotonic() - begun)
        for cost in range(self._cost - 1, CHEAPEST_COST - 1, -1):
            hash_seconds = self._seconds_per_hash * 2.0 ** (cost - self._cost)
            if left_seconds >= hash_seconds:
                bcrypt.checkpw(b"", _hash_of_nobody(cost))
                left_seconds -= hash_seconds
        return matches

    async def _in_pool(self, work: Callable[[], R], address_key: str) -> R:
        self.refuse_when_full(address_key)
        await self._turns.wait(address_key, LONGEST_WAIT_SECONDS)
        running = asyncio.create_task(self._threads.run(lambda: (self._monotonic(), work(), self._monotonic())))
        # A caller who is cancelled gives the slot back when the thread is done, not before.
        running.add_done_callback(lambda _: self._turns.give_back())
        begun, result, ended = await asyncio.shield(running)
        self._seconds_per_hash += (ended - begun - self._seconds_per_hash) / 8
        self._note_hash(ended - begun)
        return result


class Turns:
    """
    A number of slots, and who waits for one: addresses in turns, each address's own in the order of their coming.

    So a thousand who wait at one address are in the way of another by one turn.

    Args:
        overloaded: Gives what is raised for one who has waited too long.
    """

    def __init__(self, slots: int, overloaded: Callable[[], Overloaded]) -> None:
        self.slots = slots
        self._overloaded = overloaded
        self._free = slots
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Give how many wait."""
        return sum(len(line) for line in self._waiting.values())

    def ahead_of(self, address_key: str) -> int:
        """Give how many of those who wait would come before one more from this address."""
        rounds = len(self._waiting.get(address_key, ())) + 1
        return sum(min(len(line), rounds) for line in self._waiting.values())

    async def wait(self, address_key: str, longest_seconds: float) -> None:
        """
        Take a slot, and wait for it if need be; `give_back` it.

        Raises:
            Overloaded: There was none in time.
        """
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(address_key, deque())
        line.append(turn)
        try:
            async with asyncio.timeout(longest_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give_back()  # it came in the moment in which we gave up
            elif turn in line:
                line.remove(turn)
                if not line:
                    del self._waiting[address_key]
            if isinstance(error, TimeoutError):
                raise self._overloaded() from error
            raise

    def give_back(self) -> None:
        """Hand a slot to whose turn it is, or keep it for the next who comes."""
        while self._waiting:
            address_key, line = self._waiting.popitem(last=False)
            turn = line.popleft()
            if line:
                self._waiting[address_key] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Comebacks:
    """
    Tells those who are refused when to come again: as if each who was told before took his turn when he was told.

    So a crowd comes again about as fast as it can be served, and not all of it every few seconds. At random by
    `SPREAD_SECONDS`, so that it does not come at one moment; a flood that does not care what it is told puts others off
    by no more than the last of `RETRY_AFTER_SECONDS` and these.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last_told = -math.inf

    def seconds_for_one(self, seconds_of_a_turn: float) -> int:
        """Give when one more should come, in seconds from now."""
        now, (least, most) = self._monotonic(), RETRY_AFTER_SECONDS
        self._last_told = min(max(self._last_told, now + least) + seconds_of_a_turn, now + most)
        return int(self._last_told - now + random.uniform(0, SPREAD_SECONDS))  # noqa: S311 - no secret


def _normalised(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _hash_of_nobody(cost: int) -> bytes:
    # Well-formed, and of no password: comparing with it costs what comparing with a real hash does.
    return b"$2b$%02d$" % cost + b"." * 53


def _peppered(keys: DerivedKeys, normalised: bytes) -> bytes:
    return base64.b64encode(hmac.digest(keys.password_pepper, normalised, "sha384"))
