"""
The text of a personal token: `gwp_` and base64url of version (1 byte), user id (16), token id (16), an HMAC-SHA-256
over these (32), and a CRC-32 (4, big-endian) over the prefix and all octets before.

The prefix and the checksum are for scanners that look for secrets in texts: they tell a token from what only looks like
one, without any key. 69 octets are 92 characters without padding or spare bits, so that each has one spelling.
"""

import base64
import hmac
import re
import struct
import zlib
from dataclasses import dataclass

from gateway.derived_keys import DerivedKeys, KeyChain
from gateway.errors import PersonalTokenInvalid
from gateway.opaque import pack_id, unpack_id

PREFIX = "gwp_"
FORMAT_VERSION = 1
TOKEN_ID_PREFIX = "pat_"  # noqa: S105 - of ids, which are no secrets
_FIELDS = struct.Struct(">B16s16s")
_MAC_BYTES = 32
_TEXT = re.compile(r"\Agwp_[A-Za-z0-9_-]{92}\Z")


@dataclass(frozen=True)
class PersonalToken:
    """
    What a personal token says: whose it is, and which of his.

    `token_id` is `pat_` and 22 characters, so that it is never taken for a session, nor in a command for an option.
    """

    user_id: str
    token_id: str

    @property
    def sid(self) -> str:
        """Give what stands in the place of a session's id wherever one is judged, revoked or told to applications."""
        return self.token_id

    def format(self, keys: DerivedKeys) -> str:
        """Give the text, MAC'd with the key in *keys*."""
        user, token = (unpack_id(name[len("usr_") :]) for name in (self.user_id, self.token_id))
        fields = _FIELDS.pack(FORMAT_VERSION, user, token)
        octets = fields + hmac.digest(keys.personal_token_mac, fields, "sha256")
        return PREFIX + base64.urlsafe_b64encode(octets + _checksum(octets)).decode()

    @classmethod
    def parse(cls, text: str, keychain: KeyChain) -> "PersonalToken":
        """
        Read a text and check its MAC, under the current secret or a previous one. No I/O.

        Raises:
            PersonalTokenInvalid: `misspelt`, which is no token at all, or a part of one; or `forged`, or made under a
                secret that is not known here.
        """
        if not _TEXT.match(text):
            raise PersonalTokenInvalid("misspelt")
        octets = base64.urlsafe_b64decode(text[len(PREFIX) :])
        octets, checksum = octets[: _FIELDS.size + _MAC_BYTES], octets[_FIELDS.size + _MAC_BYTES :]
        if checksum != _checksum(octets):
            raise PersonalTokenInvalid("misspelt")
        fields, mac = octets[: _FIELDS.size], octets[_FIELDS.size :]
        macs = (hmac.digest(keys.personal_token_mac, fields, "sha256") for keys in keychain)
        genuine = [hmac.compare_digest(one, mac) for one in macs]
        version, user, token = _FIELDS.unpack(fields)
        if not any(genuine) or version != FORMAT_VERSION:
            raise PersonalTokenInvalid("forged")
        return cls("usr_" + pack_id(user), TOKEN_ID_PREFIX + pack_id(token))


def _checksum(octets: bytes) -> bytes:
    return zlib.crc32(PREFIX.encode() + octets).to_bytes(4, "big")
