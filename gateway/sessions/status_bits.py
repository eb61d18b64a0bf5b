"""Which bits of which status list are set: those of the sessions whose end is known and whose tokens may be out."""

from collections.abc import Callable

from gateway.sessions.status_indexes import StatusIndex


class StatusBits:
    """
    The bits of all lists, kept up to date with each revocation that is learned and forgotten, at some microseconds.

    A list takes as many bytes as its highest bit needs, 128 KiB at most; one without bits takes none.

    Args:
        find: Gives the index of a session by its `sid`.
    """

    def __init__(self, find: Callable[[str], StatusIndex | None]) -> None:
        self._find = find
        self._bits: dict[int, bytearray] = {}
        self._set: dict[int, int] = {}
        self._changes = 0
        self._changed: dict[int, int] = {}

    @property
    def lists(self) -> tuple[int, ...]:
        """Give the numbers of the lists that have bits set."""
        return tuple(self._bits)

    def learned(self, revocation: str) -> None:
        """Set the bit of a session that was revoked; every other revocation says nothing of one session."""
        if (index := self._find(revocation)) is None:
            return
        place, bit = index.position >> 3, 1 << (index.position & 7)
        bits = self._bits.setdefault(index.list_number, bytearray())
        if place >= len(bits):
            bits.extend(bytes(place + 1 - len(bits)))
        if not bits[place] & bit:
            bits[place] |= bit
            self._count(index.list_number, 1)

    def forgotten(self, revocation: str) -> None:
        """Take the bit back: no token of this session is good any more."""
        index = self._find(revocation)
        bits = self._bits.get(index.list_number) if index else None
        if index is None or bits is None or index.position >> 3 >= len(bits):
            return
        place, bit = index.position >> 3, 1 << (index.position & 7)
        if bits[place] & bit:
            bits[place] ^= bit
            self._count(index.list_number, -1)

    def version(self, list_number: int) -> int:
        """Give what is another number after each change of a list."""
        return self._changed.get(list_number, 0)

    def copy(self, list_number: int) -> bytes:
        """Give the bits up to the last that is set, or a little beyond: bit i is in byte i // 8, lowest bit first."""
        return bytes(self._bits.get(list_number, b""))

    def _count(self, list_number: int, by: int) -> None:
        self._changes += 1
        self._changed[list_number] = self._changes
        self._set[list_number] = self._set.get(list_number, 0) + by
        if not self._set[list_number]:
            del self._set[list_number], self._bits[list_number], self._changed[list_number]
