"""
Opaque texts that name a session, and the ids of which they are made: base64url of version (1 byte), user id (16),
family id (16), a number (4, big-endian) and an HMAC-SHA-256 over these (32).

They say nothing to who does not have the key, tell nothing of a person, and are refused without asking Redis when we
did not make them. Each kind has a key of its own, so that none is ever taken for another.
"""

import base64
import hmac
import re
import struct
from collections.abc import Iterable

FORMAT_VERSION = 1
_FIELDS = struct.Struct(">B16s16sI")
_TEXT = re.compile(r"\A[A-Za-z0-9_-]{92}\Z")


def format_opaque(user_id: str, family_id: str, number: int, key: bytes) -> str:
    """Give the text, 92 characters without padding or spare bits, so that each has one spelling."""
    user, family = unpack_id(user_id.removeprefix("usr_")), unpack_id(family_id)
    fields = _FIELDS.pack(FORMAT_VERSION, user, family, number)
    return base64.urlsafe_b64encode(fields + _mac(key, fields)).decode()


def parse_opaque(text: str, keys: Iterable[bytes]) -> tuple[str, str, int] | None:
    """Give user id, family id and number; None for a text that none of the *keys* has made. No I/O."""
    if not _TEXT.match(text):
        return None
    octets = base64.urlsafe_b64decode(text)
    fields, mac = octets[: _FIELDS.size], octets[_FIELDS.size :]
    genuine = [hmac.compare_digest(mac, _mac(key, fields)) for key in keys]
    version, user, family, number = _FIELDS.unpack(fields)
    if not any(genuine) or version != FORMAT_VERSION:
        return None
    return "usr_" + pack_id(user), pack_id(family), number


def pack_id(octets: bytes) -> str:
    """Give an id of 16 octets as 22 base64url characters."""
    return base64.urlsafe_b64encode(octets)[:22].decode()


def unpack_id(text: str) -> bytes:
    """Give the 16 octets of an id."""
    return base64.urlsafe_b64decode(text + "==")


def _mac(key: bytes, fields: bytes) -> bytes:
    return hmac.digest(key, fields, "sha256")
