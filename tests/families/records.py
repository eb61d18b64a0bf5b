"""The records of families as they lie in Redis, past the gateway: read, moved in time, set back."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.harness import RedisServer

_RECORD = struct.Struct(">B6s6sIII")


@dataclass(frozen=True)
class Record:
    """One record; times in milliseconds of Redis's clock. See gateway/sessions/family_record.lua."""

    ended: int
    created_ms: int
    rotated_ms: int
    lifetime_seconds: int
    generation: int
    nonce: int
    tail: bytes

    @classmethod
    def unpack(cls, packed: bytes) -> "Record":
        """Read the packed form."""
        ended, created, rotated, lifetime, generation, nonce = _RECORD.unpack(packed[: _RECORD.size])
        times = int.from_bytes(created, "big"), int.from_bytes(rotated, "big")
        return cls(ended, *times, lifetime, generation, nonce, packed[_RECORD.size :])

    def pack(self) -> bytes:
        """Give the packed form."""
        times = self.created_ms.to_bytes(6, "big"), self.rotated_ms.to_bytes(6, "big")
        return _RECORD.pack(self.ended, *times, self.lifetime_seconds, self.generation, self.nonce) + self.tail


class Records:
    """All records under a key prefix. Close it at the end."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.client = server.client()
        self._prefix = prefix

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def key(self, user_id: str) -> str:
        """Give the key of a user's families."""
        return f"{self._prefix}families:{{{user_id}}}"

    def of(self, user_id: str) -> dict[str, Record]:
        """Give the records of a user, marks too, by family id."""
        fields: dict[bytes, bytes] = self.client.hgetall(self.key(user_id))
        return {family_id.decode(): Record.unpack(packed) for family_id, packed in fields.items()}

    def set_back(self, user_id: str, family_id: str, rotations: int) -> None:
        """Let Redis lose the last rotations of a family, as if their writes had never got to the disk."""
        record = self.of(user_id)[family_id]
        lost = replace(record, generation=record.generation - rotations, nonce=0)
        self.client.hset(self.key(user_id), family_id, lost.pack())

    def age(self, user_id: str, seconds: int) -> None:
        """Let time pass for a user: every stored time and the TTL of the key move by as much."""
        key, records = self.key(user_id), self.of(user_id)
        left_ms = self.client.pttl(key)
        for family_id, record in records.items():
            older = replace(
                record, created_ms=record.created_ms - seconds * 1000, rotated_ms=record.rotated_ms - seconds * 1000
            )
            self.client.hset(key, family_id, older.pack())
        if records:
            self.client.pexpire(key, left_ms - seconds * 1000)

    def keys(self) -> Iterator[tuple[str, int]]:
        """Give every key under the prefix and its TTL in milliseconds, -1 for none."""
        for key in self.client.scan_iter(match=f"{self._prefix}*", count=500):
            yield key.decode(), self.client.pttl(key)
