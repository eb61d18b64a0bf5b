"""
Indexes of sessions in status lists: which bit of which list tells whether a session was ended
(draft-ietf-oauth-status-list section 4), and how they are given out, each once for ever.

An index is in the `sid` itself: 16 octets, number of the list (9), position (3), tag (4). The tag is an HMAC-SHA-256 of
the others, cut, so that every gateway reads an index off a `sid` and asks nobody, and an old, random `sid` has none.
The number is the second in which the list began (4 octets), 20 random bits, and 20 bits of an HMAC over these, so that
nobody makes a gateway sign lists that never were. Numbers have 22 digits.

Blocks of positions come from Redis, which need not keep anything for it: whatever server has not lived since the last
block begins a new list (docs/decisions/0015-indexes-given-once.md).
"""

import asyncio
import hmac
import re
import secrets
from collections.abc import Callable
from contextvars import Context
from typing import NamedTuple

from gateway.clock import Clock
from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import StoreUnavailable
from gateway.opaque import pack_id, unpack_id
from gateway.sessions.families import new_family_id
from gateway.store import Script, Store, wait_within_budget
from gateway.tasks import end_tasks

LIST_POSITIONS = 2**20
BLOCK_POSITIONS = 256
MORE_BELOW_POSITIONS = 64
MAX_ATTEMPTS = 4
EARLIEST_BEGINNING = 1_767_225_600  # 2026: a clock that says less is wrong
_TAG_BYTES = 4
_CHECK_BITS = 20
_RANDOM_BITS = 20
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
_LIST_NUMBER = re.compile(r"[1-9][0-9]{21}")


class StatusIndex(NamedTuple):
    """The number of a status list, and a position in it, from 0."""

    list_number: int
    position: int

    def session_id(self, keys: DerivedKeys) -> str:
        """Give the `sid` that has this index, tagged with the key in *keys*."""
        octets = self.list_number.to_bytes(9) + self.position.to_bytes(3)
        return pack_id(octets + _mac(keys, b"sid", octets)[:_TAG_BYTES])


def find_index(session_id: str, keychain: KeyChain) -> StatusIndex | None:
    """Read the index off a `sid`, tagged under the current secret or a previous one; None without such a tag."""
    if _SESSION_ID.fullmatch(session_id) is None:
        return None
    octets = unpack_id(session_id)
    said, tag = octets[:-_TAG_BYTES], octets[-_TAG_BYTES:]
    for keys in keychain:
        if hmac.compare_digest(tag, _mac(keys, b"sid", said)[:_TAG_BYTES]):
            index = StatusIndex(int.from_bytes(said[:9]), int.from_bytes(said[9:]))
            return index if index.position < LIST_POSITIONS else None
    return None


def is_list(number: int, keychain: KeyChain) -> bool:
    """Tell whether a list was begun by a gateway that had one of these secrets."""
    begun = number >> _CHECK_BITS
    return begun >> 52 == 0 and any(hmac.compare_digest(_number(begun, keys), number.to_bytes(9)) for keys in keychain)


def parse_list_number(text: str, keychain: KeyChain) -> int | None:
    """Read the number of a list that a gateway began; None for anything else, and for another spelling."""
    if _LIST_NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if is_list(number, keychain) else None


class StatusIndexes:
    """
    Gives out the ids of sessions, each with an index that no other has.

    A block is taken before the last one is used up, for all who wait for it, and given out in random order: neighbours
    in a list say nothing of when they logged in.

    Args:
        clock: Seconds since the epoch: from it new lists have their numbers.
        is_on: Whether sessions get an index at all; else their ids are random.
        random_bits: Gives so many random bits.

    Attributes:
        latest: The newest list of which a block was taken here; 0 where none was.
    """

    def __init__(
        self,
        store: Store,
        keychain: KeyChain,
        clock: Clock,
        *,
        is_on: bool = True,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self.latest = 0
        self._store = store
        self._keychain = keychain
        self._clock = clock
        self._is_on = is_on
        self._random_bits = random_bits
        self._script = Script.load(__package__, "status_index")
        self._unseen_position = 0
        self._free: list[StatusIndex] = []
        self._genuine: set[int] = set()
        self._taking: asyncio.Task[None] | None = None

    async def new_session_id(self) -> str:
        """
        Give the id of a new session.

        Raises:
            StoreUnavailable: There is no index left here, and Redis gave no more of them.
        """
        if not self._is_on:
            return new_family_id()
        while not self._free:
            await wait_within_budget(self._take_soon())
        index = self._free.pop()
        if len(self._free) < MORE_BELOW_POSITIONS:
            self._take_soon()
        return index.session_id(self._keychain.current)

    def find(self, session_id: str) -> StatusIndex | None:
        """
        Give the index of a session by its `sid`; None for one that was opened without.

        Of four thousand million random ids one has a tag by chance; its list has no number of ours.
        """
        index = find_index(session_id, self._keychain) if self._is_on else None
        if index is None or index.list_number in self._genuine:
            return index
        if not is_list(index.list_number, self._keychain):
            return None
        self._genuine.add(index.list_number)
        return index

    def parse(self, text: str) -> int | None:
        """Read the number of a list of ours; None for anything else."""
        return parse_list_number(text, self._keychain) if self._is_on else None

    async def close(self) -> None:
        """Take no more."""
        if self._taking is not None:
            await end_tasks([self._taking])

    def _take_soon(self) -> asyncio.Task[None]:
        if self._taking is None:
            # A context of its own: what it takes is not of the budget of the request that happens to need it.
            self._taking = asyncio.create_task(self._take(), context=Context())
            self._taking.add_done_callback(self._taken)
        return self._taking

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._taking = None
        if not task.cancelled():
            task.exception()  # whoever waits has it; the others try again when they need one

    async def _take(self) -> None:
        """Take a block; begin a list where the one that there is can't be gone on with."""
        at_least, disowned = self.latest, ""
        for _ in range(MAX_ATTEMPTS):
            reply = await self._store.run(
                self._script,
                [self._store.key("status-index")],
                str(self._candidate(at_least)),
                BLOCK_POSITIONS,
                LIST_POSITIONS,
                str(self.latest) if self.latest else "",
                self._unseen_position,
                disowned,
            )
            text = reply[0].decode()
            number = parse_list_number(text, self._keychain)
            if number is None:
                disowned = text  # begun under a secret that is not known any more, or never was
            elif len(reply) == 1 or number < self.latest:
                at_least = max(at_least, number)
            else:
                self._add(number, reply[1])
                return
        raise StoreUnavailable("status-index")

    def _add(self, number: int, first: int) -> None:
        self.latest, self._unseen_position = number, first + BLOCK_POSITIONS
        block = [StatusIndex(number, first + place) for place in range(BLOCK_POSITIONS)]
        secrets.SystemRandom().shuffle(block)
        self._free = block + self._free  # the older ones go first

    def _candidate(self, at_least: int) -> int:
        """Give the number of a list that may begin now, newer than one that there was, whatever the clock says."""
        earlier = at_least >> _CHECK_BITS + _RANDOM_BITS
        second = max(self._clock(), EARLIEST_BEGINNING, earlier + 1)
        begun = second << _RANDOM_BITS | self._random_bits(_RANDOM_BITS)
        return int.from_bytes(_number(begun, self._keychain.current))


def _number(begun: int, keys: DerivedKeys) -> bytes:
    octets = begun.to_bytes(7)
    check = int.from_bytes(_mac(keys, b"list", octets)[:3]) >> 24 - _CHECK_BITS
    return (begun << _CHECK_BITS | check).to_bytes(9)


def _mac(keys: DerivedKeys, what: bytes, octets: bytes) -> bytes:
    return hmac.digest(keys.status_index_mac, what + octets, "sha256")
